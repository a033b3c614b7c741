"""`parse_partial`: what a reply that is still being written says so far.

Texts grow, fields and items appear as they are complete, each validated alone. A number at the very end
may go on, so it is not shown yet. Everything is read anew from the text so far: how the reply was cut
into pieces can't matter.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar, overload

from pydantic import BaseModel

from declm.errors import ParseError
from declm.formats.parsing.align import Aligner
from declm.formats.parsing.fitting import Misfit
from declm.formats.parsing.lists import bulleted
from declm.formats.parsing.nodes import Bare, Cut, CutBare, OpenDict, OpenList, Raw, Unreadable, is_list, is_object
from declm.formats.parsing.objects import fit_key, matched
from declm.formats.parsing.outline import outline
from declm.formats.parsing.parse import check_size, target_of, values_inside
from declm.formats.parsing.quoting import QUOTES, unescape, without_fence
from declm.formats.parsing.reading import Reading, answer_part, read_brackets, read_without_brackets, whole
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
    bare,
    known_names,
)
from declm.formats.parsing.texts import whole_escapes

T = TypeVar("T")


class _Nothing:
    """Stands for a value that can't be shown yet."""


NOTHING: Final = _Nothing()

_NUMBER = re.compile(r"[-+]?[\d.,_]*(?:[eE][-+]?\d*)?")
_HALF_LINE = re.compile(r"[\w .*#\"'`-]{0,80}")
"""A line that may become a key."""

_HALF_KEY = re.compile(r"[,;\n][\s\"'`]{0,40}[\w .$-]{0,80}[\"'`]?\s{0,40}\Z|\s/{1,2}\Z")
"""What may become the next key, or a comment, at the end of unquoted words."""

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
    body = answer_part(text, growing=True)
    if isinstance(shape, Scalar) and shape.kind == "text":
        return body
    viewer = _Viewer()
    raws = _beginnings(body, shape)
    if isinstance(bare(shape), Items) and len(raws) > 1 and is_object(raws[0]):
        raws.insert(0, OpenList(raws))  # several objects for a list
    for raw in raws:
        found = viewer.view(raw, shape, source)
        if not isinstance(found, _Nothing):
            return found
    return viewer.view(_begun_words(without_fence(body).strip()), shape, source)


def partial_members(raw: Raw, record: Record) -> dict[str, Any]:
    """The fields of an object so far, validated one by one."""
    return _Viewer().members(raw, record) if is_object(raw) else {}


def beginning(text: str, record: Record) -> Raw:
    """The object that a reply begins to write; an empty one if it has not begun."""
    empty: Raw = {}
    return next((raw for raw in _beginnings(answer_part(text, growing=True), record) if is_object(raw)), empty)


def checked(value: Any, member: Member) -> Any:
    """A value of one field as its type has it, or `NOTHING` if it does not fit."""
    try:
        return value if member.source is None else member.source.validate(value)
    except ValueError:  # a ValidationError is one too
        return NOTHING


def _beginnings(text: str, shape: Shape) -> list[Raw]:
    names = known_names(shape)
    found: list[Raw] = []

    def keep(reading: Reading) -> bool:
        found.append(reading.value)
        return True

    if not text.strip():
        return (
            [OpenList()] if isinstance(bare(shape), Items) else [OpenDict()] if isinstance(bare(shape), Record) else []
        )
    if read_brackets(text, names, keep) or not names:
        return found
    if text.lstrip()[:1] in QUOTES:
        read_without_brackets(text, names, keep)
    else:
        begun, _, last = text.rpartition("\n")
        lines = outline(begun if _HALF_LINE.fullmatch(last) else text, names)
        if lines is not None:
            found.append(_opened(lines, line=not last))
    return found


def _opened(raw: Raw, *, line: bool) -> Raw:
    """A value whose end may go on; `line`: behind a whole line, so that a number can't."""
    if is_object(raw) and raw:
        last = next(reversed(raw))
        return OpenDict(raw | {last: _opened(raw[last], line=line)})
    if is_list(raw) and raw:
        return OpenList([*raw[:-1], _opened(raw[-1], line=line)])
    return CutBare(raw) if isinstance(raw, Bare) and not (line and _NUMBER.fullmatch(raw)) else raw


def _begun_words(text: str) -> Raw:
    """A reply without brackets: a text in quotes, a list with bullets, or words."""
    if text[:1] == '"':
        said = whole(text)
        return said if not isinstance(said, Bare) else Cut(unescape(whole_escapes(text[1:])))
    if len(text) < 2:
        return CutBare("")  # "t" may be no truth value
    entries = bulleted(text)
    return CutBare(text) if entries is None else OpenList([*map(Bare, entries[:-1]), CutBare(entries[-1])])


