"""Look ahead in text that should have been JSON: what stands behind a quote, a comma, a line break."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cached_property, lru_cache

from declm.formats.parsing.quoting import QUOTES

AHEAD = 400
"""Characters that a look ahead may go over, so that many looks stay linear."""

_SPACE = re.compile(r"[\s\ufeff]*")
_COMMENT = re.compile(r"//|/\*|#")
_LINE_END = re.compile(r"\n")
_COMMENT_END = re.compile(r"[}\]\n]")
_QUOTED = (
    r"(?:\"(?:[^\"\\\n]|\\.){0,120}\"|\"\"(?:[^\"\\\n]|\\.){1,120}\"\"|'(?:[^'\\\n]|\\.){0,120}'|[“”„][^“”\"\n]{0,120}[”“\"]"
    r"|«[^»\n]{0,120}»|`[^`\n]{1,120}`)\s{0,40}"
)
_BARE = r"([^\W\d][\w.$-]{0,80}|\d{1,9})\s{0,40}"
_QUOTED_KEY = re.compile(rf"{_QUOTED}(?::|=>?)")
_BARE_KEY = re.compile(rf"{_BARE}:(?![/\\])")
_BARE_KEY_EQUALS = re.compile(rf"{_BARE}=>?(?!=)")
_CUT_KEY = re.compile(
    r"(?:\"(?:[^\"\\\n]|\\.){0,120}\\?\"?|[\"'“`][^\"'“”`:{}\[\],\n]{0,120}[\"'”`]?|[\w.$-][\w.$ -]{0,80}|/)\s{0,40}\Z"
)
_COMMAS = re.compile(r"[,;\s]*")
_OPEN_KEY = re.compile(r"[^\W\d][\w .-]{0,80}[\"'”]\s{0,40}:")
"""A key whose first quote is missing."""

_NO_KEY = re.compile(r"[^\"'`“„:,{}\[\]()\n]{1,200}")
_NAME = re.compile(r"[^\W\d][\w.$-]*")


class Ahead:
    """Answers questions about what stands at a place of one text; `keys` are the names of fields that are expected.

    `equals`: whether keys are followed by `=` instead of a colon.
    """

    def __init__(self, text: str, keys: Collection[str]) -> None:
        self.text, self.keys = text, frozenset(keys)

    def ends_at(self, at: int) -> bool:
        """Whether nothing but a closing fence begins here."""
        return at in self._closing_fence

    @cached_property
    def _closing_fence(self) -> range:
        """The places from which two or more backticks go on to the end."""
        bare = self.text.rstrip()
        return range(len(bare.rstrip("`")), len(bare) - 1)

    def skip(self, at: int, end: int | None = None) -> int:
        """Behind the space and comments at `at`."""
        text, end = self.text, len(self.text) if end is None else end
        while at < end:
            char = text[at]
            if char == '"' or (char not in "/#" and "$" <= char < "\x7f"):  # what most often stands here
                return at
            if char.isspace() or char == "\ufeff":
                space = _SPACE.match(text, at, end)
                at = space.end() if space else at
                continue
            if char not in "/#" or (comment := _COMMENT.match(text, at, end)) is None:
                return at
            if comment.group() == "/*":
                closing = text.find("*/", at + 2, end)
                at = end if closing < 0 else closing + 2
                continue
            if char == "#" and not text[at + 1 : at + 2].isspace():
                return at  # a colour or a tag
            line = _LINE_END.search(text, at, end)
            stop = line or _COMMENT_END.search(text, at, end)
            at = stop.start() if stop else end
        return at

    def look(self, at: int) -> int:
        """Behind the space and comments at `at`, within the bounds of a look ahead."""
        return self.skip(at, min(len(self.text), at + AHEAD))

    def key_at(self, at: int, *, line: bool = False, equals: bool = False) -> bool:
        """Whether a key with its sign begins here; `line`: where a key is likely, so that bare words count."""
        if self.text[at : at + 1] in QUOTES:
            return _QUOTED_KEY.match(self.text, at) is not None
        bare = self.bare_key(at, equals=equals)
        if bare is not None:
            return line or bare.group(1) in self.keys
        return line and (names := _several_words(self.keys)) is not None and names.match(self.text, at) is not None

    def key_follows(self, at: int, *, equals: bool = False) -> bool:
        """Whether a key, a closing bracket or the end stands behind a comma at `at - 1`."""
        at = self.look(at)
        char = self.text[at : at + 1]
        if char == ",":
            at = self.look(at + 1)  # a comma too many
            char = self.text[at : at + 1]
        if not char or char in "}]":
            return True
        if self.key_at(at, line=True, equals=equals) or _CUT_KEY.match(self.text, at) or _OPEN_KEY.match(self.text, at):
            return True
        return self.key_at(self.words(at), equals=equals)  # stray words before a key

    def key_after_comma(self, at: int) -> bool:
        """Whether a comma and a key stand here."""
        at = self.look(at)
        return self.text[at : at + 1] == "," and self.key_at(self.look(at + 1), line=True)

    def known_key(self) -> re.Pattern[str] | None:
        """A comma or line break, an expected name without quotes, and a colon; None if no names are known."""
        return _known(self.keys) if self.keys else None

    def quoted_key(self, at: int) -> re.Match[str] | None:
        """A key in quotes with its sign."""
        return _QUOTED_KEY.match(self.text, at)

    def bare_key(self, at: int, *, equals: bool = False) -> re.Match[str] | None:
        """A key that is one word without quotes, with its sign."""
        return (_BARE_KEY_EQUALS if equals else _BARE_KEY).match(self.text, at)

    def commas(self, at: int) -> int:
        """Behind the commas and space at `at`."""
        found = _COMMAS.match(self.text, at)
        return found.end() if found else at

    def words(self, at: int) -> int:
        """Behind the words at `at` that are neither quoted nor in brackets."""
        found = _NO_KEY.match(self.text, at)
        return found.end() if found else at


@lru_cache(maxsize=256)
def _known(keys: frozenset[str]) -> re.Pattern[str]:
    return re.compile(rf"[,\n][ \t]{{0,20}}[\"'“]?(?:{_one_of(keys)})[\"'”]?[ \t]{{0,20}}:")


@lru_cache(maxsize=256)
def _several_words(keys: frozenset[str]) -> re.Pattern[str] | None:
    """The expected names that are more than one word, with a colon; None if there are none."""
    names = frozenset(key for key in keys if not _NAME.fullmatch(key))
    return re.compile(rf"(?:{_one_of(names)})\s{{0,20}}:", re.IGNORECASE) if names else None


def _one_of(names: frozenset[str]) -> str:
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
