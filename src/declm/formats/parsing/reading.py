"""Find the values that a reply may mean: the whole of it, fenced blocks, brackets in prose, lines of keys."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from itertools import islice

from declm.formats.parsing.nodes import DEPTH_LIMIT, TOO_DEEP, TWICE, Bare, Raw, Unreadable
from declm.formats.parsing.outline import outline
from declm.formats.parsing.quoting import unescape, without_fence
from declm.formats.parsing.scalars import fold
from declm.formats.parsing.scanner import Scanner, calls

_THOUGHT = re.compile(r"\A\s*<(think|thinking|thought|reasoning)>.*</\1>", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"``(?<!```)`*(?!`)(?:[ \t]*[A-Za-z][\w+-]*)?\s*(?=[{\[(])")
"""The opening of a fenced value; no two of its parts take the same blanks, which would cost their cube."""

_THINKING = re.compile(r"\A\s*<(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_FIRST_KEY = re.compile(r"\s*(?:[(\[]\s*)?(?P<key>[\"'`]?(?P<name>[^\W_][\w .-]{0,80}?)[\"'`]?[ \t]{0,8}(?::|=>?))")
_OPENING = re.compile(r"[{\[]")
_TUPLE = re.compile(r"\s*\(\s*(?:[\"'(\[{)]|[-+]?[\d.])")
_BROKEN = frozenset({"missing bracket", "wrong bracket", "stray text", "key without value", "set instead of list"})
LINES = "lines of keys"

_CANDIDATES = 200
_PASSES = 3
"""How often brackets may be read, in lengths of the reply, beyond its first `_FREE` characters."""

_FREE = 100_000


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


def answer_part(text: str, *, growing: bool = False) -> str:
    """The reply without the thoughts that a reasoning model wrote before it, unless there is nothing else.

    `growing`: more text will come, so that thoughts that have not ended are no answer.
    """
    if "<" not in text[:200]:
        return text
    thought = _THOUGHT.match(text)
    if thought is None:
        return "" if growing and _THINKING.match(text) else text
    return text[thought.end() :] if growing or text[thought.end() :].strip() else text


def read_brackets(text: str, names: Collection[str], accept: Accept) -> bool:
    """Offer the values in brackets to `accept`, likeliest first; whether one was accepted.

    Behind one that is whole the next is looked for; inside one that is broken, any that it holds.
    """
    scanner, budget = Scanner(text, names), _PASSES * len(text) + _FREE
    done: set[int] = set()
    accepted = False
    taken: list[tuple[int, int]] = []
    first, last = len(text) - len(text.lstrip()), len(text.rstrip(" \t\r\n`"))
    starts, at = _likely_starts(text, first), 0
    for _ in range(_CANDIDATES):
        if starts:
            start = starts.popleft()
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
        is_fit = accept(Reading(value, repairs, start > first or end < last, text[start:end]))
        if is_fit or _BROKEN.isdisjoint(repairs):
            taken.append((start, end))  # inside of a whole value that does not fit stand parts of it, not the answer
        accepted = accepted or is_fit
    return accepted


def _likely_starts(text: str, first: int) -> deque[int]:
    """Where the value begins if nothing stands before it, and the beginnings of fenced blocks."""
    starts = deque([first] if text[first : first + 1] in ("{", "[") or _TUPLE.match(text) else [])
    if "``" in text:
        last = max(map(text.rfind, "{[("))  # fences behind it open no value
        for fence in islice(_FENCE.finditer(text, 0, last + 1), _CANDIDATES):
            starts.append(fence.end())
    return starts


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


def read_without_brackets(text: str, names: Collection[str], accept: Accept, *, any_key: bool = False) -> bool:
    """Offer what calls, lines of keys, or members without braces make up; whether one was accepted.

    `any_key`: the keys are not known, so that there must be several of them and nothing else.
    """
    scanner = Scanner(text, names)
    for start in islice(calls(text), _CANDIDATES // 10):
        value, end = scanner.read(start)
        around = bool(text[:start].strip() or text[end:].strip(" \t\r\n`"))
        if accept(Reading(value, tuple(scanner.repairs), around, text[start:end])):
            return True
    ways = [_read_lines, _read_members]
    if text.lstrip()[:1] in ('"', "'"):
        ways.reverse()  # rather JSON without its braces
    return any(way(text, names, accept, any_key=any_key) for way in ways)


def _read_lines(text: str, names: Collection[str], accept: Accept, *, any_key: bool) -> bool:
    value = outline(text, names, any_key=any_key)
    if value is None or (any_key and len(value) < 2 and isinstance(next(iter(value.values())), str)):
        return False
    return accept(Reading(value, (LINES,)))


def _read_members(text: str, names: Collection[str], accept: Accept, *, any_key: bool) -> bool:
    """Offer the object that begins without its brace: `name: Ann, age: 30`."""
    text = without_fence(text)
    key = _FIRST_KEY.match(text)
    if key is None or not (any_key or fold(key["name"]) in {fold(name) for name in names}):
        return False
    scanner = Scanner(text, names)
    value, end = scanner.read(key.start("key"), "{")
    if any_key and len(value) < 2:
        return False
    return accept(Reading(value, tuple(scanner.repairs), bool(text[end:].strip()), text[key.start() : end]))


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
