"""Read the keys of objects that should have been JSON: in any quotes or none, with a colon, `=` or nothing behind."""

from __future__ import annotations

import re

from declm.formats.parsing.ahead import AHEAD
from declm.formats.parsing.nodes import Bare
from declm.formats.parsing.quoting import QUOTES, UNTIL, unescape
from declm.formats.parsing.texts import Frame, Texts, end_of

_NEXT = (
    r"(?=\s{0,40}(?:,\s{0,40}(?:\"[^\"\\\n]{0,80}\"|'[^'\\\n]{0,80}'|[A-Za-z_]\w{0,80})\s{0,8}:(?![/\\])"
    r"|\}\s{0,40}(?:[,\]}]|\Z)|\n`{3,}\s{0,40}\Z))"
)
_MEMBER = re.compile(
    r"(?:\"([^\"'“”`\\\n:]{1,120})\"|'([^\"'“”`\\\n:]{1,120})'|([A-Za-z_]\w{0,80}))\s{0,40}:(?![/\\])\s{0,40}"
    rf"(?:\"([^\"\\\n]*)\"|'([^'\"\\\n]*)'|([\w.+-]+(?: [\w.+-]+){{0,20}})){_NEXT}"
)
"""A whole member about which there is no doubt, up to the comma or brace that ends it."""

_LONG_KEY = re.compile(r"[^\s\"'`{}\[\](),:=][^\n\"'`{}\[\],:=]{0,120}?[ \t]{0,40}(?::|=>?)")
_OPEN_KEY = re.compile(r"([^\W\d][\w .-]{0,80})[\"'”]\s{0,40}:")
_HALF_KEY = re.compile(r"([\"'“])([^\"'“”:,{}\[\]\n]{1,120}):")
_LITERAL = re.compile(r"[-+]?\.?\d|(?:true|false|null|none)\b", re.IGNORECASE)


class Keys:
    """Reads keys at given places; `texts` counts what has to be mended."""

    def __init__(self, texts: Texts) -> None:
        self._texts, self._ahead, self._text = texts, texts.ahead, texts.text

    def member(self, start: int) -> tuple[str, str, int] | None:
        """Key, value and end of a member that reading piece by piece would read the same; None if there is none."""
        found = _MEMBER.match(self._text, start)
        if found is None:
            return None
        if found[3] is not None:
            self._texts.repair("missing quote")
        key: str = found[1] or found[2] or found[3]
        if found[6] is not None:
            return key, Bare(found[6]), found.end()
        if found[5] is not None:
            self._texts.repair("other quotes")
        value: str = found[4] if found[5] is None else found[5]
        return key, value, found.end()

    def quoted(self, frame: Frame, start: int) -> int:
        """Read a key in quotes at `start`; the place behind it."""
        text, mark = self._text, self._text[start]
        whole = self._ahead.quoted_key(start)
        if whole is not None:
            return self._take(frame, _unquoted(whole.group().rstrip(":=> \t\r\n")), whole)
        half = _HALF_KEY.match(text, start)
        if half is not None:
            self._texts.repair("missing quote")
            return self._take(frame, half.group(2).strip(), half)
        key, end = self._key_with_quotes(start, mark)
        behind = self._ahead.skip(end)
        char = text[behind : behind + 1]
        if char == ":":
            frame.key = key
            return behind + 1
        if char in ",}" and char and not frame.found and frame.last is None:
            self._turn_into_list(frame)
            return start
        if char and (char in QUOTES or char in "[{" or (behind > end and _LITERAL.match(text, behind))):
            self._texts.repair("missing colon")
            frame.key = key
            return behind
        self._texts.repair("key without value")
        return max(end, start + 1)

    def _key_with_quotes(self, start: int, mark: str) -> tuple[str, int]:
        """A key whose own quotes are not escaped ends at the quote that a colon follows."""
        text, end_of_look = self._text, min(len(self._text), start + AHEAD)
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

    def unquoted(self, frame: Frame, start: int) -> int:
        """Read a key without quotes at `start`; the place behind it."""
        text = self._text
        found = self._ahead.bare_key(start) or _LONG_KEY.match(text, start)
        if found is not None:
            if not frame.is_call:
                self._texts.repair("missing quote")
            return self._take(frame, found.group().rstrip(":=>").strip(), found)
        if found := _OPEN_KEY.match(text, start):
            self._texts.repair("missing quote")
            return self._take(frame, found.group(1), found)
        words = self._ahead.words(start)
        end = max(words, start + 1)
        if words > start and not frame.found and frame.last is None and text[end : end + 1] in (",", "}"):
            self._turn_into_list(frame)
            return start
        self._texts.repair("stray text")
        return end

    def _take(self, frame: Frame, key: str, found: re.Match[str]) -> int:
        frame.equals = found.group()[-1] in "=>"
        frame.key = key
        return found.end()

    def _turn_into_list(self, frame: Frame) -> None:
        """`{1, 2}`: a set, as Python writes it."""
        self._texts.repair("set instead of list")
        frame.kind, frame.found, frame.is_set, frame.closing = "[", [], True, "}"


def _unquoted(key: str) -> str:
    """A key without its quotes, which may be doubled."""
    is_doubled = key.startswith('""') and key.endswith('""') and len(key) > 4
    inner = key[2:-2] if is_doubled else key[1:-1]
    return unescape(inner.strip("\r\n") or inner)
