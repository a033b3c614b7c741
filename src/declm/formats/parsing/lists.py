"""Fit a raw value to a list: single values, lists in words, values around it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from declm.formats.parsing import numbers, scalars
from declm.formats.parsing.fitting import Fit, Fitter, Misfit, cheapest
from declm.formats.parsing.labels import SENTENCE
from declm.formats.parsing.nodes import Bare, Raw, Repair, is_list, is_object
from declm.formats.parsing.objects import is_text
from declm.formats.parsing.shapes import Choices, Either, Items, Scalar, Shape, bare
from declm.formats.parsing.singles import shown

_BULLET = re.compile(r"(?:[-*•‣\u2013]|\d{1,3}[.)])[ \t]+(.*)")
_LEAD = re.compile(r"[^,;|\n\d]{0,80}?(?::|\b(?:are|is)\b)\s*")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+")
_SEPARATOR = re.compile(r"[,;|]\s*(?:and\b|&)?|/|&|\band\b", re.IGNORECASE)
_NUMBER_SEPARATOR = re.compile(r"(?:[;|]|,(?=\s)|\band\b|&)\s*(?:and\b)?", re.IGNORECASE)
_ENTRIES = 5_000
"""Lines that a list with bullets may have."""

_SEPARATED = frozenset({"integer", "number", "decimal", "boolean", "temporal"})


def items(fitter: Fitter, raw: Raw, shape: Items, path: str) -> Fit:
    """A list, set or tuple.

    Raises:
        Misfit: the value is none.
    """
    if isinstance(raw, str):
        return _from_text(fitter, raw, shape, path)
    if is_object(raw):
        return _from_object(fitter, raw, shape, path)
    try:
        found = _listed(fitter, raw, shape, path)
    except Misfit as misfit:
        ways = [_inner, _words, *([_single] if isinstance(bare(shape.item), Items) else [])]
        return cheapest([partial(way, fitter, raw, shape, path) for way in ways], misfit)
    if found.cost and isinstance(bare(shape.item), Items):  # `[1, 2]` for a list of lists: one list, not two of one
        return cheapest([lambda: found, lambda: _single(fitter, raw, shape, path)])
    return found


def _listed(fitter: Fitter, raw: list[Raw], shape: Items, path: str) -> Fit:
    if shape.fixed and (len(raw) < len(shape.fixed) or (shape.item is None and len(raw) > len(shape.fixed))):
        raise Misfit(f"{len(raw)} values, where {len(shape.fixed)} are wanted", path)
    if shape.item is None and not shape.fixed and raw:
        raise Misfit("values, where none are wanted", path)
    cost = 0.0
    values: list[Any] = []
    repairs: list[Repair] = []
    for at, item in enumerate(raw):
        wanted = shape.fixed[at] if at < len(shape.fixed) else cast("Shape", shape.item)
        if is_text(item, wanted):
            values.append(item)
            continue
        found = fitter.fit(item, wanted, f"{path}[{at}]")
        values.append(found.value)
        cost += found.cost
        repairs += found.repairs
    return Fit(values, cost, tuple(repairs))


def _inner(fitter: Fitter, raw: list[Raw], shape: Items, path: str) -> Fit:
    """The list inside a list of one."""
    if len(raw) != 1 or not is_list(raw[0]):
        raise Misfit("no list of one list", path)
    return _listed(fitter, raw[0], shape, path).with_repair("list of one for a value", path)


def _words(fitter: Fitter, raw: list[Raw], shape: Items, path: str) -> Fit:
    """Values without commas between them: `[yes no]`."""
    if len(raw) != 1 or not isinstance(raw[0], Bare) or shape.fixed or not _is_separable(shape.item):
        raise Misfit("no list of words", path)
    parts = raw[0].split()
    return _each(fitter, parts, shape, path).with_repair("list in words", path)


def _from_object(fitter: Fitter, raw: dict[str, Raw], shape: Items, path: str) -> Fit:
    ways: list[Callable[[], Fit]] = [lambda: _single(fitter, raw, shape, path)]
    if len(raw) == 1:
        ((name, inner),) = raw.items()
        if is_list(inner):
            ways.insert(0, lambda: _listed(fitter, inner, shape, path).with_repair("object around a value", path, name))
        elif not is_object(inner):
            ways.append(lambda: fitter.fit(inner, shape, path).with_repair("object around a value", path, name))
    return cheapest(ways)


def _from_text(fitter: Fitter, raw: str, shape: Items, path: str) -> Fit:
    entries = bulleted(raw)
    if entries is not None:
        return _listed(fitter, [_entry(one) for one in entries], shape, path).with_repair("list in words", path)
    if _THOUSANDS.fullmatch(raw.strip()) and _is_separable(shape.item) and not isinstance(bare(shape.item), Choices):
        raise Misfit(f"a number with separators, or a list ({shown(raw)})", path)
    ways: list[Callable[[], Fit]] = []
    if raw.lstrip()[:1] in ("[", "{", "(", "`", '"', "'"):
        ways.append(lambda: _list_inside(fitter, raw, shape, path))
    if shape.item is not None and not shape.fixed and _is_separable(shape.item):
        ways += [lambda: _separated(fitter, raw, shape, path)]
    ways.append(lambda: _single(fitter, raw, shape, path))
    return cheapest(ways)


def _list_inside(fitter: Fitter, raw: str, shape: Items, path: str) -> Fit:
    for value in fitter.inside(raw):
        if is_list(value):
            return _listed(fitter, value, shape, path).with_repair("JSON inside a text", path)
    raise Misfit(f"no list ({shown(raw)})", path)


def _single(fitter: Fitter, raw: Raw, shape: Items, path: str) -> Fit:
    if shape.fixed or shape.item is None or (isinstance(raw, Bare) and scalars.is_null(raw)):
        raise Misfit(f"no {shape.name} ({shown(raw)})", path)
    if isinstance(raw, str) and not raw.strip():
        raise Misfit("an empty text, where a list is wanted", path)
    if (
        isinstance(raw, Bare)
        and not path
        and isinstance(item := bare(shape.item), Scalar)
        and item.kind in ("text", "any")
    ):
        raise Misfit(f"words, where a list is wanted ({shown(raw)})", path)
    found = fitter.fit(raw, shape.item, path)
    if isinstance(raw, str) and _SEPARATOR.search(raw.strip(" \n.,;")) and _is_from_sentence(found):
        raise Misfit(f"a list of which only one value can be read ({shown(raw)})", path)
    return Fit([found.value], found.cost, found.repairs).with_repair("single value for a list", path)


def _is_from_sentence(fit: Fit) -> bool:
    return any(repair.kind == SENTENCE for repair in fit.repairs)


# Lists in words


def _is_separable(shape: Shape | None) -> bool:
    """Whether the values hold no commas, so that commas tell them apart."""
    shape = bare(shape)
    if isinstance(shape, Either):
        return all(_is_separable(option) for option in shape.options)
    return isinstance(shape, Choices) or (isinstance(shape, Scalar) and shape.kind in _SEPARATED)


def _separated(fitter: Fitter, raw: str, shape: Items, path: str) -> Fit:
    """The values between commas, line breaks or "and", each of which must be clear."""
    text = raw.strip().rstrip(".,; ")
    lead = _LEAD.match(text)
    texts = [text] if lead is None else [text, text[lead.end() :]]
    ways = [partial(_each, fitter, _parts(one, shape.item), shape, path) for one in texts]
    return cheapest(ways).with_repair("list in words", path)


def _parts(text: str, item: Shape | None) -> list[str]:
    item = bare(item)
    if "\n" in text:
        return [line.strip(" ,;") for line in text.split("\n") if line.strip()]
    if not (isinstance(item, Scalar) and item.kind in ("integer", "number", "decimal")):
        return _split(_SEPARATOR, text)
    parts = _split(_NUMBER_SEPARATOR, text)
    if len(parts) > 1:
        return parts
    return text.split(",") if "," in text else text.split() if numbers.number(text) is None else parts


def _split(separator: re.Pattern[str], text: str) -> list[str]:
    """The parts of a text, without the space around them: a separator that took it would search long runs again."""
    return [part.strip() for part in separator.split(text)]


def _each(fitter: Fitter, parts: list[str], shape: Items, path: str) -> Fit:
    if len(parts) < 2:
        raise Misfit("a single value", path)
    found = _listed(fitter, [Bare(part) for part in parts], shape, path)
    if _is_from_sentence(found):
        raise Misfit("sentences, where a list is wanted", path)
    return found


def bulleted(text: str) -> list[str] | None:
    """The entries of a list with bullets or numbers, one to a line; None if it is none.

    A line that ends with a colon may stand before it, a paragraph behind it; lines that are indented
    go on with the entry above.
    """
    lines = text.strip("\r\n").split("\n", _ENTRIES)
    if len(lines) > _ENTRIES:
        return None
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    is_over, last = False, ""
    entries: list[str] = []
    for line in (line[indent:] for line in lines):
        entry = _BULLET.match(line.strip())
        if entry is not None and (not entries or not line[:1].isspace()):
            if is_over or (not entries and last and not last.rstrip("*_ ").endswith(":")):
                return None
            entries.append(entry.group(1).strip())
        elif line.strip() and entries:
            if line[:1].isspace():
                entries[-1] += f"\n{line.strip()}"
            elif last:
                return None
            else:
                is_over = True
        last = line.strip()
    return entries or None


def _entry(text: str) -> str:
    marked = re.fullmatch(r"(?:(\*\*|__|`)(?P<marked>[^*_`]+)\1|([\"'])(?P<quoted>.+)\3)", text)
    if marked is None:
        return Bare(text)
    return Bare(marked["marked"]) if marked["marked"] else str(marked["quoted"])
