"""Look ahead in text that should have been JSON: what stands behind a quote, a comma, a line break."""

from __future__ import annotations

import re
from collections.abc import Collection

from declm.formats.parsing.quoting import QUOTES

AHEAD = 400
"""Characters that a look ahead may go over, so that many looks stay linear."""

_SPACE = re.compile(r"[\s\ufeff]*")
_COMMENT = re.compile(r"//|/\*|#")
_LINE_END = re.compile(r"\n")
_COMMENT_END = re.compile(r"[}\]\n]")
_QUOTED_KEY = re.compile(
    r"(?:\"\"?(?:[^\"\\\n]|\\.){0,120}\"\"?|'(?:[^'\\\n]|\\.){0,120}'|[“”„][^“”\"\n]{0,120}[”“\"]|«[^»\n]{0,120}»|`[^`\n]{1,120}`)\s{0,40}(?::|=>?)"
)
_BARE_KEY = re.compile(r"([^\W\d][\w.$-]{0,80}|\d{1,9})\s{0,40}:(?![/\\])")
_CUT_KEY = re.compile(r"[\"'“`][^\"'“”`:{}\[\],\n]{0,120}[\"'”`]?\s{0,40}\Z")
_NO_KEY = re.compile(r"[^\"'`“„:,{}\[\]()\n]{1,200}")


class Ahead:
    """Answers questions about what stands at a place of one text; `keys` are the names of fields that are expected."""

    def __init__(self, text: str, keys: Collection[str]) -> None:
        self.text, self.keys = text, keys
        self._known: re.Pattern[str] | None = None

    def skip(self, at: int, end: int | None = None) -> int:
        """Behind the space and comments at `at`."""
        text, end = self.text, len(self.text) if end is None else end
        while True:
            space = _SPACE.match(text, at, end)
            at = space.end() if space else at
            comment = _COMMENT.match(text, at, end)
            if comment is None:
                return at
            if comment.group() == "/*":
                closing = text.find("*/", at + 2, end)
                at = end if closing < 0 else closing + 2
                continue
            if comment.group() == "#" and not text[at + 1 : at + 2].isspace():
                return at  # a colour or a tag
            line = _LINE_END.search(text, at, end)
            stop = line or _COMMENT_END.search(text, at, end)
            at = stop.start() if stop else end

    def look(self, at: int) -> int:
        """Behind the space and comments at `at`, within the bounds of a look ahead."""
        return self.skip(at, min(len(self.text), at + AHEAD))

    def key_at(self, at: int, *, line: bool = False) -> bool:
        """Whether a key with its colon begins here; `line`: where a key is likely, so that bare words count."""
        if self.text[at : at + 1] in QUOTES:
            return _QUOTED_KEY.match(self.text, at) is not None
        bare = _BARE_KEY.match(self.text, at)
        return bare is not None and (line or bare.group(1) in self.keys)

    def key_follows(self, at: int) -> bool:
        """Whether a key, a closing bracket or the end stands behind a comma at `at - 1`."""
        at = self.look(at)
        char = self.text[at : at + 1]
        if char == ",":
            at = self.look(at + 1)  # a comma too many
            char = self.text[at : at + 1]
        if not char or char in "}]":
            return True
        if self.key_at(at, line=True) or _CUT_KEY.match(self.text, at):
            return True
        return self.key_at(self.words(at))  # stray words before a key

    def key_after_comma(self, at: int) -> bool:
        """Whether a comma and a key stand here."""
        at = self.look(at)
        return self.text[at : at + 1] == "," and self.key_at(self.look(at + 1), line=True)

    def known_key(self) -> re.Pattern[str] | None:
        """A comma or line break, an expected name without quotes, and a colon; None if no names are known."""
        if not self.keys:
            return None
        if self._known is None:
            names = "|".join(re.escape(key) for key in sorted(self.keys, key=len, reverse=True))
            self._known = re.compile(rf"[,\n]\s{{0,20}}[\"'“]?(?:{names})[\"'”]?\s{{0,20}}:")
        return self._known

    def quoted_key(self, at: int) -> re.Match[str] | None:
        """A key in quotes with its colon."""
        return _QUOTED_KEY.match(self.text, at)

    def bare_key(self, at: int) -> re.Match[str] | None:
        """A key that is one word without quotes, with its colon."""
        return _BARE_KEY.match(self.text, at)

    def words(self, at: int) -> int:
        """Behind the words at `at` that are neither quoted nor in brackets."""
        found = _NO_KEY.match(self.text, at)
        return found.end() if found else at