class _Viewer:
    def __init__(self) -> None:
        self._aligner = Aligner(values_inside)

    def view(self, raw: Raw, shape: Shape, source: Source | None) -> Any:
        """The part of a value that is known."""
        if not isinstance(raw, Cut | CutBare | OpenDict | OpenList):
            return self._whole(raw, shape, source)
        shape = bare(shape)
        if isinstance(shape, Either):
            return self._option(raw, shape)
        if isinstance(shape, Embedded):
            return NOTHING
        if is_object(raw):
            return self._object(raw, shape)
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
            return self._object(raw, shape) if is_object(raw) else NOTHING

    def _option(self, raw: Raw, shape: Either) -> Any:
        """The first option of which something is known; words that may become something else are no text yet."""
        is_open = isinstance(raw, CutBare) and _may_be_no_text(raw)
        options = [bare(option) for option in shape.options]
        for option, source in zip(options, shape.sources, strict=True):
            if is_object(raw) and isinstance(option, Record) and len(matched(raw, option)) < len(raw):
                continue
            if is_open and isinstance(option, Scalar) and option.kind == "text":
                continue
            found = self.view(raw, option, source)
            if not isinstance(found, _Nothing):
                return found
        return NOTHING

    def _object(self, raw: dict[str, Raw], shape: Shape) -> Any:
        shape = bare(shape)
        if isinstance(shape, Pairs):
            return self._pairs(raw, shape)
        if isinstance(shape, Record) and not shape.positional:
            known = self.members(raw, shape)
            if known or not raw:
                return _made(shape, known)
            inner = next(iter(raw.values())) if len(raw) == 1 else None
            if is_object(inner):
                return self._object(inner, shape)
            return _made(shape, known) if isinstance(raw, OpenDict) else NOTHING
        if isinstance(shape, Items):
            return self._items(raw, shape)
        if isinstance(shape, Scalar) and shape.kind == "any":
            values = {key: self.view(value, shape, None) for key, value in raw.items()}
            return {key: value for key, value in values.items() if not isinstance(value, _Nothing)}
        return NOTHING

    def _pairs(self, raw: dict[str, Raw], shape: Pairs) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for name, value in raw.items():
            try:
                key = name if shape.key_source is None else fit_key(self._aligner, name, shape.key, "").value
                key = key if shape.key_source is None else shape.key_source.validate(key)
            except (Misfit, ValueError):
                continue
            seen = self.view(value, shape.value, shape.source)
            if not isinstance(seen, _Nothing):
                found[key] = seen
        return found

    def _items(self, raw: dict[str, Raw], shape: Items) -> Any:
        """A list of which an object is the only item, or around which one stands."""
        item = bare(shape.item)
        if isinstance(item, Record) and matched(raw, item):
            return self._list(OpenList([raw]), shape)
        inner = next(iter(raw.values())) if len(raw) == 1 else None
        return self._list(inner, shape) if is_list(inner) else NOTHING

    def members(self, raw: dict[str, Raw], record: Record) -> dict[str, Any]:
        """The fields that are known, by key."""
        found: dict[str, Any] = {}
        for key, name in matched(raw, record).items():
            member, value = record.members[key], raw[name]
            if isinstance(value, CutBare):
                value = CutBare(_HALF_KEY.sub("", value))
            seen = self.view(value, member.shape, member.source)
            if not isinstance(seen, _Nothing):
                found[key] = seen
        return found

    def _list(self, raw: list[Raw], shape: Shape) -> Any:
        """The items up to the first that can't be shown yet."""
        if isinstance(shape, Scalar) and shape.kind == "any":
            shape = Items(shape)
        if not isinstance(shape, Items):
            return NOTHING
        shown: list[Any] = []
        for at, one in enumerate(raw):
            fixed = at < len(shape.fixed)
            item, source = (shape.fixed[at], shape.sources[at]) if fixed else (shape.item, shape.source)
            seen = NOTHING if item is None else self.view(one, item, source)
            if isinstance(seen, _Nothing):
                break
            shown.append(seen)
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


def _may_be_no_text(raw: str) -> bool:
    word = raw.casefold()
    return _NUMBER.fullmatch(raw) is not None or any(name.startswith(word) for name in (*_LITERALS, "none"))


def _made(record: Record, members: dict[str, Any]) -> Any:
    """An instance of which some attributes may be missing."""
    values = {record.members[key].name or key: value for key, value in members.items()}
    if record.cls is None:
        return members
    if issubclass(record.cls, BaseModel):
        made = record.cls.model_construct(**{name: value for name, value in values.items() if name != "cls"})
        if "cls" in values:  # a field may have the name of that method's own parameter
            vars(made)["cls"] = values["cls"]
            made.model_fields_set.add("cls")
        return made
    made = object.__new__(record.cls)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made
