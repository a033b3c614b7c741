"""Tags of known names in a text: `<key>`, `</key>`, `<key/>`; every other one is text.

A backslash before a tag makes it text as well. Guarding a value puts one there, an echo of the value
carries it along, and reading takes it away again.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

Tag = re.Match[str]


def tags(text: str, names: Collection[str]) -> list[Tag]:
    """The tags of these names that are not guarded, in order; letter case and inner blanks don't count."""
    return [tag for tag in _tags(tuple(names)).finditer(text) if text[tag.start() - 1 : tag.start()] != "\\"]


def is_closing(tag: Tag) -> bool:
    """Whether it is `</key>`."""
    return tag["closing"] is not None


def is_empty(tag: Tag) -> bool:
    """Whether it is `<key/>`."""
    return tag["closing"] is None and tag["empty"] is not None


def name_of(tag: Tag, names: Collection[str]) -> str:
    """The name that is meant, which the tag may spell in other case."""
    found: str = tag["name"]
    return found if found in names else next(name for name in names if name.lower() == found.lower())


def guarded(text: str, names: Collection[str]) -> str:
    """The text with a backslash before every tag of these names."""
    return _tags(tuple(names)).sub(r"\\\g<0>", text) if "<" in text else text


def unguarded(text: str, names: Collection[str]) -> str:
    """The text that was guarded."""
    return _guarded(tuple(names)).sub(r"\g<tag>", text) if "\\" in text else text


# ASCII: without it, case-insensitive matching pairs letters that are not the same name. No two
# blanks in a row are matched by different parts of the pattern, so that it takes linear time.
def _pattern(names: tuple[str, ...]) -> str:
    wanted = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return rf"<[ \t]*(?P<closing>/[ \t]*)?(?P<name>{wanted})[ \t]*(?P<empty>/[ \t]*)?>"


@lru_cache(maxsize=256)
def _tags(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(_pattern(names), re.IGNORECASE | re.ASCII)


@lru_cache(maxsize=256)
def _guarded(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"\\(?P<tag>{_pattern(names)})", re.IGNORECASE | re.ASCII)
