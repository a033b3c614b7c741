"""What a provider's own API offers for structured output, by litellm's table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from declm.messages import NativeMode, SchemaRules

# By a part of the model's name, since a model keeps its rules behind routers such as OpenRouter or Bedrock.
_RULES: Mapping[str, SchemaRules] = {
    "azure/": "azure",
    "claude": "anthropic",
    "gemini": "gemini",
    "openai/": "openai",
    "gpt-": "openai",
}


def native_mode(
    info: Mapping[str, Any], structured: bool, parameters: Callable[[], Collection[str]]
) -> NativeMode | None:
    """The best mode of a model, None for none.

    Args:
        info: the model's row in the table.
        structured: whether it holds replies to a JSON schema.
        parameters: gives what litellm passes on to its provider; asked only where it decides.
    """
    if structured:
        return "json_schema"
    if info.get("supports_function_calling") and info.get("supports_tool_choice"):
        return "tools"
    return "json" if "response_format" in parameters() else None


def schema_rules(model: str) -> SchemaRules:
    """The subset of JSON schema that a provider's model takes."""
    name = model.lower()
    found: list[SchemaRules] = [rules for part, rules in _RULES.items() if part in name]
    return found[0] if found else "all"
