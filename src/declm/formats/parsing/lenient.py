"""Read almost-JSON: comments of a model around it, trailing commas, Python literals, other quotes.

One pass over the text per candidate, and a budget over all candidates together, so that the time is
linear in the length of the reply whatever stands in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

DEPTH_LIMIT = 200
"""Nesting that a reply may have."""

_PASSES = 4
"""How often the text may be gone over, all candidates together."""

_CANDIDATES = 1000
"""How many opening braces are tried."""

_SPACE = re.compile(r"(?:\s+|//[^\n]*)*")
_WORD = re.compile(r"[A-Za-z_][\w\-]*")
_NUMBER = re.compile(r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_STOPS = {'"': re.compile(r'["\\]'), "'": re.compile(r"['\\]")}
_BAD_ESCAPE = re.compile(r'\\(?!["\\/bfnrt]|u[0-9a-fA-F]{4})(.?)', re.DOTALL)
_ANY_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_LITERALS: dict[str, Any] = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}


class _Unreadable(Exception):
    """This candidate is no object; `args[0]` is where that showed."""


def objects(text: str) -> Iterator[dict[str, Any]]:
    """The outermost objects in a text, in order."""
    reader, start, work = _Reader(text), text.find("{"), _PASSES * len(text)
    for _ in range(_CANDIDATES):
        if start < 0 or work < 0:
            return
        try:
            found, end = reader.object(start, 1)
            yield found
            work -= end - start
        except _Unreadable as stop:
            work -= stop.args[0] - start
            end = start + 1
        except RecursionError:  # the caller's own stack left less room than the depth limit needs
            return
        start = text.find("{", end)


def container(text: str) -> dict[str, Any] | list[Any] | None:
    """The text as one object or array, or None."""
    at = len(text) - len(text.lstrip())
    if text[at : at + 1] not in ("{", "["):
        return None
    try:
        found, end = _Reader(text).value(at, 0)
    except (_Unreadable, RecursionError):
        return None
    return found if not text[end:].strip() else None


class _Reader:
    """Recursive descent; each method takes a position and returns a value with the position behind it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def value(self, at: int, depth: int) -> tuple[Any, int]:
        at = self._skip(at)
        char = self._text[at : at + 1]
        if char == "{":
            return self.object(at, depth + 1)
        if char == "[":
            return self._array(at, depth + 1)
        if char in _STOPS:
            return self._string(at)
        return self._scalar(at)

    def object(self, at: int, depth: int) -> tuple[dict[str, Any], int]:
        self._check_depth(at, depth)
        found: dict[str, Any] = {}
        at = self._skip(at + 1)
        while self._text[at : at + 1] != "}":
            key, at = self._key(at)
            at = self._skip(at)
            if self._text[at : at + 1] != ":":
                raise _Unreadable(at)
            found[key], at = self.value(at + 1, depth)
            at = self._next(at, "}")
        return found, at + 1

    def _array(self, at: int, depth: int) -> tuple[list[Any], int]:
        self._check_depth(at, depth)
        found = list[Any]()
        at = self._skip(at + 1)
        while self._text[at : at + 1] != "]":
            item, at = self.value(at, depth)
            found.append(item)
            at = self._next(at, "]")
        return found, at + 1

    def _next(self, at: int, closing: str) -> int:
        """Go behind a comma (a trailing one too), or to the closing bracket."""
        at = self._skip(at)
        char = self._text[at : at + 1]
        if char == ",":
            return self._skip(at + 1)
        if char == closing:
            return at
        raise _Unreadable(at)

    def _key(self, at: int) -> tuple[str, int]:
        if self._text[at : at + 1] in _STOPS:
            return self._string(at)
        word = _WORD.match(self._text, at)
        if word is None:
            raise _Unreadable(at)
        return word.group(), word.end()

    def _string(self, start: int) -> tuple[str, int]:
        quote = self._text[start]
        stop = _STOPS[quote].search(self._text, start + 1)
        while stop is not None and stop.group() == "\\":
            stop = _STOPS[quote].search(self._text, stop.end() + 1)
        if stop is None:
            raise _Unreadable(len(self._text))
        return _unescape(self._text[start + 1 : stop.start()], quote), stop.end()

    def _scalar(self, at: int) -> tuple[Any, int]:
        word = _WORD.match(self._text, at)
        if word is not None and word.group() in _LITERALS:
            return _LITERALS[word.group()], word.end()
        number = _NUMBER.match(self._text, at)
        if number is None:
            raise _Unreadable(at)
        return _number(number.group(), at), number.end()

    def _skip(self, at: int) -> int:
        space = _SPACE.match(self._text, at)
        return space.end() if space else at

    def _check_depth(self, at: int, depth: int) -> None:
        if depth > DEPTH_LIMIT:
            raise _Unreadable(at)


def _unescape(body: str, quote: str) -> str:
    if "\\" not in body:
        return body
    if quote == "'":
        body = body.replace("\\'", "'").replace('"', '\\"') if '\\"' not in body else body.replace("\\'", "'")
    body = _BAD_ESCAPE.sub(lambda bad: "\\\\" + bad.group(1), body)
    try:
        text: str = json.loads(f'"{body}"', strict=False)
    except ValueError:
        return _ANY_ESCAPE.sub(r"\1", body)
    return text


def _number(text: str, at: int) -> int | float:
    digits = text.replace("_", "")
    try:
        return float(digits) if any(c in digits for c in ".eE") else int(digits)
    except ValueError as error:  # more digits than Python converts
        raise _Unreadable(at) from error
