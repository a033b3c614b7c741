"""Find the member of a closed set that a text names: as it is, in another spelling, or in a sentence.

What names two members, denies the only one, or asks for it, names none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from declm.formats.parsing.sentences import (
    DECORATION,
    Word,
    are_coordinated,
    conclusion,
    is_article,
    is_asked,
    is_denied,
    is_determiner,
    is_retracted,
    lead,
    plain,
    sets_apart,
    words,
)

T = TypeVar("T")

Found = tuple[T, str] | None
"""A value with the repair that it took (empty for none), or None."""

SENTENCE = "found in a sentence"
LONGEST = 2_000
"""Characters of a sentence in which a value is looked for."""

_QUOTES = " \t\r\n\"'`“”\u2018\u2019«»"
_NUMBER = re.compile(r"[-+\u2212]?(?:\d+(?:\.\d+)?|\.\d+)")
_TRAIL = re.compile(r"[+#]+(?!\w)|-(?!\w)")
"""Signs that belong to the word before them: `C++`, `A-`."""

_SIGNED = re.compile(r"[^\W_]+(?:[+#?]+(?!\w))?")
_GAP = re.compile(r"(?![.!?;:]\s)[\W_]{1,3}")
"""What may stand between the words of a name."""


@dataclass(frozen=True, slots=True)
class _Name(Generic[T]):
    words: tuple[str, ...]
    trail: str
    value: T


@dataclass(frozen=True, slots=True)
class _Hit(Generic[T]):
    """A name in a text; `first` and `last` are its words."""

    value: T
    first: int
    last: int
    end: int


@dataclass(eq=False)
class Labels(Generic[T]):
    """The values of a closed set by their names, ready to be looked for."""

    names: Mapping[str, T]

    def find(self, text: str) -> Found[T]:
        """The value that a text names, with the repair."""
        if text in self.names:
            return self.names[text], ""
        if len(text) > LONGEST:
            return None
        for bare in (text.strip(), text.strip(_QUOTES), _bare(text)):
            if bare in self.names:
                return self.names[bare], "decoration"
        bare = _bare(plain(text))
        if _NUMBER.fullmatch(bare):
            return self._number(bare)
        for key, by_key, repair in ((_cased(text), self._by_case, "case"), (_folded(text), self._by_fold, "spelling")):
            if key and key in by_key:
                values = by_key[key]
                return (values[0], repair) if len(values) == 1 else None
        return self._in_sentence(plain(text))

    @cached_property
    def _by_case(self) -> dict[str, list[T]]:
        return _grouped(self.names, _cased)

    @cached_property
    def _by_fold(self) -> dict[str, list[T]]:
        return _grouped(self.names, _folded)

    @cached_property
    def _by_first(self) -> dict[str, list[_Name[T]]]:
        """The names by their first word, the longest first; those written as one word as well."""
        found: dict[str, list[_Name[T]]] = {}
        for name, value in self.names.items():
            text = plain(name)
            parts = tuple(word.key for word in words(text))
            trail = _TRAIL.match(text, words(text)[-1].end) if parts else None
            whole = _Name(parts, trail.group() if trail else "", value)
            joined = [_Name(("".join(parts),), whole.trail, value)] if len(parts) > 1 else []
            for one in (whole, *joined):
                if one.words:
                    found.setdefault(one.words[0], []).append(one)
        for listed in found.values():
            listed.sort(key=lambda one: (-len(one.words), -len(one.trail)))
        return found

    @cached_property
    def _signs(self) -> Mapping[str, T]:
        """The names without any letter or digit, such as `+`."""
        return {name: value for name, value in self.names.items() if name and not words(plain(name))}

    def _number(self, text: str) -> Found[T]:
        """The value whose name is that number: `2.0` is 2, and `-2` is not."""
        wanted = float(text.replace("\u2212", "-"))
        found = [value for name, value in self.names.items() if _NUMBER.fullmatch(name) and float(name) == wanted]
        return (found[0], "spelling") if found else None

    def _in_sentence(self, text: str) -> Found[T]:
        found = words(text)
        hits = self._hits(text, found)
        asserted, denied = _told(text, found, hits)
        if not hits and self._signs:
            return self._sign(text)
        if not asserted:
            return None
        if _are_one([hit.value for hit in asserted]):
            first = asserted[0]
            return None if any(hit.value == first.value for hit in denied) else (first.value, SENTENCE)
        first = asserted[0]
        explains = len(found) - first.first > sum(hit.last - hit.first + 1 for hit in hits)  # says more than labels
        is_first = lead(text, found[first.first].start) and sets_apart(text, first.end) and not is_retracted(text)
        before = first if is_first and explains else None
        return self._concluded(text, before)

    def _concluded(self, text: str, before: _Hit[T] | None) -> Found[T]:
        """Of several, the one that stands before its explanation, or behind "answer:"."""
        rest = conclusion(text)
        behind = self.find(rest) if rest is not None and rest != text else None
        if behind is None:
            return (before.value, SENTENCE) if before and rest is None else None
        return (behind[0], SENTENCE) if before is None or before.value == behind[0] else None

    def _sign(self, text: str) -> Found[T]:
        """The only one of the names without letters that stands alone in a text."""
        bare = [part.strip("\"'`“”") for part in text.split()]
        values = [self._signs[part.rstrip(".")] for part in bare if part.rstrip(".") in self._signs]
        return (values[0], SENTENCE) if values and _are_one(values) else None

    def _hits(self, text: str, found: Sequence[Word]) -> list[_Hit[T]]:
        at = 0
        hits: list[_Hit[T]] = []
        while at < len(found):
            hit = next(
                (hit for name in self._by_first.get(found[at].key, ()) if (hit := _match(name, text, found, at))), None
            )
            if hit is not None:
                hits.append(hit)
                at = hit.last
            at += 1
        return hits


def _match(name: _Name[T], text: str, found: Sequence[Word], at: int) -> _Hit[T] | None:
    last = at + len(name.words) - 1
    if last >= len(found) or any(found[at + i].key != word for i, word in enumerate(name.words)):
        return None
    if any(not _GAP.fullmatch(text[found[i].end : found[i + 1].start]) for i in range(at, last)):
        return None
    start, end = found[at].start, found[last].end
    trail = _TRAIL.match(text, end)
    signs = trail.group() if trail else ""
    if signs != name.trail and (signs != "-" or name.trail):
        return None
    if _is_part_of_a_compound(text, start, end) or _is_no_label(name, text, found, at):
        return None
    return _Hit(name.value, at, last, end + len(name.trail))


def _is_part_of_a_compound(text: str, start: int, end: int) -> bool:
    """Whether a hyphen ties it to another word: `non-positive`, `half-open`."""
    before, behind = text[max(start - 2, 0) : start], text[end : end + 2]
    return (before[-1:] == "-" and before[:1].isalnum()) or (behind[:1] == "-" and behind[1:].isalnum())


def _is_no_label(name: _Name[T], text: str, found: Sequence[Word], at: int) -> bool:
    if name.words == ("no",):
        return is_determiner(text, found, at)
    return len(name.words) == 1 and len(name.words[0]) == 1 and not name.trail and is_article(text, found, at)


def _told(text: str, found: Sequence[Word], hits: Sequence[_Hit[T]]) -> tuple[list[_Hit[T]], list[_Hit[T]]]:
    """The hits that the text asserts, and those that it denies; what it asks stands in neither."""
    asserted: list[_Hit[T]] = []
    denied: list[_Hit[T]] = []
    before: _Hit[T] | None = None
    for hit in hits:
        if is_denied(text, found, hit.first, hit.last) or (
            before is not None and are_coordinated(text, found, before.last, hit.first)
        ):
            denied.append(hit)
            before = hit
            continue
        before = None
        if not is_asked(text, hit.end):
            asserted.append(hit)
    return asserted, denied


def _are_one(values: Sequence[T]) -> bool:
    return all(value is values[0] or value == values[0] for value in values)


def _grouped(names: Mapping[str, T], key: Callable[[str], str]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for name, value in names.items():
        values = found.setdefault(key(name), [])
        if not any(value is other or value == other for other in values):
            values.append(value)
    return found


def _bare(text: str) -> str:
    """The text without what decorates it; a sign behind it (`C#`) is part of it."""
    return text.lstrip(DECORATION).rstrip(DECORATION.replace("#", ""))


def _cased(text: str) -> str:
    """The text without case, accents, decoration, and with single spaces."""
    return " ".join(_bare(plain(text)).casefold().split()) or text.strip().casefold()


def _folded(text: str) -> str:
    """Letters, digits and the signs that belong to them; digits that were apart stay apart."""
    parts = [hit.group().casefold() for hit in _SIGNED.finditer(plain(text))]
    folded = ""
    for part in parts:
        folded += f" {part}" if folded[-1:].isdigit() and part[:1].isdigit() else part
    return folded
