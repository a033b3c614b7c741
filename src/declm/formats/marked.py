"""What the formats of marked text (`chat`, `xml`) share: how a value stands alone behind its mark."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from declm.errors import ParseError
from declm.formats.base import Prompt, View, dumped, unquoted
from declm.formats.parsing import NOTHING, is_null
from declm.messages import Fields

Change = Callable[[str], str]


def write_part(field: View, value: Any) -> str:
    """A text as it is if it can be read back from that, everything else as JSON."""
    if not isinstance(value, str) or not field["is_text"] or not value or value != value.strip() or is_null(value):
        return dumped(value)
    return value if unquoted(value) == value else dumped(value)


def read_parts(prompt: Prompt, parts: Mapping[str, str], unguard: Change) -> Fields:
    """The values of texts by key; `unguard` takes the backslashes away that guard marks inside."""
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    repairs: list[str] = []
    for key, text in parts.items():
        try:
            parsed = prompt.read_part(key, text)
        except ParseError as error:
            problems[key] = error.reason
            continue
        values[key] = over_texts(unguard, parsed.value)
        repairs += (str(repair.below(key)) for repair in parsed.repairs)
    return Fields(values, problems, tuple(repairs))


def partial_parts(prompt: Prompt, parts: Mapping[str, str], growing: str | None, unguard: Change) -> dict[str, Any]:
    """The values so far, where the text of the key `growing` may go on."""
    shown = {key: prompt.partial_part(key, text.strip(), grows=key == growing) for key, text in parts.items()}
    return {key: over_texts(unguard, value) for key, value in shown.items() if value is not NOTHING}


def over_texts(change: Change, value: Any) -> Any:
    """Apply `change` to all texts of a JSON value, keys included; what is no JSON stays as it is."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]  # items are any JSON
        return [over_texts(change, item) for item in items]
    if isinstance(value, dict):
        members: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]  # members are any JSON
        return {change(key): over_texts(change, member) for key, member in members.items()}
    return value
