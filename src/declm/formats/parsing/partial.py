"""`parse_partial`: what a reply that is still being written says so far.

Texts grow, fields and items appear as they are complete, each validated alone. A number at the very end
may go on, so it is not shown yet. Everything is read anew from the text so far: how the reply was cut
into pieces can't matter.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar, overload

from pydantic import BaseModel

from declm.errors import ParseError
from declm.formats.parsing.align import Aligner, matched
from declm.formats.parsing.nodes import Cut, CutBare, OpenDict, OpenList, Raw, Unreadable, is_list, is_object
from declm.formats.parsing.parse import check_size, target_of, values_inside
from declm.formats.parsing.quoting import without_fence
from declm.formats.parsing.reading import Reading, answer_part, read_brackets
from declm.formats.parsing.schemas import described
from declm.formats.parsing.shapes import (
    Either,
    Embedded,
    Items,
    Member,
    Pairs,
    Record,
    Scalar,
    Shape,
    Source,
    known_names,
)
from declm.formats.parsing.singles import Misfit

T = TypeVar("T")


class _Nothing:
    """Stands for a value that can't be shown yet."""


NOTHING: Final = _Nothing()

_LITERALS = {"true": True, "false": False, "null": None}


@overload
def parse_partial(text: str, type: type[T]) -> T: ...
@overload
def parse_partial(text: str, type: Any) -> Any: ...
def parse_partial(text: str, type: Any) -> Any:
    """Read the beginning of a reply: the value of a type as far as it is known.

    Objects are instances that lack the attributes of fields that are not known yet, defaults
    excepted; validators of a whole object run when it is complete.

    Args:
        text: the reply so far.
        type: a class or any other annotation that Pydantic validates.

    Raises:
        ParseError: nothing of such a value can be seen.
    """
    check_size(text)
    target = target_of(type)
    shape, source = described(target.adapter)
    try:
        found = read_partial(text, shape, source)
    except (Unreadable, RecursionError) as error:
        raise ParseError(f"the reply can't be read so far: {error}", text=text[:300]) from None
    if isinstance(found, _Nothing):
        raise ParseError("nothing of such a value can be seen yet", text=text)
    return found


def read_partial(text: str, shape: Shape, source: Source | None) -> Any:
    """The value so far, or `NOTHING`."""
    body = answer_part(text)
    if isinstance(shape, Scalar) and shape.kind == "text":
        return body
    viewer = _Viewer()
    for raw in _beginnings(body, shape):
        found = viewer.view(raw, shape, source)
        if not isinstance(found, _Nothing):
            return found
    return viewer.view(CutBare(without_fence(body).strip()), shape, source)


def partial_members(raw: Raw, record: Record) -> dict[str, Any]:
    """The fields of an object so far, validated one by one."""
    return _Viewer().members(raw, record) if is_object(raw) else {}


def beginning(text: str, record: Record) -> Raw:
    """The object that a reply begins to write; an empty one if it has not begun."""
    empty: Raw = {}
    return next((raw for raw in _beginnings(answer_part(text), record) if is_object(raw)), empty)


def checked(value: Any, member: Member) -> Any:
    """A value of one field as its type has it, or `NOTHING` if it does not fit."""
    try:
        return value if member.source is None else member.source.validate(value)
    except ValueError:  # a ValidationError is one too
        return NOTHING


def _beginnings(text: str, shape: Shape) -> list[Raw]:
    found = list[Raw]()

    def keep(reading: Reading) -> bool:
        found.append(reading.value)
        return True

    if not text.strip():
        return [OpenDict(), OpenList()]
    read_brackets(text, known_names(shape), keep)
    return found


class _Viewer:
    def __init__(self) -> None:
        self._aligner = Aligner(values_inside)

    def view(self, raw: Raw, shape: Shape, source: Source | None) -> Any:
        """The part of a value that is known."""
        if not isinstance(raw, Cut | CutBare | OpenDict | OpenList):
            return self._whole(raw, shape, source)
        if isinstance(shape, Either):
            return self._option(raw, shape)
        if isinstance(shape, Embedded):
            return NOTHING
        if is_object(raw):
            return self._object(raw, shape, source)
        if is_list(raw):
            return self._list(raw, shape)
        if isinstance(shape, Scalar):
            return _begun(raw, shape)
        return NOTHING

    def _whole(self, raw: Raw, shape: Shape, source: Source | None) -> Any:
        try:
            value = self._aligner.fit(raw, shape).value
            return value if source is None else source.validate(value)
        except (Misfit, ValueError):  # a ValidationError is one too
            return self._object(raw, shape, source) if is_object(raw) else NOTHING

    def _option(self, raw: Raw, shape: Either) -> Any:
        best: Any = NOTHING
        for option, source in zip(shape.options, shape.sources, strict=True):
            if is_object(raw) and isinstance(option, Record):
                names = matched(raw, option)
                if len(names) < len(raw):
                    continue
            found = self.view(raw, option, source)
            if not isinstance(found, _Nothing):
                return found
        return best

    def _object(self, raw: dict[str, Raw], shape: Shape, source: Source | None) -> Any:
        if isinstance(shape, Pairs):
            values = {key: self.view(value, shape.value, shape.source) for key, value in raw.items()}
            return {key: value for key, value in values.items() if not isinstance(value, _Nothing)}
        if isinstance(shape, Record):
            known = self.members(raw, shape)
            return _made(shape, known) if known or not raw or isinstance(raw, OpenDict) else NOTHING
        if isinstance(shape, Scalar) and shape.kind == "any":
            values = {key: self.view(value, shape, None) for key, value in raw.items()}
            return {key: value for key, value in values.items() if not isinstance(value, _Nothing)}
        return NOTHING

    def members(self, raw: dict[str, Raw], record: Record) -> dict[str, Any]:
        """The fields that are known, by key."""
        found = dict[str, Any]()
        for key, name in matched(raw, record).items():
            member = record.members[key]
            value = self.view(raw[name], member.shape, member.source)
            if not isinstance(value, _Nothing):
                found[key] = value
        return found

    def _list(self, raw: list[Raw], shape: Shape) -> Any:
        if isinstance(shape, Scalar) and shape.kind == "any":
            shape = Items(shape)
        if not isinstance(shape, Items):
            return NOTHING
        wanted = [
            (shape.fixed[at], None) if at < len(shape.fixed) else (shape.item, shape.source) for at in range(len(raw))
        ]
        values = [
            self.view(one, item, source) for one, (item, source) in zip(raw, wanted, strict=True) if item is not None
        ]
        shown = [value for value in values if not isinstance(value, _Nothing)]
        if shape.name in ("set", "frozenset"):
            return set(shown) if shape.name == "set" else frozenset(shown)
        return tuple(shown) if shape.name == "tuple" else shown


def _begun(raw: str, shape: Scalar) -> Any:
    """A single value that may go on."""
    if isinstance(raw, Cut):
        return str(raw) if shape.kind in ("text", "any") else NOTHING
    word = raw.casefold()
    for name, value in _LITERALS.items():
        if word and name.startswith(word) and (shape.kind == "any" or (shape.kind == "null") == (value is None)):
            return value if shape.kind in ("any", "boolean", "null") else NOTHING
    return str(raw) if shape.kind == "text" and raw else NOTHING


def _made(record: Record, members: dict[str, Any]) -> Any:
    """An instance of which some attributes may be missing."""
    values = {record.members[key].name or key: value for key, value in members.items()}
    if record.cls is None:
        return members
    if issubclass(record.cls, BaseModel):
        return record.cls.model_construct(**values)
    made = object.__new__(record.cls)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made
