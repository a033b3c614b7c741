"""Values as reports may show them: plain JSON, sensitive fields masked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard, TypeVar

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from declm.specs import spec

T = TypeVar("T", str, dict[str, Any])

MASK = "***"

_SHORTEST = 4
"""Shorter values are not searched for in texts: they would hit by chance."""


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether a JSON value is an object."""
    return isinstance(value, dict)


def masked(value: Any) -> Any:
    """JSON values of anything, with the sensitive fields of rows (also of nested ones) replaced by `***`."""
    if isinstance(value, BaseModel):
        shown = value.model_dump(mode="json", by_alias=True, fallback=repr)
        for field in spec(type(value)).fields:
            if field.key in shown:
                own = vars(value).get(field.name)
                shown[field.key] = MASK if field.sensitive else masked(own) if _holds_row(own) else shown[field.key]
        return shown
    if isinstance(value, Mapping):
        return {str(k): masked(v) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [masked(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return to_jsonable_python(value, fallback=repr)


def scrubbed(text: T, *rows: Any) -> T:
    """A text, or the texts of a mapping, without the sensitive values of these rows."""
    secrets = sorted({s for row in rows for s in _secrets(row) if len(s) >= _SHORTEST}, key=len, reverse=True)
    if isinstance(text, str):
        return _without(text, secrets)
    return {k: _without(v, secrets) if isinstance(v, str) else v for k, v in text.items()}


def _without(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, BaseModel):
        for field in spec(type(value)).fields:
            own = vars(value).get(field.name)
            if field.sensitive:
                yield from _texts(to_jsonable_python(own, fallback=repr))
            else:
                yield from _secrets(own)
    elif isinstance(value, Mapping):
        for item in value.values():  # pyright: ignore[reportUnknownVariableType]
            yield from _secrets(item)
    elif isinstance(value, (list, tuple)):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _secrets(item)


def _texts(value: Any) -> Iterator[str]:
    if is_object(value):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _texts(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _holds_row(value: Any) -> bool:
    if isinstance(value, BaseModel):
        return True
    if isinstance(value, Mapping):
        return any(_holds_row(item) for item in value.values())  # pyright: ignore[reportUnknownVariableType]
    return isinstance(value, (list, tuple)) and any(_holds_row(item) for item in value)  # pyright: ignore[reportUnknownVariableType]
