"""Read `key: value` lines: block YAML, and the headings and bullets in which chat models answer."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from declm.formats.parsing.nodes import DEPTH_LIMIT, Bare, Raw
from declm.formats.parsing.scalars import fold

_FENCE = re.compile(r"^[ \t]*`{3,}[ \t]*\w*[ \t]*$", re.MULTILINE)
_KEY = re.compile(
    r"(?:#{1,6}[ \t]+|\*\*|__)?[\"'`]?([^\W_][^:\n*`\"']{0,79}?)[\"'`]?(?:\*\*|__)?[ \t]*:(?:\*\*|__)?(?:[ \t]+(.*)|)\Z"
)
_DASH = re.compile(r"([-*•]|\d{1,3}[.)])[ \t]+")
_LINES = 5_000


@dataclass(frozen=True, slots=True)
class _Line:
    indent: int
    text: str


def outline(text: str, names: Collection[str]) -> Raw:
    """The object or list that lines of `key: value` make up, or None if no key is one of `names`."""
    lines = [
        _Line(len(line) - len(line.lstrip()), line.strip())
        for line in textwrap.dedent(_fenced(text)).expandtabs(2).splitlines()[:_LINES]
    ]
    known = {fold(name) for name in names}
    start = next((at for at, line in enumerate(lines) if _is_known(line.text, known)), None)
    if start is None:
        return None
    value, _ = _Outline(lines, known).block(start, 0)
    return value


def _fenced(text: str) -> str:
    """What stands in the first code fence, or all of the text."""
    opening = _FENCE.search(text)
    if opening is None:
        return text
    closing = _FENCE.search(text, opening.end())
    return text[opening.end() : closing.start() if closing else len(text)].lstrip("\n")


def _is_known(text: str, known: Collection[str]) -> bool:
    dash = _DASH.match(text)
    key = _KEY.match(text[dash.end() :] if dash else text)
    return key is not None and fold(key.group(1)) in known


class _Outline:
    def __init__(self, lines: list[_Line], known: Collection[str]) -> None:
        self._lines, self._known = lines, known

    def block(self, at: int, depth: int) -> tuple[Raw, int]:
        """The value that the lines from `at` on make up, as far as they are indented like it."""
        line = self._lines[at]
        dash = _DASH.match(line.text)
        if dash and not (depth == 0 and self._is_flat_list(at)):
            return self._list(at, depth)
        return self._object(at, depth)

    def _is_flat_list(self, at: int) -> bool:
        """Whether bullets hold the fields of one object (`- name: x` and, below, `- age: 3`)."""
        indent, seen = self._lines[at].indent, set[str]()
        for line in self._lines[at:]:
            dash = _DASH.match(line.text)
            key = _KEY.match(line.text[dash.end() :]) if dash else None
            if line.indent > indent and line.text:
                return False
            if not line.text or line.indent < indent:
                continue
            if key is None or fold(key.group(1)) in seen:
                return False
            seen.add(fold(key.group(1)))
        return bool(seen)

    def _list(self, at: int, depth: int) -> tuple[list[Raw], int]:
        indent, found = self._lines[at].indent, list[Raw]()
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
                self._lines[at] = _Line(indent + dash.end(), rest)
                value, at = self._object(at, depth + 1)
            else:
                value, at = _value(rest), at + 1
            found.append(value)
        return found, at

    def _object(self, at: int, depth: int) -> tuple[dict[str, Raw], int]:
        indent, found, last = self._lines[at].indent, dict[str, Raw](), ""
        while at < len(self._lines):
            line = self._lines[at]
            text = line.text
            dash = _DASH.match(text) if depth == 0 else None
            if line.text and line.indent < indent:
                break
            key = _KEY.match(text[dash.end() :] if dash else text) if line.indent == indent else None
            if key is None or (depth == 0 and fold(key.group(1)) not in self._known and last):
                if not text and self._ends_at(at + 1, indent, depth):
                    break
                if last and isinstance(found[last], str):
                    found[last] = Bare(f"{found[last]}\n{text}".strip())
                at += 1
                continue
            last = key.group(1).strip()
            at += 1
            found[last], at = self._after_key(key.group(2) or "", at, indent, depth)
        return found, at

    def _ends_at(self, at: int, indent: int, depth: int) -> bool:
        """Whether what follows an empty line is prose about the answer."""
        rest = [line for line in self._lines[at:] if line.text]
        return (
            depth == 0
            and bool(rest)
            and not any(_is_known(line.text, self._known) for line in rest)
            and rest[0].indent <= indent
        )

    def _after_key(self, inline: str, at: int, indent: int, depth: int) -> tuple[Raw, int]:
        if inline and inline not in ("|", ">", "|-", ">-"):
            return _value(inline), at
        below = next((line for line in self._lines[at:] if line.text), None)
        if below is None or depth >= DEPTH_LIMIT:
            return Bare(""), at
        is_list = below.indent >= indent and _DASH.match(below.text) is not None and not inline
        if (
            below.indent <= indent
            and not (is_list and depth > 0)
            and not (is_list and not _is_known(below.text, self._known))
        ):
            return Bare(""), at
        while not self._lines[at].text:
            at += 1
        if not inline and (is_list or _KEY.match(below.text)):
            return self.block(at, depth + 1)
        return self._words(at, below.indent)

    def _words(self, at: int, indent: int) -> tuple[Raw, int]:
        lines = list[str]()
        while at < len(self._lines) and (self._lines[at].indent >= indent or not self._lines[at].text):
            line = self._lines[at]
            lines.append(" " * (line.indent - indent) + line.text)
            at += 1
        return Bare("\n".join(lines).rstrip()), at


def _value(text: str) -> Any:
    bare = text.strip()
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'`":
        return bare[1:-1]
    return Bare(bare)
