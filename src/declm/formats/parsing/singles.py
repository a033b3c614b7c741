"""Fit single raw values: texts, numbers, truth values, dates, members of closed sets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from declm.formats.parsing import dates, numbers, scalars
from declm.formats.parsing.fitting import COSTS, Fit, Misfit
from declm.formats.parsing.labels import SENTENCE, Found
from declm.formats.parsing.nodes import Bare, Lines, Raw, is_list, is_object
from declm.formats.parsing.sentences import DECORATION
from declm.formats.parsing.shapes import Choices, Scalar

_FLAGS = re.compile(r"[|,+&]|(?<=\s)and(?=\s)")


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
    if isinstance(raw, Lines):
        return Fit(raw.text, COSTS["unquoted"])
    if is_object(raw) or is_list(raw):
        return Fit(json.dumps(plain(raw), ensure_ascii=False)).with_repair("object for a text", path)
    if not isinstance(raw, Bare):
        return Fit(str(raw))
    if scalars.is_null(raw):
        raise Misfit("null, where text is wanted", path)
    is_word = isinstance(scalars.literal(raw), str)
    return Fit(str(raw), COSTS["unquoted"]) if is_word else Fit(str(raw)).with_repair("number for a text", path, raw)


def null(raw: str, path: str) -> Fit:
    """None, for what says that there is no value."""
    if isinstance(raw, Bare) and scalars.is_null(raw):
        return Fit(None)
    if scalars.says_nothing(raw):
        return Fit(None).with_repair("no value", path, raw)
    raise Misfit(f"must be null ({shown(raw)})", path)


def number(raw: str, shape: Scalar, path: str) -> Fit:
    """A number: whole, floating or decimal."""
    found = numbers.number(raw, unit=shape.unit, whole=shape.kind == "integer")
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
    if value.is_finite() and value.adjusted() > 4_000:
        raise Misfit("a number of more digits than can be read", path)
    if not value.is_finite() or value != value.to_integral_value():
        raise Misfit(f"must be a whole number, not {value}", path)
    return int(value)


def temporal(raw: str, shape: Scalar, path: str) -> Fit:
    """A date, a time or both, in the form that Pydantic reads."""
    text = raw.strip()
    if (
        isinstance(raw, Bare)
        and shape.name == "timedelta"
        and isinstance(seconds := scalars.literal(text), int | float)
    ):
        return Fit(seconds)
    if not any(char.isdigit() for char in text):
        raise Misfit(f"must be a {shape.name} ({shown(raw)})", path)
    found = dates.temporal(text, shape.name)
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


def choice(raw: str, shape: Choices, path: str) -> Fit:
    """A member of a closed set."""
    value = scalars.literal(raw) if isinstance(raw, Bare) else str(raw)
    for known in shape.values:
        if type(known) is type(value) and known == value:
            return Fit(known)
    found = shape.labels.find(raw)
    if found is None and shape.flags:
        found = _sum(raw, shape)
    if found is None:
        wanted = ", ".join(json.dumps(one, ensure_ascii=False, default=str) for one in shape.values)
        raise Misfit(f"must be one of {wanted} ({shown(raw)})", path)
    return Fit(found[0]).with_repair(found[1], path, raw) if found[1] else Fit(found[0], COSTS["unquoted"])


def _sum(raw: str, shape: Choices) -> Found[int]:
    """The sum of the flags that a text names: `READ|WRITE`."""
    parts = [shape.labels.find(part.strip()) for part in _FLAGS.split(raw.strip(DECORATION))]
    if len(parts) < 2 or any(part is None or part[1] == SENTENCE for part in parts):
        return None
    value = 0
    for part in parts:
        value |= part[0] if part else 0
    return value, "spelling"


def choice_among(raw: Mapping[str, Raw], shape: Choices, path: str) -> Fit:
    """The only member of a closed set that stands among the values of an object, such as one with a confidence."""
    fits: list[Fit] = []
    for value in raw.values():
        if isinstance(value, str):
            try:
                fits.append(choice(value, shape, path))
            except Misfit:
                continue
    clear = [fit for fit in fits if fit.cost <= COSTS["decoration"]]
    if not clear or any(fit.value != clear[0].value for fit in clear):
        raise Misfit(f"an object, where {shape.name} is wanted ({shown(raw)})", path)
    return clear[0].with_repair("object around a value", path)


def shown(raw: Raw) -> str:
    """The beginning of a value, for messages."""
    text = raw if isinstance(raw, str) else json.dumps(plain(raw), ensure_ascii=False, default=str)
    return f"got {text[:80]!r}{'...' if len(text) > 80 else ''}"
