"""How long the parser takes: growth with the length of odd replies, and microseconds for usual ones."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from declm.errors import ParseError
from declm.formats.parsing import parse


class Person(BaseModel):
    name: str
    age: int
    tags: list[str]
    note: str | None = None


VALID = '{"name": "Ann Lee", "age": 34, "tags": ["a", "b", "c"], "note": "met in Rome, twice"}'
BROKEN = 'Sure!\n```json\n{\'name\': \'Ann Lee\', age: 34, "tags": ["a", "b" "c",], note: met in Rome\n```'
"""A reply with five things to repair: prose and a fence, quotes, a comma, unquoted words, a bracket."""

GROWING: Mapping[str, str] = {
    "`[`, n times": "[",
    "`{`, n times": "{",
    '`["` and then `{a`, n times': "{a",
    '`{"a":`, n times': '{"a":',
    "one text": "word ",
    "a text that is not closed": 'he said "no", ',
}
"""What is repeated."""

_BEFORE = {
    '`["` and then `{a`, n times': '["',
    "one text": '{"name": "',
    "a text that is not closed": '{\'name\': \'Ann\', "age": 3, "tags": [], "note": "',
}
_BEHIND = {"one text": '", "age": 3, "tags": []}'}


def growth(largest: int) -> list[dict[str, Any]]:
    """Milliseconds for each shape at a quarter, a half and all of `largest` characters, for the slowest type."""
    return [
        {"shape": name, "characters": largest, "ms": [_ms(name, largest // share) for share in (4, 2, 1)]}
        for name in GROWING
    ]


def _ms(name: str, length: int) -> float:
    """The best of three runs for the type that takes longest."""
    text = _BEFORE.get(name, "") + GROWING[name] * (length // len(GROWING[name])) + _BEHIND.get(name, "")
    types: tuple[Any, ...] = (Person, list[Person], dict[str, int])
    return 1000 * max(min(_seconds(text, type) for _ in range(3)) for type in types)


def _seconds(text: str, type: Any) -> float:
    started = time.process_time()
    with contextlib.suppress(ParseError):
        parse(text, type)
    return time.process_time() - started


def usual(times: int = 2_000) -> dict[str, float]:
    """Microseconds for a valid and for a broken reply, the best of five rounds."""
    return {"valid": _microseconds(VALID, times), "broken": _microseconds(BROKEN, times // 10)}


def _microseconds(text: str, times: int) -> float:
    assert parse(text, Person).age == 34
    rounds = list[float]()
    for _ in range(5):
        started = time.process_time()
        for _ in range(times):
            parse(text, Person)
        rounds.append((time.process_time() - started) / times)
    return 1_000_000 * min(rounds)
