"""What litellm's table says of structured output, in our words."""

from __future__ import annotations

from typing import Any

import pytest

from declm.lm.modes import native_mode, schema_rules

TOOLS = {"supports_function_calling": True, "supports_tool_choice": True}


@pytest.mark.parametrize(
    ("info", "structured", "parameters", "mode"),
    [
        (TOOLS, True, ["response_format"], "json_schema"),
        (TOOLS, False, ["response_format"], "tools"),
        ({"supports_function_calling": True}, False, ["response_format"], "json"),
        ({"supports_function_calling": True}, False, [], None),
        ({}, False, ["response_format"], "json"),
        ({}, False, ["temperature"], None),
    ],
)
def test_the_best_mode_is_taken(info: Any, structured: bool, parameters: list[str], mode: str | None) -> None:
    assert native_mode(info, structured, lambda: parameters) == mode


@pytest.mark.parametrize(
    ("model", "rules"),
    [
        ("openai/gpt-5-mini", "openai"),
        ("openai/o4-mini", "openai"),
        ("azure/gpt-4o", "azure"),
        ("openrouter/openai/gpt-4o", "openai"),
        ("anthropic/claude-sonnet-4-5", "anthropic"),
        ("bedrock/us.anthropic.claude-sonnet-4-5-v1:0", "anthropic"),
        ("gemini/gemini-2.5-flash", "gemini"),
        ("vertex_ai/gemini-2.5-pro", "gemini"),
        ("mistral/mistral-small-latest", "all"),
        ("deepseek/deepseek-chat", "all"),
    ],
)
def test_a_model_keeps_its_rules_behind_a_router(model: str, rules: str) -> None:
    assert schema_rules(model) == rules
