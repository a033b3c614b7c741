"""Where a text inside of broken JSON ends, in quotes or without.

A quote closes its text if what stands behind looks like the rest of an object or list, given the
brackets that are open. Quotations inside are told by the spaces around their quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from declm.formats.parsing.ahead import Ahead
from declm.formats.parsing.nodes import DEPTH_LIMIT, Bare, Cut, CutBare, Unreadable
from declm.formats.parsing.quoting import BLOCKS, QUOTES, UNTIL, block_text, unescape, without_closing_fence

Bracket = Literal["{", "[", "("]

CLOSING: dict[str, str] = {"{": "}", "[": "]", "(": ")"}
OPENING = {closing: opening for opening, closing in CLOSING.items()}

_DOUBTS = 5_000
"""Quotes and stops in unquoted text that are decided on, in one reply, before it counts as unreadable."""

_PASSES = 2
"""How often texts that are not closed may be read again, in lengths of the reply."""

_FREE = 50_000
"""Characters that may be read again whatever the length of the reply."""

_MEMBER = re.compile(r'"([^"\\\n]*)"(?=\s{0,40}(?:,\s{0,40}"[^"\\\n]{0,80}"\s{0,8}:|\}\s{0,40}(?:[,\]}]|\Z)))')
_ITEM = re.compile(r'"([^"\\\n]*)"(?=\s{0,40}(?:,\s{0,40}["\]]|\])|\s{1,40}")')
_WORD_MEMBER = re.compile(r'[\w.+-]+(?=\s{0,40}(?:,\s{0,40}"[^"\\\n]{0,80}"\s{0,8}:|\}))')
"""What is as it should be: texts and words with what must stand behind them in an object or list."""

_WORD = re.compile(r"[\w.+-]+")
_GARBAGE = re.compile(r"[^\"{}\[\],:\n]{0,200}")
_CLOSED = re.compile(r"\s{0,200}(?:[,}\])`]|\{\s{0,40}[\"'\w]|\Z)")
_CODE_GOES_ON = re.compile(r"\)[^\"]{0,200}\"\s{0,40}[,}\]]")
_VALUE_START = re.compile(r"[,\"'`“\[{(\]}\d+-]|\.\d|(?:true|false|null|none|nan)\b|\.\.\.|\w*\Z", re.IGNORECASE)
_BARE_STOP = re.compile(r"[{}\[\](),;\n\"'`“]|\s(?://|#|/\*)")
_FORGOTTEN = re.compile(r"[,\n]\s*\Z")
_ELLIPSIS = re.compile(r"\s{0,40}(?:\.\.\.|…)\s{0,40}[,}\]]")
_PLUS = re.compile(r"\+\s{0,40}[\"'`]|[+/]\s{0,40}\Z")
_JSON_INSIDE = re.compile(r"[{\[]\s{0,40}[\"'{\[]")
_BRACKETS = re.compile(r"[{}\[\]]")
_TAG = re.compile(r"[\w+#.-]*[ \t]*")
_PREFIX = re.compile(r"[rRbBuUfF]{1,2}(?=[\"'])")
_HALF_ESCAPES = (
    re.compile(r"(\\+)\Z"),
    re.compile(r"(\\+)(?:u[0-9a-fA-F]{0,3}|x[0-9a-fA-F]?)\Z"),
    re.compile(r"(\\+)u[dD][89abAB][0-9a-fA-F]{2}\Z"),
)
"""An escape that is not complete, and the first half of a pair."""


@dataclass(slots=True)
class Frame:
    """An object or list that is open.

    Attributes:
        closing: the bracket that closes it.
        is_set: a list in braces.
        is_call: an object in parentheses, as `Person(name="Ann")`.
        equals: its keys are followed by `=`.
    """

    kind: Bracket
    found: Any
    closing: str
    key: str | None = None
    last: str | None = None
    commas: int = 0
    is_set: bool = False
    is_call: bool = False
    equals: bool = False


class Texts:
    """Reads texts at given places; `frames` are the brackets that are open, innermost last."""

    def __init__(self, ahead: Ahead, frames: list[Frame]) -> None:
        self.ahead, self.frames, self.text = ahead, frames, ahead.text
        self.repairs: list[str] = []
        self._reread = 0
        self._doubts = 0

    def has(self, closing: str) -> bool:
        """Whether a bracket is open that such a one closes."""
        return any(frame.closing == closing for frame in reversed(self.frames))

    def repair(self, kind: str) -> None:
        """Note what had to be mended."""
        if kind not in self.repairs:
            self.repairs.append(kind)

    def text_at(self, frame: Frame, at: int) -> tuple[str, int]:
        """The text that begins at `at`, quoted or bare, and the place behind it."""
        text, char = self.text, self.text[at]
        if char == '"':
            right = (_MEMBER if frame.kind == "{" else _ITEM).match(text, at)
            if right is not None and not (frame.is_set or frame.is_call):
                return right.group(1), right.end()
        if char not in QUOTES:
            word = _WORD_MEMBER.match(text, at) if frame.kind == "{" else None
            return self._bare(frame, at) if word is None else (Bare(word.group()), word.end())
        mark = text[at : at + 3]
        return self._block(frame, at, mark) if mark in BLOCKS else self._quoted(frame, at)

    def plus(self, at: int) -> int | None:
        """Where a text begins that a `+` at `at` joins to the one before; None if there is no such sign."""
        at = self.ahead.look(at)
        found = _PLUS.match(self.text, at)
        return None if found is None or found.end() == len(self.text) else found.end() - 1

    # Blocks

    def _block(self, frame: Frame, at: int, mark: str) -> tuple[str, int]:
        """The text between marks of three characters; one that is not closed may end as other texts do."""
        end = self._block_end(at, mark)
        if end is not None:
            if mark[0] != '"':
                self.repair("other quotes")
            return block_text(mark, self.text[at + 3 : end]), end + 3
        if self.text[at + 3 : at + 4] in ("", *" ,:}]") and mark[0] != "`":
            return self._quoted(frame, at)  # an empty text and a stray quote
        found, behind = self._quoted(frame, at + 2)
        inner = block_text(mark, found) if mark[0] != "`" or not _TAG.fullmatch(found) else ""
        return (Cut(inner) if isinstance(found, Cut) else inner), behind

    def _block_end(self, at: int, mark: str) -> int | None:
        """Where the block of text that begins at `at` ends; None where the marks mean something else."""
        text, end = self.text, self.text.find(mark, at + 3)
        while end >= 0:
            while text[end + 3 : end + 4] == mark[0]:
                end += 1  # the last three of more marks
            behind = self.ahead.look(end + 3)
            if text[behind : behind + 1] in ("", ",", "}", "]", ")") or self.ahead.key_at(behind):
                return end
            self.doubt()
            end = text.find(mark, end + 3)
        self._reread += len(text) - at
        if self._is_spent():
            raise Unreadable("broken in too many places")
        return None

    # Quoted texts

    def _quoted(self, frame: Frame, begin: int) -> tuple[str, int]:
        text, mark = self.text, self.text[begin]
        start = begin + 1
        doubled = text[start : start + 1] == mark and text[start + 1 : start + 2] not in ("", *",}]):;\n\t\r \"'")
        start += doubled
        if mark not in '"“' or doubled:
            self.repair("other quotes")
        inside = self._json_inside(frame, start, mark)
        if inside is not None:
            return text[start:inside], inside + 1
        at, inner = start, False
        while (quote := end_of(UNTIL[mark], text, at)) < len(text) and text[quote] != "\\":
            self.doubt()
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

    def _json_inside(self, frame: Frame, start: int, mark: str) -> int | None:
        """Where JSON ends that is a text although its quotes are not escaped; None if there is none."""
        text = self.text
        if not _JSON_INSIDE.match(text, start) or self._is_spent():
            return None
        depth, end = 0, len(text)
        for bracket in _BRACKETS.finditer(text, start):
            depth += 1 if bracket.group() in "{[" else -1
            if not 0 < depth < DEPTH_LIMIT:
                end = bracket.end()
                break
        self._reread += end - start
        is_text = text[end : end + 1] == mark and mark in text[start:end] and "\\" + mark not in text[start:end]
        if not is_text or not self._closes(frame, end + 1, inner=False):
            return None
        self.repair("unescaped quote")
        return end

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
        if char in "+/" and not inner and _PLUS.match(self.text, at):
            return True
        if frame.kind == "{":
            return self._closes_member(frame, after, at, char, inner=inner)
        return self._closes_item(after, at, char, inner=inner)

    def _closes_member(self, frame: Frame, after: int, at: int, char: str, *, inner: bool) -> bool:
        if char in "}]" or (char == ")" and frame.is_call):
            return self._closes_bracket(char, at)
        if char in ",;":
            return self.ahead.key_follows(at + 1, equals=frame.equals)
        if self.ahead.ends_at(at):
            return True
        is_line = "\n" in self.text[after:at]
        if (char in QUOTES or at > after) and self.ahead.key_at(at, line=is_line, equals=frame.equals):
            return True
        if _ELLIPSIS.match(self.text, after):
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
            return char == "]" or self.has(")")
        if char == "}":
            return self._closes_bracket(char, at)
        if char == ":" or (char == "`" and self.text.startswith("```", at)):
            return True
        if inner:
            return False
        if char in ",;":
            return bool(_VALUE_START.match(self.text, self.ahead.look(at + 1)))
        if char in QUOTES:
            return at > after
        return self.text[after : after + 1].isspace()

    def _closes_bracket(self, char: str, at: int) -> bool:
        """Whether the bracket at `at` closes one that is open: the outermost, or one behind which the rest goes on."""
        nearest = next((frame for frame in reversed(self.frames) if frame.closing == char), None)
        if nearest is None:
            return False
        behind = self.ahead.look(at + 1)
        if nearest is self.frames[0]:
            return _CODE_GOES_ON.match(self.text, behind) is None
        return bool(_CLOSED.match(self.text, behind)) or self.ahead.key_at(behind)

    def _forgotten_quote(self, frame: Frame, start: int, quote: int) -> int | None:
        """Where a text ends whose closing quote is missing, if the quote here begins the next key."""
        if frame.kind != "{" or self.text[quote - 1] not in " \t\r\n,:":
            return None
        window = self.text[max(start, quote - 80) : quote]
        if (gap := _FORGOTTEN.search(window)) and self.ahead.quoted_key(quote):
            return quote - len(window) + gap.start()
        names = self.ahead.known_key()
        if names is not None and (known := names.search(window)) and not window[known.end() :].strip():
            before = window[: known.start()].rstrip().removesuffix(",")
            return quote - len(window) + len(before)
        return None

    def _unclosed(self, frame: Frame, start: int) -> tuple[str, int]:
        """A text that is never closed ends at a key of the type's, or at the brackets that end the reply."""
        self.repair("missing quote")
        rest = len(self.text) - start
        self._reread += rest
        known = self.ahead.known_key() if frame.kind == "{" else None
        if known is not None and not self._is_spent():
            hit = known.search(self.text, start)
            if hit is not None:
                return unescape(self.text[start : hit.start()].rstrip().removesuffix(",")), hit.start()
        text = self.text[start:]
        body = without_closing_fence(text)
        closed = self._without_closing(body)
        if closed is not None or body is not text:
            return unescape((closed if closed is not None else body).rstrip()), len(self.text)
        return Cut(unescape(whole_escapes(text))), len(self.text)

    def _without_closing(self, text: str) -> str | None:
        """The text without the brackets at its end, if they close everything that is open."""
        rest = text.rstrip()
        for frame in self.frames:
            if not rest.endswith(frame.closing):
                return None
            rest = rest[:-1].rstrip()
        return rest

    # Unquoted texts

    def _bare(self, frame: Frame, start: int) -> tuple[str, int]:
        text = self.text
        if (prefix := _PREFIX.match(text, start)) is not None:
            return self._prefixed(frame, prefix)
        end, closed = self._bare_end(frame, start, nested=True)
        if end == len(text) and not closed and not self._is_spent():
            self._reread += end - start
            end, closed = self._bare_end(frame, start, nested=False)
        words = text[start:end].strip()
        behind = max(end, start + 1)
        if end >= len(text) and not (text[-1].isspace() and _WORD.fullmatch(words)):
            unfenced = without_closing_fence(words)
            return (CutBare(words) if unfenced is words else Bare(unfenced.rstrip())), behind
        if words[-1:] in ('"', "”", "'") and words.count(words[-1]) == 1:
            self.repair("missing quote")
            words = words[:-1].rstrip()
        return Bare(words), behind

    def _prefixed(self, frame: Frame, prefix: re.Match[str]) -> tuple[str, int]:
        """A text of Python's with a letter before its quotes; behind `r` a backslash is one."""
        self.repair("other quotes")
        begin = prefix.end()
        found, behind = self.text_at(frame, begin)
        is_raw = "r" in prefix.group().lower()
        return (self.text[begin + 1 : behind - 1] if is_raw and "\\" in self.text[begin:behind] else found), behind

    def _bare_end(self, frame: Frame, start: int, *, nested: bool) -> tuple[int, bool]:
        """Where unquoted text ends, and whether all brackets inside are closed there."""
        depth = 0
        for stop in _BARE_STOP.finditer(self.text, start):
            at, char = stop.start(), stop.group()
            self.doubt()
            if char in CLOSING:
                depth += nested
            elif char in OPENING:
                if depth:
                    depth -= 1
                elif self.has(char) or char == "}":
                    return at, True
            elif not depth and (self._ends_bare(frame, at, char) if at > start else char in ",;"):
                return at, True
        return len(self.text), depth == 0

    def _ends_bare(self, frame: Frame, at: int, char: str) -> bool:
        if char in ",;":
            return frame.kind != "{" or self.ahead.key_follows(at + 1, equals=frame.equals)
        if char == "\n":
            behind = self.ahead.look(at)
            return (
                frame.kind != "{"
                or self.text[behind : behind + 1] in ("}", "")
                or self.ahead.key_at(behind, line=True, equals=frame.equals)
            )
        if char in QUOTES:
            if frame.kind == "{":
                return self.ahead.key_at(at)
            return self.text[at - 1].isspace()
        return True  # a comment

    def _is_spent(self) -> bool:
        """Whether nothing may be read again."""
        return self._reread > _PASSES * len(self.text) + _FREE

    def doubt(self) -> None:
        """Count a place where the reply is broken, or may be.

        Raises:
            Unreadable: there are too many of them.
        """
        self._doubts += 1
        if self._doubts > _DOUBTS:
            raise Unreadable("broken in too many places")


def end_of(pattern: re.Pattern[str], text: str, at: int, stop: int | None = None) -> int:
    """Where the match of a pattern that matches everywhere ends."""
    found = pattern.match(text, at, len(text) if stop is None else stop)
    return found.end() if found else at


def whole_escapes(text: str) -> str:
    """The text without a half escape at its end."""
    for half in _HALF_ESCAPES:
        found = half.search(text, max(len(text) - 6, 0))
        if found is not None and (found.end(1) - len(text[: found.end(1)].rstrip("\\"))) % 2:
            text = text[: found.end(1) - 1]
    return text
