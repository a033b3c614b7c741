"""Find the values that a reply may mean: the whole of it, fenced blocks, brackets in prose, lines of keys."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from declm.formats.parsing.nodes import DEPTH_LIMIT, TOO_DEEP, TWICE, Bare, Raw, Unreadable
from declm.formats.parsing.outline import outline
from declm.formats.parsing.quoting import unescape, without_fence
from declm.formats.parsing.scanner import Scanner

_THOUGHT = re.compile(r"\A\s*<(think|thinking|thought|reasoning)>.*</\1>", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"(?<!`)`{2,}(?!`)[ \t]*(?:[A-Za-z][\w+-]*)?[ \t]*(?=[\s{\[(])\s*")
_OPENING = re.compile(r"[{\[]")
_TUPLE = re.compile(r"\s*\(\s*(?:[\"'(\[{)]|[-+]?[\d.])")
_BROKEN = frozenset({"missing bracket", "wrong bracket", "stray text", "key without value", "set instead of list"})
_CANDIDATES = 200
_PASSES = 6


@dataclass(frozen=True, slots=True)
class Reading:
    """A value that a reply may mean, with the repairs that reading it took.

    Attributes:
        around: whether text stands around it.
        source: the part of the reply that was read.
    """

    value: Raw
    repairs: tuple[str, ...] = ()
    around: bool = False
    source: str = ""


def _once(pairs: list[tuple[str, Raw]]) -> dict[str, Raw]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(TWICE)
    return found


STRICT = json.JSONDecoder(parse_int=Bare, parse_float=Bare, parse_constant=Bare, object_pairs_hook=_once)
"""Reads JSON whose numbers stay texts; ValueError for anything else, and for a key that stands twice."""

_TOKENS = re.compile(r'\\.|["\[\]{}]', re.DOTALL)


def check_depth(text: str) -> None:
    """Refuse JSON that is nested deeper than `DEPTH_LIMIT`, without going down there."""
    if text.count("{") + text.count("[") <= DEPTH_LIMIT:
        return
    depth, is_quoted = 0, False
    for token in _TOKENS.findall(text):
        if token == '"':
            is_quoted = not is_quoted
        elif not is_quoted and token in "{[":
            depth += 1
            if depth > DEPTH_LIMIT:
                raise Unreadable(TOO_DEEP)
        elif not is_quoted and token in "}]":
            depth -= 1


Accept = Callable[[Reading], bool]
"""Takes a reading and says whether it fits what is wanted."""


def answer_part(text: str) -> str:
    """The reply without the thoughts that a reasoning model wrote before it, unless there is nothing else."""
    thought = _THOUGHT.match(text)
    if thought is None or not text[thought.end() :].strip():
        return text
    return text[thought.end() :]


def read_brackets(text: str, names: Collection[str], accept: Accept) -> bool:
    """Offer the values in brackets to `accept`, likeliest first; whether one was accepted.

    Behind one that is whole the next is looked for; inside one that is broken, any that it holds.
    """
    scanner, budget, taken, done = (
        Scanner(text, names),
        _PASSES * len(text) + 10_000,
        list[tuple[int, int]](),
        set[int](),
    )
    accepted = False
    first = len(text) - len(text.lstrip())
    starts = [first] if text[first : first + 1] in ("{", "[") or _TUPLE.match(text) else []
    starts += [fence.end() for fence in _FENCE.finditer(text) if text[fence.end() : fence.end() + 1] in ("{", "[", "(")]
    at = 0
    for _ in range(_CANDIDATES):
        if starts:
            start = starts.pop(0)
        else:
            hit = _OPENING.search(text, at)
            if hit is None:
                break
            start, at = hit.start(), hit.end()
        inside = next((end for begin, end in taken if begin <= start < end), None)
        if inside is not None:
            at = max(at, inside) if not starts else at
            continue
        if start in done or budget < 0:
            continue
        done.add(start)
        value, end, repairs = _read(scanner, start)
        budget -= end - start
        around = bool(text[:start].strip() or text[end:].strip(" \t\r\n`"))
        is_fit = accept(Reading(value, repairs, around, text[start:end]))
        if is_fit or not _BROKEN & set(repairs):
            taken.append((start, end))  # inside of a whole value that does not fit stand parts of it, not the answer
        accepted = accepted or is_fit
    return accepted


def _read(scanner: Scanner, start: int) -> tuple[Raw, int, tuple[str, ...]]:
    """The value at `start`, strictly if it is JSON."""
    try:
        value, end = STRICT.raw_decode(scanner.text, start)
    except ValueError:
        pass
    else:
        check_depth(scanner.text[start:end])
        if not scanner.goes_on(end):
            return value, end, ()
    value, end = scanner.read(start)
    return value, end, tuple(scanner.repairs)


def read_lines(text: str, names: Collection[str], accept: Accept) -> None:
    """Offer what lines of keys and values make up."""
    value = outline(text, names)
    if value is not None:
        accept(Reading(value, ("lines of keys",)))


def read_escaped(text: str, names: Collection[str], accept: Accept) -> bool:
    """Offer what JSON that was escaped as a whole holds; whether it was accepted."""
    at = text.find('{\\"')
    if at < 0 or '"' in text[:at] or '{"' in text:
        return False

    def mended(found: Reading) -> bool:
        return accept(replace(found, repairs=("escaped", *found.repairs)))

    return read_brackets(unescape(text), names, mended)


def whole(text: str) -> str:
    """The text as one value, without a fence or JSON quotes around it."""
    bare = without_fence(text).strip()
    if len(bare) > 1 and bare[0] == bare[-1] == '"':
        try:
            return str(json.loads(bare))
        except ValueError:
            return Bare(bare)
    return Bare(bare)
