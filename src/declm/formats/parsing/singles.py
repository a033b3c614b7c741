"""Fit single raw values: texts, numbers, truth values, dates; what a fit costs, and what refuses it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from declm.formats.parsing import scalars
from declm.formats.parsing.nodes import Bare, Raw, Repair, is_list, is_object
from declm.formats.parsing.shapes import Scalar

COSTS: Mapping[str, float] = {
    "": 0.0,
    "number for a decimal": 0.05,
    "default": 0.1,
    "unquoted": 0.3,
    "spelling of a key": 0.5,
    "number": 1,
    "truth value": 1,
    "decoration": 1,
    "spelling": 1.5,
    "text for a number": 1,
    "date": 1,
    "time": 1,
    "extra key": 1.5,
    "number for a text": 2,
    "JSON inside a text": 2,
    "no value": 3,
    scalars.SENTENCE: 4,
    "single value for a list": 4,
    "list of one for a value": 4,
    "list in words": 4,
    "field without its object": 6,
    "object around a value": 6,
    "object for a text": 8,
}


class Misfit(Exception):
    """A value does not fit; `reason` says why, `path` where."""

    def __init__(self, reason: str, path: str) -> None:
        super().__init__(reason)
        self.reason, self.path = reason, path

    @property
    def told(self) -> str:
        """Place and reason."""
        return f"{self.path}: {self.reason}" if self.path else self.reason


@dataclass(frozen=True, slots=True)
class Fit:
    """A value that a type may be validated with (JSON, but for what Pydantic reads from texts)."""

    value: Any
    cost: float = 0.0
    repairs: tuple[Repair, ...] = ()

    def with_repair(self, kind: str, path: str, detail: object = "") -> Fit:
        """The same fit at the cost of one more repair."""
        if not kind:
            return self
        return Fit(self.value, self.cost + COSTS[kind], (*self.repairs, Repair(kind, path, str(detail)[:80])))


def plain(raw: Raw) -> Any:
    """A raw value as JSON, unquoted texts read as literals."""
    if is_object(raw):
        return {key: plain(value) for key, value in raw.items()}
    if is_list(raw):
        return [plain(item) for item in raw]
    if raw is None or isinstance(raw, bool):  # from a strict reader
        return raw
    return scalars.literal(raw) if isinstance(raw, Bare) else str(raw)


def text(raw: Raw, path: str) -> Fit:
    """A text; other single values as they are written, objects as JSON."""
    if is_list(raw) and len(raw) == 1 and isinstance(raw[0], str):
        return text(raw[0], path).with_repair("list of one for a value", path)
    if is_object(raw) or is_list(raw):
        return Fit(json.dumps(plain(raw), ensure_ascii=False)).with_repair("object for a text", path)
    if not isinstance(raw, Bare):
        return Fit(str(raw))
    if scalars.is_null(raw):
        raise Misfit("null, where text is wanted", path)
    is_word = isinstance(scalars.literal(raw), str)
    return Fit(str(raw), COSTS["unquoted"]) if is_word else Fit(str(raw)).with_repair("number for a text", path, raw)


def left_to_pydantic(raw: Raw) -> Fit:
    """A value of a type that is only known to Pydantic."""
    if not isinstance(raw, Bare):
        return Fit(plain(raw))
    return Fit(None) if scalars.is_null(raw) else Fit(raw.strip(), COSTS["unquoted"])


def null(raw: str, path: str) -> Fit:
    """None, for what says that there is no value."""
    if isinstance(raw, Bare) and scalars.is_null(raw):
        return Fit(None)
    if scalars.says_nothing(raw):
        return Fit(None).with_repair("no value", path, raw)
    raise Misfit(f"must be null ({shown(raw)})", path)


def number(raw: str, shape: Scalar, path: str) -> Fit:
    """A number: whole, floating or decimal."""
    found = scalars.number(raw, unit=shape.unit)
    if found is None:
        raise Misfit(f"must be a {'whole ' if shape.kind == 'integer' else ''}number ({shown(raw)})", path)
    value, kind = found
    fit = Fit(_sized(value, shape, path)).with_repair(kind, path, raw)
    if not isinstance(raw, Bare):
        return fit.with_repair("text for a number", path)
    # In a union with floats a number is one of them: Pydantic writes decimals in quotes.
    return Fit(fit.value, fit.cost + COSTS["number for a decimal"], fit.repairs) if shape.kind == "decimal" else fit


def _sized(value: Decimal, shape: Scalar, path: str) -> Any:
    if shape.kind == "decimal":
        return str(value)
    if shape.kind == "number":
        return float(value)
    if value.adjusted() > 4_000:
        raise Misfit("a number of more digits than can be read", path)
    if value != value.to_integral_value():
        raise Misfit(f"must be a whole number, not {value}", path)
    return int(value)


def temporal(raw: str, shape: Scalar, path: str) -> Fit:
    """A date, a time or both, in the form that Pydantic reads."""
    text = raw.strip()
    if not any(char.isdigit() for char in text):
        raise Misfit(f"must be a {shape.name} ({shown(raw)})", path)
    found = scalars.temporal(text, shape.name)
    if found is not None:
        return Fit(found[0]).with_repair(found[1] if found[0] != text else "", path, raw)
    if text.isdigit() and len(text) < 9 and shape.name in ("date", "datetime"):
        raise Misfit(f"must be a {shape.name} ({shown(raw)})", path)
    return Fit(text, COSTS["unquoted"] if isinstance(raw, Bare) else 0.0)


def found(value: tuple[Any, str] | None, raw: str, wanted: str, path: str) -> Fit:
    """What was found in a text, if anything; `wanted` names it."""
    if value is None:
        raise Misfit(f"must be {wanted} ({shown(raw)})", path)
    fit = Fit(value[0]).with_repair(value[1], path, raw)
    return fit if isinstance(raw, Bare) or value[1] else Fit(value[0], COSTS["text for a number"])


def shown(raw: Raw) -> str:
    """The beginning of a value, for messages."""
    text = raw if isinstance(raw, str) else json.dumps(plain(raw), ensure_ascii=False, default=str)
    return f"got {text[:80]!r}{'...' if len(text) > 80 else ''}"
