"""litellm's table of models, read as a file: importing litellm takes two seconds, and most calls need no more of it."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FILE = "model_prices_and_context_window_backup.json"

_PECULIAR = re.compile(r"(?:ft:)?(?:gpt-[5-9]|o\d)")

PLAIN = frozenset(
    "drop_params frequency_penalty logprobs max_tokens presence_penalty response_format seed stop temperature "
    "tool_choice tools top_logprobs top_p".split()
)
"""Options of OpenAI's by the names under which its models take them, but for those that are `peculiar`."""

Row = Mapping[str, Any]


@functools.cache
def table() -> Mapping[str, Row] | None:
    """The table as litellm's wheel has it; None if that is not the one in force, or there is none.

    `LITELLM_LOCAL_MODEL_COST_MAP=False` asks for the newest one from the network.
    """
    if os.environ.get("LITELLM_LOCAL_MODEL_COST_MAP", "True").lower() != "true":
        return None
    try:
        spec = importlib.util.find_spec("litellm")
        folder = Path((spec.submodule_search_locations or [""])[0]) if spec is not None else Path()
        content = json.loads((folder / _FILE).read_text("utf-8"))
    except (ImportError, OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None  # pyright: ignore[reportUnknownVariableType]  # any JSON


def row(known: Mapping[str, Row], model: str) -> Row | None:
    """The row of a model, as litellm looks it up: by its name alone if the provider is the same, or with it."""
    provider, _, name = model.partition("/")
    alone = known.get(name)
    return alone if alone is not None and alone.get("litellm_provider") == provider else known.get(model)


def is_peculiar(model: str, found: Row | None) -> bool:
    """Whether a model of OpenAI's takes options by other names than `PLAIN`, or refuses some: those that reason do."""
    provider, _, name = model.partition("/")
    return provider == "openai" and (bool(_PECULIAR.match(name)) or bool(found and found.get("supports_reasoning")))


def takes(found: Row, options: Mapping[str, Any]) -> bool:
    """Whether a model of OpenAI's that is not peculiar takes these options as they are."""
    return options.keys() <= PLAIN and ("response_format" not in options or bool(found.get("supports_response_schema")))
