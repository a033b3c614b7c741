"""Read one value out of text that should have been JSON: one pass, an explicit stack, bounded looks ahead.

Brackets that are wrong or missing are told from what is open; names of fields that the type has
settle what would be ambiguous.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from declm.formats.parsing.ahead import Ahead
from declm.formats.parsing.keys import Keys
from declm.formats.parsing.nodes import (
    DEPTH_LIMIT,
    TOO_DEEP,
    TWICE,
    Bare,
    CutBare,
    OpenDict,
    OpenList,
    Raw,
    Unreadable,
    is_list,
)
from declm.formats.parsing.quoting import QUOTES
from declm.formats.parsing.texts import CLOSING, Bracket, Frame, Texts

_CALL = re.compile(r"[A-Za-z_][\w.]{0,80}\((?=\s{0,40}(?:[A-Za-z_]\w{0,80}\s{0,8}=(?!=)|\)))")
"""How Python shows an object: `Person(name="Ann")`."""

_ARGUMENTS = re.compile(r"\((?=\s{0,40}[A-Za-z_]\w{0,80}\s{0,8}=(?!=))")
_CALLED = re.compile(r"(?<![\w.])[A-Za-z_][\w.]{0,80}\Z")

_NUMBERS = re.compile(r"[-+]?[\d.]+(?:[eE][-+]?\d+)?(?:\s+[-+]?[\d.]+(?:[eE][-+]?\d+)?)+")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?=\s{0,40}\]|,\s)")
_TUPLE = re.compile(r"\(\s{0,40}(?:[\"'(\[{)]|[-+]?[\d.]|\Z)")
_MORE_MEMBERS = re.compile(r"\s{0,40},\s{0,40}(?=\"[^\"\n]{0,120}\"\s{0,40}[:\"])")
_EMPTY = frozenset({"...", "…", "-"})
_STEPS = 100_000
"""Keys, values and brackets that are read of one reply that is no JSON; no LM writes more."""


class Scanner:
    """Reads values at given places of one text; `repairs` tells what had to be mended in the last one."""

    def __init__(self, text: str, keys: Collection[str] = ()) -> None:
        self.text = text
        self._ahead = Ahead(text, keys)
        self._frames: list[Frame] = []
        self._texts = Texts(self._ahead, self._frames)
        self._keys = Keys(self._texts)
        self._at = self._steps = 0
        self._root: Raw = None

    @property
    def repairs(self) -> list[str]:
        """What had to be mended since the last `read` began."""
        return self._texts.repairs

    def read(self, start: int, bracket: str = "") -> tuple[Raw, int]:
        """The value that an opening bracket or a call at `start` begins, and the place behind it.

        Args:
            start: where the value begins.
            bracket: what is missing there; empty for nothing.

        Raises:
            Unreadable: it is nested deeper than `DEPTH_LIMIT`, broken in too many places, or has too many parts.
        """
        self._texts.repairs = []
        self._frames.clear()
        self._at, self._root = start, None
        if bracket:
            self._texts.repair("missing bracket")
            self._open(bracket, implicit=True)
        elif self.text[start] in CLOSING:
            self._open(self.text[start])
        else:
            self._call(start)
        while self._frames:
            self._steps += 1
            if self._steps > _STEPS:
                raise Unreadable("no JSON, and has too many parts to be mended")
            self._step()
        return self._root, self._at

    def _step(self) -> None:
        text, frame = self.text, self._frames[-1]
        at = self._at = self._ahead.skip(self._at)
        char = text[at : at + 1]
        if not char or self._ahead.ends_at(at):
            self._at = len(text)
            self._texts.repair("missing bracket")
            self._close(frame, broken=True, cut=True)
        elif frame.kind != "{":
            self._item(frame, char)
        elif frame.key is None:
            if not self._clear_member(frame):
                self._member(frame, char)
        else:
            self._member_value(frame, char)

    def goes_on(self, at: int) -> bool:
        """Whether more members follow an object that was closed too early."""
        return _MORE_MEMBERS.match(self.text, at) is not None

    # Brackets

    def _open(self, bracket: str, *, into: Any = None, implicit: bool = False) -> None:
        if len(self._frames) >= DEPTH_LIMIT:
            raise Unreadable(TOO_DEEP)
        found: Any = into if into is not None else {} if bracket == "{" else []
        kind: Bracket = "{" if bracket == "{" else "[" if bracket == "[" else "("
        self._frames.append(Frame(kind, found, CLOSING[kind]))
        if not implicit:
            self._at += 1

    def _call(self, at: int) -> bool:
        """Open the object that a call writes; whether there is one."""
        call = _CALL.match(self.text, at)
        if call is None:
            return False
        self._texts.repair("call instead of object")
        self._open("{", implicit=True)
        frame = self._frames[-1]
        frame.is_call, frame.equals, frame.closing = True, True, ")"
        self._at = call.end()
        return True

    def _close(self, frame: Frame, *, broken: bool = False, cut: bool = False) -> None:
        self._frames.pop()
        value: Raw = frame.found
        if cut:
            value = OpenDict(value) if frame.kind == "{" else OpenList(value)
        elif frame.kind == "(" and value and not frame.commas:
            value = self._in_parentheses(value)
        if self._frames:
            if not broken or value != {} or self._frames[-1].kind == "{":  # else an object that hardly began
                self._deliver(self._frames[-1], value)
        else:
            self._root = value
            more = _MORE_MEMBERS.match(self.text, self._at) if frame.kind == "{" and not cut else None
            if more is not None:
                self._texts.repair("object closed too early")
                self._at = more.end() - 1
                self._open("{", into=value)

    def _in_parentheses(self, values: list[Raw]) -> Raw:
        """What parentheses without commas hold: one value, or texts that Python joins."""
        if len(values) == 1:
            return values[0]
        is_text = all(isinstance(value, str) and not isinstance(value, Bare) for value in values)
        return "".join(values) if is_text else values

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

    def _member(self, frame: Frame, char: str) -> None:
        if char == frame.closing:
            self._at += 1
            self._close(frame)
        elif char in ",;":
            self._at = self._ahead.commas(self._at)
        elif char in "}])":
            self._wrong_closing(frame, char)
        elif char in "[{(:":
            self._bracket_for_key(frame, char)
        elif char in QUOTES:
            self._at = self._keys.quoted(frame, self._at)
        else:
            self._at = self._keys.unquoted(frame, self._at)

    def _clear_member(self, frame: Frame) -> bool:
        """Take a member that reading piece by piece would read the same; whether there is one."""
        found = None if frame.equals else self._keys.member(self._at)
        if found is None:
            return False
        frame.key, value, self._at = found
        self._deliver(frame, value)
        return True

    def _wrong_closing(self, frame: Frame, char: str) -> None:
        """A bracket that closes something further out closes this too; one that closes nothing is skipped."""
        self._texts.repair("wrong bracket")
        if self._texts.has(char):
            self._close(frame, broken=True)
        else:
            self._at += 1

    def _bracket_for_key(self, frame: Frame, char: str) -> None:
        self._texts.repair("wrong bracket")
        self._texts.doubt()
        if char == "[" and frame.last is not None and is_list(frame.found[frame.last]):
            frame.key = frame.last
            self._open("[", into=frame.found[frame.last])
        elif char == "{" and not frame.found:
            self._open("{", into=frame.found)  # doubled braces, as templates write them
        else:
            self._at += 1

    def _member_value(self, frame: Frame, char: str) -> None:
        if char in ",}" or (char in "])" and self._texts.has(char)):
            self._texts.repair("missing value")
            frame.key = None
        else:
            self._value(frame, char)

    # Lists

    def _item(self, frame: Frame, char: str) -> None:
        if char == frame.closing:
            self._at += 1
            self._close(frame)
        elif char in "])":
            self._texts.repair("wrong bracket")
            if self._texts.has(char):
                self._close(frame)
            else:
                self._at += 1
        elif char == "}":
            self._brace_in_list(frame)
        elif char in ",;":
            frame.commas += 1
            self._at = self._ahead.commas(self._at)
        elif char == ":" and frame.found and isinstance(frame.found[-1], str):
            self._texts.repair("missing bracket")
            key = str(frame.found.pop())
            self._open("{", implicit=True)
            self._frames[-1].key = key
            self._at += 1
        else:
            self._value(frame, char)

    def _brace_in_list(self, frame: Frame) -> None:
        self._texts.repair("wrong bracket")
        if not self._texts.has("}"):
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
        if char.isalpha() and self._call(self._at):
            return None
        if frame.kind == "[" and char.isdigit() and self._thousands(frame):
            return None
        text, self._at = self._texts.text_at(frame, self._at)
        if isinstance(text, Bare) and (text in _EMPTY or not text or (text == "/" and isinstance(text, CutBare))):
            frame.key = None
            return None
        if isinstance(text, Bare) and frame.kind != "{" and _NUMBERS.fullmatch(text):
            self._texts.repair("missing comma")
            kind = CutBare if isinstance(text, CutBare) else Bare
            *others, last = text.split()
            frame.found += [*map(Bare, others), kind(last)]
            return None
        if not isinstance(text, Bare):
            text = self._joined(frame, text)
        return self._deliver(frame, text)

    def _joined(self, frame: Frame, text: str) -> str:
        """The text with those that a `+` joins to it."""
        while (begin := self._texts.plus(self._at)) is not None:
            self._texts.repair("joined texts")
            more, self._at = self._texts.text_at(frame, begin)
            text += more
        return text

    def _thousands(self, frame: Frame) -> bool:
        """Take a number with commas in a list whose own commas have spaces behind them, or that has zeros in front."""
        found = _THOUSANDS.match(self.text, self._at)
        if found is None:
            return False
        is_spaced = self.text[found.end()] == "," or self.text[self._at - 1].isspace()
        if not (is_spaced and (frame.commas or self.text[found.end()] == ",")) and ",0" not in found.group():
            return False
        self._deliver(frame, Bare(found.group()))
        self._at = found.end()
        return True


def calls(text: str) -> Iterator[int]:
    """Where calls with named arguments begin, such as `Person(name="Ann")`."""
    for found in _ARGUMENTS.finditer(text):
        called = _CALLED.search(text, max(found.start() - 82, 0), found.start())
        if called is not None:
            yield called.start()
