"""Read the fields of a reply one by one, so that one that is wrong does not cost the others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from declm.errors import ParseError
from declm.formats.parsing.align import Aligner, Members
from declm.formats.parsing.fitting import Misfit
from declm.formats.parsing.nodes import TOO_DEEP, TWICE, Bare, Raw, Unreadable, is_object
from declm.formats.parsing.parse import Parsed, check_size, fits, reading_repairs, values_inside
from declm.formats.parsing.reading import (
    STRICT,
    Reading,
    answer_part,
    check_depth,
    read_brackets,
    read_escaped,
    read_without_brackets,
)
from declm.formats.parsing.shapes import Choices, Record, Scalar, Shape, known_names

_READ_REPAIR = 0.5

_DIGITS = 15
"""Of whole numbers that every rule about sizes takes."""

_QUOTES = "\"'`“”«»\u2018\u2019"


def parse_members(text: str, record: Record) -> Members:
    """The values of an object's fields that a reply holds, in time linear in its length.

    A reply that gives two answers is refused: one of them may be a quotation, from a text that wants
    to be taken for the answer.

    Raises:
        ParseError: the reply is too long or too deep, holds none of the fields, or holds some of them twice.
    """
    check_size(text)
    try:
        strict = _strict(text)
        if strict is not None and is_object(strict):
            found = straight(strict, record) or Aligner(values_inside).members(strict, record)
            if strict.keys() <= record.members.keys() or (found.values and not found.problems):
                return found
        return _Search(record).run(answer_part(text))
    except Unreadable as error:
        raise ParseError(f"the reply is {error.reason}", text=text[:300]) from None
    except RecursionError:
        raise ParseError(f"the reply is {TOO_DEEP}", text=text[:300]) from None


def parse_field(text: str, shape: Shape) -> Parsed[Any]:
    """The value of one field that stands alone in a text, as JSON that the field's type validates.

    Raises:
        ParseError: the text is no such value.
    """
    check_size(text)
    if isinstance(shape, Scalar) and shape.kind == "text":
        return Parsed(text)
    strict = _strict(text)
    if strict is not None:
        try:
            fit = Aligner(values_inside).fit(strict, shape)
            return Parsed(fit.value, fit.repairs)
        except (Misfit, RecursionError):
            pass
    best = fits(shape, known_names(shape), text)[0]
    return Parsed(best.value, best.repairs)


def _strict(text: str) -> Raw | None:
    """JSON as it stands, its numbers still text; None for what is none, or has a key twice."""
    try:
        found = STRICT.decode(text)
    except ValueError:
        return None
    check_depth(text)
    return found


def straight(raw: Mapping[str, Raw], record: Record) -> Members | None:
    """The fields of JSON that has all of them, each as its type writes it, as most replies do; else None.

    What an `Aligner` makes of it, at a tenth of the cost.
    """
    values: dict[str, Any] = {}
    for key, member in record.members.items():
        shape, value = member.shape, raw.get(key)
        if isinstance(shape, Scalar):
            if (shape.kind == "text" and type(value) is str) or (shape.kind == "boolean" and isinstance(value, bool)):
                values[key] = value
            elif shape.kind == "integer" and type(value) is Bare and len(value) <= _DIGITS and value.isdigit():
                values[key] = int(value)
            else:
                return None
        elif isinstance(shape, Choices) and type(value) is str and value in shape.values:
            values[key] = value
        else:
            return None
    return Members(values, {})


class _Search:
    """Looks for the one answer in a reply that is no plain JSON."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._aligner = Aligner(values_inside)
        self._found: list[tuple[float, Members]] = []
        self._rest = ""
        self._is_twice = False
        inside = {name for member in record.members.values() for name in known_names(member.shape)}
        keys = "|".join(re.escape(key) for key in record.members if key not in inside)
        self._keys = re.compile(rf"[{_QUOTES}]({keys})[{_QUOTES}]\s{{0,40}}[:=]" if keys else r"(?!)")

    def run(self, text: str) -> Members:
        """The fields of the best reading.

        Raises:
            ParseError: there is none, or another one contradicts it.
        """
        names = known_names(self._record)
        self._rest = text
        if not read_escaped(text, names, self._accept):
            read_brackets(text, names, self._accept)
        if not self._found:
            read_without_brackets(text, names, self._accept)
        if not self._found and len(self._record.members) == 1:
            return _lone(text, self._record)
        if not self._found:
            keys = ", ".join(f"`{key}`" for key in self._record.members)
            raise ParseError(f"the reply holds no JSON object with {keys}", text=text)
        best = min(self._found, key=lambda one: one[0])[1]
        if self._is_twice or self._is_contradicted(best):
            raise ParseError("the reply holds more than one answer; write one JSON object, each key once", text=text)
        return best

    def _accept(self, reading: Reading) -> bool:
        if not is_object(reading.value):
            return False
        found = self._aligner.members(reading.value, self._record)
        if not found.values and not found.problems:
            return False
        self._is_twice = self._is_twice or TWICE in reading.repairs or self._has_a_key_twice(reading)
        self._rest = self._rest.replace(reading.source, "", 1)
        repairs = (*reading_repairs(reading), *found.repairs)
        self._found.append((found.cost + _READ_REPAIR * len(reading.repairs), replace(found, repairs=repairs)))
        return True

    def _has_a_key_twice(self, reading: Reading) -> bool:
        """Whether one key more stands in a text of what had to be mended, where it may have been meant as a key."""
        if not reading.repairs:
            return False
        found = self._keys.findall(reading.source)
        return len(set(found)) < len(found)

    def _is_contradicted(self, best: Members) -> bool:
        """Whether another answer is as complete, or parts of one are left over."""
        others = [one for _, one in self._found if one is not best and one.values.keys() >= best.values.keys()]
        if any(one.values[key] != value for one in others for key, value in best.values.items()):
            return True
        return any(re.search(rf'"{re.escape(key)}"\s{{0,40}}:', self._rest) for key in self._record.members)


def _lone(text: str, record: Record) -> Members:
    """The only field, where the reply is its value; prose is never taken for a text.

    Raises:
        ParseError: it is not.
    """
    ((key, member),) = record.members.items()
    if isinstance(member.shape, Scalar) and member.shape.kind in ("text", "any"):
        raise ParseError(f"the reply holds no JSON object with `{key}`", text=text)
    best = fits(member.shape, known_names(member.shape), text)[0]
    return Members({key: best.value}, {}, repairs=tuple(repair.below(key) for repair in best.repairs))
