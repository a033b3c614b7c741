"""Where a text inside of broken JSON ends, in quotes or without.

A quote closes its text if what stands behind looks like the rest of an object or list, given the
brackets that are open. Quotations inside are told by the spaces around their quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from declm.formats.parsing.ahead import Ahead
from declm.formats.parsing.nodes import Bare, Cut, CutBare, Unreadable
from declm.formats.parsing.quoting import BLOCKS, QUOTES, UNTIL, block_text, unescape, without_closing_fence

Bracket = Literal["{", "[", "("]

CLOSING: dict[str, str] = {"{": "}", "[": "]", "(": ")"}
OPENING = {closing: opening for opening, closing in CLOSING.items()}

_DOUBTS = 10_000
"""Quotes and stops in unquoted text that are decided on, in one reply, before it counts as unreadable."""

_PASSES = 6
"""How often texts that are not closed may be read again, in lengths of the reply."""

_GARBAGE = re.compile(r"[^\"{}\[\],:\n]{0,200}")
_CLOSED = re.compile(r"\s{0,200}(?:[,}\])`]|\Z)")
_VALUE_START = re.compile(r"[\"'`“\[{(\]}\d+-]|\.\d|(?:true|false|null|none|nan)\b|\.\.\.|\Z", re.IGNORECASE)
_BARE_STOP = re.compile(r"[{}\[\](),\n\"'`“]|\s(?://|#|/\*)")
_ENDING_FENCE = re.compile(r"`{2,}\s*\Z")
_FORGOTTEN = re.compile(r"[,\n]\s*\Z")


@dataclass(slots=True)
class Frame:
    """An object or list that is open."""

    kind: Bracket
    found: Any
    key: str | None = None
    last: str | None = None
    commas: int = 0
    is_set: bool = False
    """A list in braces."""


@dataclass(slots=True)
class Texts:
    """Reads texts at given places; `frames` are the brackets that are open, innermost last."""

    ahead: Ahead
    frames: list[Frame]
    repairs: list[str] = field(default_factory=list[str])
    _reread: int = 0
    _doubts: int = 0

    @property
    def text(self) -> str:
        """All of the reply."""
        return self.ahead.text

    def has(self, kind: str) -> bool:
        """Whether a bracket of that kind is open."""
        return any(frame.kind == kind for frame in self.frames)

    def repair(self, kind: str) -> None:
        """Note what had to be mended."""
        if kind not in self.repairs:
            self.repairs.append(kind)

    def text_at(self, frame: Frame, at: int) -> tuple[str, int]:
        """The text that begins at `at`, quoted or bare, and the place behind it."""
        for mark in BLOCKS:
            if self.text.startswith(mark, at) and (end := self._block_end(at, mark)) is not None:
                if mark[0] != '"':
                    self.repair("other quotes")
                return block_text(mark, self.text[at + 3 : end]), end + 3
        return self._quoted(frame, at) if self.text[at] in QUOTES else self._bare(frame, at)

    def _block_end(self, at: int, mark: str) -> int | None:
        """Where the block of text that begins at `at` ends; None where the marks mean something else."""
        end = self.text.find(mark, at + 3)
        if end < 0:
            return None
        behind = self.ahead.skip(end + 3)
        return end if self.text[behind : behind + 1] in ("", ",", "}", "]", ")") or self.ahead.key_at(behind) else None

    def _quoted(self, frame: Frame, begin: int) -> tuple[str, int]:
        text, mark = self.text, self.text[begin]
        start = begin + 1
        doubled = text[start : start + 1] == mark and text[start + 1 : start + 2] not in ("", *",}]):;\n\t\r \"'")
        start += doubled
        if mark not in '"“' or doubled:
            self.repair("other quotes")
        at, inner = start, False
        while (quote := end_of(UNTIL[mark], text, at)) < len(text) and text[quote] != "\\":
            self._doubt()
            before = self._forgotten_quote(frame, start, quote)
            if before is not None:
                self.repair("missing quote")
                return unescape(text[start:before].rstrip()), before
            if self._closes(frame, quote + 1, inner=inner):
                return unescape(text[start:quote]), quote + 1
            if not inner and text[quote + 1 : quote + 2] == mark and self._closes(frame, quote + 2, inner=False):
                return unescape(text[start:quote]), quote + 2  # closed twice
            self.repair("unescaped quote")
            inner = self._opens_inside(start, quote)
            at = quote + 1
        return self._unclosed(frame, start)

    def _opens_inside(self, start: int, quote: int) -> bool:
        """Whether a quote inside a text begins a quotation, by the spaces around it."""
        before, behind = self.text[quote - 1 : quote], self.text[quote + 1 : quote + 2]
        return (quote == start or before.isspace() or before in "([{<=:,-—") and bool(behind) and not behind.isspace()

    def _closes(self, frame: Frame, after: int, *, inner: bool) -> bool:
        """Whether a quote that ends at `after` closes its text; `inner`: a quotation inside is open."""
        at = self.ahead.look(after)
        char = self.text[at : at + 1]
        if not char:
            return True
        if frame.kind == "{":
            return self._closes_member(after, at, char, inner=inner)
        return self._closes_item(after, at, char, inner=inner)

    def _closes_member(self, after: int, at: int, char: str, *, inner: bool) -> bool:
        if char in "}]":
            return self._closes_bracket(char, at)
        if char in ",;":
            return self.ahead.key_follows(at + 1)
        if self.text.startswith("```", at) and _ENDING_FENCE.match(self.text, at):
            return True
        if (char in QUOTES or at > after) and self.ahead.key_at(at, line="\n" in self.text[after:at]):
            return True
        if inner or not self.text[after : after + 1].isspace():
            return False
        garbage = _GARBAGE.match(self.text, at)
        end = garbage.end() if garbage else at
        return self.text[end : end + 1] in ("}", "]") or (
            end > at and self.text[end : end + 1] == '"' and self.ahead.key_at(end)
        )

    def _closes_item(self, after: int, at: int, char: str, *, inner: bool) -> bool:
        if char in "])":
            return char == "]" or self.has("(")
        if char == "}":
            return self._closes_bracket(char, at)
        if char == ":" or self.text.startswith("```", at):
            return True
        if inner:
            return False
        if char == ",":
            return bool(_VALUE_START.match(self.text, self.ahead.look(at + 1)))
        if char in QUOTES:
            return at > after
        return self.text[after : after + 1].isspace()

    def _closes_bracket(self, char: str, at: int) -> bool:
        """Whether the bracket at `at` closes one that is open: the outermost, or one behind which the rest goes on."""
        open_ones = [frame for frame in self.frames if frame.kind == OPENING[char] or (char == "}" and frame.is_set)]
        if not open_ones:
            return False
        behind = self.ahead.look(at + 1)
        return open_ones[-1] is self.frames[0] or bool(_CLOSED.match(self.text, behind)) or self.ahead.key_at(behind)

    def _forgotten_quote(self, frame: Frame, start: int, quote: int) -> int | None:
        """Where a text ends whose closing quote is missing, if the quote here begins the next key."""
        if frame.kind != "{":
            return None
        window = self.text[max(start, quote - 80) : quote]
        if (gap := _FORGOTTEN.search(window)) and self.ahead.quoted_key(quote):
            return quote - len(window) + gap.start()
        names = self.ahead.known_key()
        if names is not None and (known := names.search(window)) and not window[known.end() :].strip():
            return quote - len(window) + known.start()
        return None

    def _unclosed(self, frame: Frame, start: int) -> tuple[str, int]:
        """A text that is never closed ends at a key of the type's, or at the brackets that end the reply."""
        self.repair("missing quote")
        rest = len(self.text) - start
        self._reread += rest
        known = self.ahead.known_key() if frame.kind == "{" else None
        if known is not None and self._reread < _PASSES * len(self.text) + 1000:
            hit = known.search(self.text, start)
            if hit is not None:
                return unescape(self.text[start : hit.start()].rstrip()), hit.start()
        text = self.text[start:]
        body = without_closing_fence(text)
        closed = self._without_closing(body)
        if closed is not None or body is not text:
            return unescape((closed if closed is not None else body).rstrip()), len(self.text)
        return Cut(unescape(_whole_escapes(text))), len(self.text)

    def _without_closing(self, text: str) -> str | None:
        """The text without the brackets at its end, if they close everything that is open."""
        rest = text.rstrip()
        for frame in self.frames:
            if not rest.endswith(CLOSING[frame.kind]):
                return None
            rest = rest[:-1].rstrip()
        return rest

    def _bare(self, frame: Frame, start: int) -> tuple[Bare, int]:
        text = self.text
        end, closed = self._bare_end(frame, start, nested=True)
        if end == len(text) and not closed and self._reread < _PASSES * len(text):
            self._reread += end - start
            end, closed = self._bare_end(frame, start, nested=False)
        words = text[start:end].strip()
        behind = max(end, start + 1)
        if end >= len(text):
            unfenced = without_closing_fence(words)
            return (CutBare(words) if unfenced is words else Bare(unfenced.rstrip())), behind
        if words[-1:] in ('"', "”", "'") and words.count(words[-1]) == 1:
            self.repair("missing quote")
            words = words[:-1].rstrip()
        return Bare(words), behind

    def _bare_end(self, frame: Frame, start: int, *, nested: bool) -> tuple[int, bool]:
        """Where unquoted text ends, and whether all brackets inside are closed there."""
        depth = 0
        for stop in _BARE_STOP.finditer(self.text, start):
            at, char = stop.start(), stop.group()
            self._doubt()
            if char in CLOSING:
                depth += nested
            elif char in OPENING:
                if depth:
                    depth -= 1
                elif self.has(OPENING[char]) or char == "}":
                    return at, True
            elif not depth and (self._ends_bare(frame, at, char) if at > start else char == ","):
                return at, True
        return len(self.text), depth == 0

    def _ends_bare(self, frame: Frame, at: int, char: str) -> bool:
        if char == ",":
            return frame.kind != "{" or self.ahead.key_follows(at + 1)
        if char == "\n":
            behind = self.ahead.look(at)
            return (
                frame.kind != "{" or self.text[behind : behind + 1] in ("}", "") or self.ahead.key_at(behind, line=True)
            )
        if char in QUOTES:
            if frame.kind == "{":
                return self.ahead.key_at(at)
            return self.text[at - 1].isspace()
        return True  # a comment

    def _doubt(self) -> None:
        self._doubts += 1
        if self._doubts > _DOUBTS:
            raise Unreadable("broken in too many places")


def end_of(pattern: re.Pattern[str], text: str, at: int, stop: int | None = None) -> int:
    """Where the match of a pattern that matches everywhere ends."""
    found = pattern.match(text, at, len(text) if stop is None else stop)
    return found.end() if found else at


def _whole_escapes(text: str) -> str:
    """The text without a half escape at its end."""
    slashes = len(text) - len(text.rstrip("\\"))
    if slashes % 2:
        return text[:-1]
    half = re.search(r"\\u[0-9a-fA-F]{0,3}\Z", text)
    return text[: half.start()] if half else text
