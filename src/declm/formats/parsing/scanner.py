"""Read one value out of text that should have been JSON: one pass, an explicit stack, bounded looks ahead.

Brackets that are wrong or missing are told from what is open; names of fields that the type has
settle what would be ambiguous.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from declm.formats.parsing.ahead import AHEAD, Ahead
from declm.formats.parsing.nodes import (
    DEPTH_LIMIT,
    TOO_DEEP,
    TWICE,
    Bare,
    OpenDict,
    OpenList,
    Raw,
    Unreadable,
    is_list,
)
from declm.formats.parsing.quoting import QUOTES, UNTIL, unescape
from declm.formats.parsing.texts import CLOSING, OPENING, Bracket, Frame, Texts, end_of

_LONG_KEY = re.compile(r"[^\s\"'`{}\[\](),:=][^\n\"'`{}\[\],:=]{0,120}?[ \t]{0,40}(?::|=>?)")
_OPEN_KEY = re.compile(r"([^\W\d][\w .-]{0,80})[\"'”]\s{0,40}:")
_NUMBERS = re.compile(r"[-+]?[\d.]+(?:[eE][-+]?\d+)?(?:\s+[-+]?[\d.]+(?:[eE][-+]?\d+)?)+")
_HALF_KEY = re.compile(r"([\"'“])([^\"'“”:,{}\[\]\n]{1,120}):")
_TUPLE = re.compile(r"\(\s{0,40}(?:[\"'(\[{)]|[-+]?[\d.])")
_MORE_MEMBERS = re.compile(r"\s{0,40},\s{0,40}(?=\"[^\"\n]{0,120}\"\s{0,40}[:\"])")
_EMPTY = frozenset({"...", "…", "-"})


class Scanner:
    """Reads values at given places of one text; `repairs` tells what had to be mended in the last one."""

    def __init__(self, text: str, keys: Collection[str] = ()) -> None:
        self.text = text
        self._ahead = Ahead(text, keys)
        self._frames = list[Frame]()
        self._texts = Texts(self._ahead, self._frames)
        self._at = 0
        self._root: Raw = None

    @property
    def repairs(self) -> list[str]:
        """What had to be mended since the last `read` began."""
        return self._texts.repairs

    def read(self, start: int) -> tuple[Raw, int]:
        """The value that an opening bracket at `start` begins, and the place behind it.

        Raises:
            Unreadable: it is nested deeper than `DEPTH_LIMIT`, or broken in too many places.
        """
        self._texts.repairs = []
        self._frames.clear()
        self._at, self._root = start, None
        self._open(self.text[start])
        while self._frames:
            self._at = self._ahead.skip(self._at)
            frame = self._frames[-1]
            if self._at >= len(self.text):
                self._texts.repair("missing bracket")
                self._close(frame, broken=True, cut=True)
            elif frame.kind != "{":
                self._item(frame)
            elif frame.key is None:
                self._member(frame)
            else:
                self._member_value(frame)
        return self._root, self._at

    def goes_on(self, at: int) -> bool:
        """Whether more members follow an object that was closed too early."""
        return _MORE_MEMBERS.match(self.text, at) is not None

    # Brackets

    def _open(self, bracket: str, *, into: Any = None, implicit: bool = False) -> None:
        if len(self._frames) >= DEPTH_LIMIT:
            raise Unreadable(TOO_DEEP)
        found: Any = into if into is not None else {} if bracket == "{" else []
        kind: Bracket = "{" if bracket == "{" else "[" if bracket == "[" else "("
        self._frames.append(Frame(kind, found))
        if not implicit:
            self._at += 1

    def _close(self, frame: Frame, *, broken: bool = False, cut: bool = False) -> None:
        self._frames.pop()
        value: Raw = frame.found
        if cut:
            value = OpenDict(value) if frame.kind == "{" else OpenList(value)
        elif frame.kind == "(" and len(value) == 1 and not frame.commas:
            value = value[0]
        if self._frames:
            if not broken or value != {} or self._frames[-1].kind == "{":  # else an object that hardly began
                self._deliver(self._frames[-1], value)
        else:
            self._root = value
            more = _MORE_MEMBERS.match(self.text, self._at) if frame.kind == "{" else None
            if more is not None:
                self._texts.repair("object closed too early")
                self._at = more.end() - 1
                self._open("{", into=value)

    def _deliver(self, frame: Frame, value: Raw) -> None:
        if frame.kind == "{":
            if frame.key is not None:
                if frame.found.get(frame.key, value) != value:
                    self._texts.repair(TWICE)
                frame.found[frame.key] = value
                frame.last, frame.key = frame.key, None
        else:
            frame.found.append(value)

    # Objects

    def _member(self, frame: Frame) -> None:
        char = self.text[self._at]
        if char == "}":
            self._at += 1
            self._close(frame)
        elif char in ",;":
            self._at += 1
        elif char in "])":
            self._wrong_closing(frame, char)
        elif char in "[{(":
            self._bracket_for_key(frame, char)
        elif char in QUOTES:
            self._quoted_key(frame)
        else:
            self._unquoted_key(frame)

    def _wrong_closing(self, frame: Frame, char: str) -> None:
        """A bracket that closes something further out closes this too; one that closes nothing is skipped."""
        self._texts.repair("wrong bracket")
        if self._texts.has(OPENING[char]):
            self._close(frame, broken=True)
        else:
            self._at += 1

    def _bracket_for_key(self, frame: Frame, char: str) -> None:
        self._texts.repair("wrong bracket")
        if char == "[" and frame.last is not None and is_list(frame.found[frame.last]):
            frame.key = frame.last
            self._open("[", into=frame.found[frame.last])
        elif char == "{" and not frame.found:
            self._open("{", into=frame.found)  # doubled braces, as templates write them
        else:
            self._at += 1

    def _quoted_key(self, frame: Frame) -> None:
        start, text = self._at, self.text
        mark = text[start]
        whole = self._ahead.quoted_key(start)
        if whole is not None:
            return self._take_key(frame, _unquoted(whole.group().rstrip(":=> \t\r\n")), whole.end())
        half = _HALF_KEY.match(text, start)
        if half is not None:
            self._texts.repair("missing quote")
            return self._take_key(frame, half.group(2).strip(), half.end())
        key, end = self._key_with_quotes(start, mark)
        behind = self._ahead.skip(end)
        char = text[behind : behind + 1]
        if char == ":":
            return self._take_key(frame, key, behind + 1)
        if char in ",}" and char and not frame.found and frame.last is None:
            return self._turn_into_list(frame)
        if char and (char in QUOTES or char in "[{"):
            self._texts.repair("missing colon")
            return self._take_key(frame, key, behind)
        self._texts.repair("key without value")
        self._at = max(end, start + 1)
        return None

    def _key_with_quotes(self, start: int, mark: str) -> tuple[str, int]:
        """A key whose own quotes are not escaped ends at the quote that a colon follows."""
        text, end_of_look = self.text, min(len(self.text), start + AHEAD)
        first, at = None, start + 1
        while (quote := end_of(UNTIL[mark], text, at, end_of_look)) < end_of_look and text[quote] != "\\":
            first = quote if first is None else first
            behind = self._ahead.look(quote + 1)
            if text[behind : behind + 1] == ":":
                return unescape(text[start + 1 : quote]), quote + 1
            if text[behind : behind + 1] in (",", "}", "\n", "{", "["):
                break
            at = quote + 1
        if first is None:
            return "", end_of_look
        return unescape(text[start + 1 : first]), first + 1

    def _unquoted_key(self, frame: Frame) -> None:
        text, start = self.text, self._at
        found = self._ahead.bare_key(start) or _LONG_KEY.match(text, start)
        if found is not None:
            self._texts.repair("missing quote")
            return self._take_key(frame, found.group().rstrip(":=>").strip(), found.end())
        if found := _OPEN_KEY.match(text, start):
            self._texts.repair("missing quote")
            return self._take_key(frame, found.group(1), found.end())
        words = self._ahead.words(start)
        end = max(words, start + 1)
        if words > start and not frame.found and frame.last is None and text[end : end + 1] in (",", "}"):
            return self._turn_into_list(frame)
        self._texts.repair("stray text")
        self._at = end
        return None

    def _take_key(self, frame: Frame, key: str, end: int) -> None:
        frame.key, self._at = key.strip("\n\r") if key.strip() else key, end

    def _turn_into_list(self, frame: Frame) -> None:
        """`{1, 2}`: a set, as Python writes it."""
        self._texts.repair("set instead of list")
        frame.kind, frame.found, frame.is_set = "[", [], True

    def _member_value(self, frame: Frame) -> None:
        char = self.text[self._at]
        if char in ",}" or (char in "])" and self._texts.has(OPENING[char])):
            self._texts.repair("missing value")
            frame.key = None
        else:
            self._value(frame, char)

    # Lists

    def _item(self, frame: Frame) -> None:
        char = self.text[self._at]
        if char in "])":
            if char != CLOSING[frame.kind]:
                self._texts.repair("wrong bracket")
            if char == CLOSING[frame.kind] or self._texts.has(OPENING[char]):
                self._at += char == CLOSING[frame.kind]
                self._close(frame)
            else:
                self._at += 1
        elif char == "}":
            self._brace_in_list(frame)
        elif char in ",;":
            frame.commas += 1
            self._at += 1
        elif char == ":" and frame.found and isinstance(frame.found[-1], str):
            self._texts.repair("missing bracket")
            key = str(frame.found.pop())
            self._open("{", implicit=True)
            self._frames[-1].key = key
            self._at += 1
        else:
            self._value(frame, char)

    def _brace_in_list(self, frame: Frame) -> None:
        if frame.is_set:
            self._at += 1
            self._close(frame)
            return
        self._texts.repair("wrong bracket")
        if not self._texts.has("{"):
            self._at += 1
        elif self._ahead.key_after_comma(self._at + 1):  # meant to be this list's own bracket
            self._at += 1
            self._close(frame)
        else:
            self._close(frame)

    # Values

    def _value(self, frame: Frame, char: str) -> None:
        if char in "{[" or (char == "(" and _TUPLE.match(self.text, self._at)):
            return self._open(char)
        text, self._at = self._texts.text_at(frame, self._at)
        if isinstance(text, Bare) and (text in _EMPTY or not text):
            frame.key = None
            return None
        if isinstance(text, Bare) and frame.kind != "{" and _NUMBERS.fullmatch(text):
            self._texts.repair("missing comma")
            frame.found += [Bare(one) for one in text.split()]
            return None
        return self._deliver(frame, text)


def _unquoted(key: str) -> str:
    """A key without its quotes, which may be doubled."""
    mark = key[0]
    inner = key[1:-1]
    if mark == '"' and inner.startswith('"'):
        inner = inner[1:]
    if mark == '"' and inner.endswith('"'):
        inner = inner[:-1]
    return unescape(inner)
