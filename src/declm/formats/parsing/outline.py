"""Read `key: value` lines: block YAML, and the headings and bullets in which chat models answer."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from declm.formats.parsing.nodes import DEPTH_LIMIT, Bare, Lines, Raw
from declm.formats.parsing.scalars import fold

_FENCE = re.compile(r"^[ \t]*`{3,}(?:[ \t]*[\w+-]+)?[ \t]*$", re.MULTILINE)
_FENCE_LINE = re.compile(r"`{3,}[ \t]*[\w+-]*\Z")
_KEY = re.compile(
    r"(?:#{1,6}[ \t]+|\*\*|__)?[\"'`]?([^\W_][^:\n*`\"']{0,79}?)[\"'`]?(?:\*\*|__)?[ \t]*:(?:\*\*|__)?(?:[ \t]+(.*)|)\Z"
)
_EQUALS = re.compile(r"[\"'`]?([^\W_][\w .-]{0,79}?)[\"'`]?[ \t]*=[ \t]*([^=].*|)\Z")
_HEADING = re.compile(r"(?:#{1,6}[ \t]+(?:\*\*)?|\*\*|__)([^\W_][^:\n*`\"'#]{0,79}?)(?:\*\*|__)?[ \t]*#*()\Z")
"""A key without a colon: `## Name`, `**Name**`."""

_DASH = re.compile(r"([-*•]|\d{1,3}[.)])[ \t]+")
_LINES = 5_000
_BLOCKS = frozenset({"|", ">", "|-", ">-"})


@dataclass(frozen=True, slots=True)
class _Line:
    """A line with its depth; `raw` is the whole of it."""

    indent: int
    text: str
    raw: str


@dataclass(frozen=True, slots=True)
class _Key:
    name: str
    inline: str
    dash: int = 0
    """Characters of the bullet before it."""


def outline(text: str, names: Collection[str], *, any_key: bool = False) -> Raw:
    """The object or list that lines of `key: value` make up.

    None if no key is one of `names`, or, with `any_key`, if some line is no part of such an object.
    """
    known = {fold(name) for name in names}
    lines = _lines(_fenced(text, known))
    if any_key:
        keys = {fold(key.name) for line in lines if (key := _key(line.text, None)) is not None}
        top = [line for line in lines if line.text and line.indent == 0]
        if not top or any(_key(line.text, None) is None for line in top):
            return None
        known |= keys
    reader = _Outline(lines, known)
    start = reader.first_known(0)
    return None if start is None else reader.blocks(start)


def _lines(text: str) -> list[_Line]:
    raws = text.split("\n", _LINES)[:_LINES]
    lines = [raw.expandtabs(2) if "\t" in raw else raw for raw in raws]
    depths = [len(line) - len(line.lstrip()) for line in lines]
    least = min((depth for depth, line in zip(depths, lines, strict=True) if depth < len(line)), default=0)
    return [
        _Line(max(depth - least, 0), line.strip(), raw) for depth, line, raw in zip(depths, lines, raws, strict=True)
    ]


def _fenced(text: str, known: Collection[str]) -> str:
    """What stands in the first code fence, or all of the text if a key stands before that."""
    opening = _FENCE.search(text)
    if opening is None or any(_is_known(line.strip(), known) for line in text[: opening.start()].split("\n")):
        return text
    closing = _FENCE.search(text, opening.end())
    return text[opening.end() : closing.start() if closing else len(text)].lstrip("\n")


def _key(text: str, known: Collection[str] | None) -> _Key | None:
    """The key that a line begins with; without a colon only if it is one of `known`."""
    dash = _DASH.match(text)
    width = dash.end() if dash else 0
    found = _KEY.match(text, width)
    if found is None and known is not None:
        found = _EQUALS.match(text, width) or _HEADING.match(text, width)
        if found is not None and fold(found.group(1)) not in known:
            return None
    return None if found is None else _Key(found.group(1).strip(), (found.group(2) or "").strip(), width)


def _is_known(text: str, known: Collection[str]) -> bool:
    key = _key(text, known)
    return key is not None and fold(key.name) in known


class _Outline:
    def __init__(self, lines: list[_Line], known: Collection[str]) -> None:
        self._lines, self._known = lines, known
        self._is_known = [bool(line.text) and _is_known(line.text, known) for line in lines]
        self._full = [len(lines)] * (len(lines) + 1)
        """By line, the first from it on that is not empty."""
        for at in reversed(range(len(lines))):
            self._full[at] = at if lines[at].text else self._full[at + 1]
        self._last_known = max((at for at, one in enumerate(self._is_known) if one), default=-1)

    def first_known(self, at: int) -> int | None:
        """The first line from `at` on that has a known key."""
        return next((i for i in range(at, len(self._lines)) if self._is_known[i]), None)

    def blocks(self, start: int) -> Raw:
        """What the lines make up: a list of objects if the first key stands there again."""
        value, at = self._block(start, 0)
        found, indent = [value], self._lines[start].indent
        while isinstance(value, dict) and at < len(self._lines) and self._is_known[at]:
            if self._lines[at].indent != indent:
                break
            value, at = self._block(at, 0)
            found.append(value)
        return found if len(found) > 1 else found[0]

    def _block(self, at: int, depth: int) -> tuple[Raw, int]:
        """The value that the lines from `at` on make up, as far as they are indented like it."""
        if _DASH.match(self._lines[at].text) and not (depth == 0 and self._is_flat_list(at)):
            return self._list(at, depth)
        return self._object(at, depth)

    def _is_flat_list(self, start: int) -> bool:
        """Whether bullets hold the fields of one object (`- name: x` and, below, `- age: 3`)."""
        indent = self._lines[start].indent
        seen: set[str] = set()
        for at in range(start, len(self._lines)):
            line = self._lines[at]
            if line.indent > indent and line.text:
                return False
            if not line.text or line.indent < indent:
                continue
            key = _key(line.text, self._known) if _DASH.match(line.text) else None
            if key is None or fold(key.name) in seen:
                return False
            seen.add(fold(key.name))
        return bool(seen)

    def _list(self, at: int, depth: int) -> tuple[list[Raw], int]:
        indent = self._lines[at].indent
        found: list[Raw] = []
        while at < len(self._lines):
            line = self._lines[at]
            dash = _DASH.match(line.text)
            if not line.text:
                at += 1
                continue
            if dash is None or line.indent != indent:
                break
            rest = line.text[dash.end() :]
            if _KEY.match(rest) and depth < DEPTH_LIMIT:
                self._lines[at] = _Line(indent + dash.end(), rest, rest)
                value, at = self._object(at, depth + 1)
            else:
                value, at = _value(rest), at + 1
            found.append(value)
        return found, at

    def _object(self, start: int, depth: int) -> tuple[Raw, int]:
        at, indent, last = start, self._lines[start].indent, ""
        found: dict[str, Raw] = {}
        more: list[str] = []  # lines of the last value behind its first
        while at < len(self._lines):
            line = self._lines[at]
            if line.text and line.indent < indent:
                break
            key = self._key_at(at, indent, depth, begun=bool(last))
            if key is None:
                if not line.text and self._ends_at(at + 1, indent, depth):
                    break
                if line.text:
                    more.append(line.text)
                at += 1
                continue
            if depth == 0 and key.name in found and len(found) > 1:
                break  # the next object
            _extend(found, last, more)
            last, more = key.name, []
            found[last], at = self._after_key(key, at + 1, indent, depth)
        _extend(found, last, more)
        text = "\n".join(line.text for line in self._lines[start:at]).strip() if depth and at - start < 50 else ""
        return (Lines(found, text) if text else found), at

    def _key_at(self, at: int, indent: int, depth: int, *, begun: bool) -> _Key | None:
        line = self._lines[at]
        if line.indent != indent or not line.text:
            return None
        key = _key(line.text, self._known)
        if key is None or (depth == 0 and begun and fold(key.name) not in self._known):
            return None
        return None if key.dash and depth else key

    def _ends_at(self, at: int, indent: int, depth: int) -> bool:
        """Whether what follows an empty line is prose about the answer."""
        if depth or at <= self._last_known:
            return False
        below = self._below(at)
        return below is not None and below.indent <= indent

    def _below(self, at: int) -> _Line | None:
        return self._lines[self._full[at]] if self._full[at] < len(self._lines) else None

    def _after_key(self, key: _Key, at: int, indent: int, depth: int) -> tuple[Raw, int]:
        inline = key.inline
        if _FENCE_LINE.match(inline):
            return self._code(at)
        if inline and inline not in _BLOCKS:
            return _value(inline), at
        below = self._below(at)
        if below is None or depth >= DEPTH_LIMIT:
            return Bare(""), at
        is_list = below.indent >= indent and _DASH.match(below.text) is not None and not inline and not key.dash
        is_code = below.text.startswith("```") and _FENCE_LINE.match(below.text) is not None
        if below.indent <= indent and not is_list and not is_code:
            return Bare(""), at
        while not self._lines[at].text:
            at += 1
        if is_code:
            return self._code(at + 1)
        if not inline and (is_list or _key(below.text, self._known)):
            return self._list(at, depth + 1) if is_list else self._block(at, depth + 1)
        return self._words(at, below.indent)

    def _code(self, at: int) -> tuple[str, int]:
        """The lines up to the end of a code fence."""
        lines: list[str] = []
        while at < len(self._lines) and not self._lines[at].text.startswith("```"):
            lines.append(self._lines[at].raw)
            at += 1
        return textwrap.dedent("\n".join(lines)), at + 1

    def _words(self, at: int, indent: int) -> tuple[Raw, int]:
        lines: list[str] = []
        while at < len(self._lines) and (self._lines[at].indent >= indent or not self._lines[at].text):
            line = self._lines[at]
            lines.append(" " * (line.indent - indent) + line.text)
            at += 1
        return Bare("\n".join(lines).rstrip()), at


def _extend(found: dict[str, Raw], key: str, lines: list[str]) -> None:
    """Add lines to the value of a key, if that is a text."""
    value = found.get(key)
    if lines and isinstance(value, Bare):
        found[key] = Bare("\n".join([value, *lines]).strip())


def _value(text: str) -> Any:
    bare = text.strip()
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'`":
        return bare[1:-1]
    return Bare(bare)
