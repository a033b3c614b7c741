"""Promise 25: no reply holds the parser, or breaks it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

import declm as dm


class Node(BaseModel):
    """A type that nests as deeply as the text does."""

    name: str = ""
    children: list[Node] = []


@dataclass(frozen=True)
class Attack:
    """A text that grows with `n`, up to 1 MB, and the type that it is read as."""

    name: str
    text: Callable[[int], str]
    type: Any = Node


UNITS = {
    "brackets": "[",
    "braces": "{",
    "object in a list": '["' + "{a",
    "closers": "]}",
    "quotes": '"',
    "apostrophes": "'",
    "backslashes": "\\",
    "escapes": "\\u00",
    "colons": "a: ",
    "commas": ",",
    "fences": "```json\n",
    "ticks": "`",
    "comments": "/*",
    "slashes": "//\n",
    "spaces": " ",
    "lines": "\n",
    "dashes": "- ",
    "bullets": "- a\n",
    "indents": "a:\n ",
    "headings": "# a\n",
    "stars": "**a",
    "digits": "1",
    "numbers": "1,1.",
    "exponents": "1e9",
    "dates": "2024-01-",
    "words": "the answer is ",
    "marks": "[[name]] ",
    "tags": "<name>",
    "keys": '{"name": ',
    "children": '{"children": [',
    "commas and quotes": '","',
    "mixed quotes": "\"'",
    "triple quotes": '"""',
    "half objects": '{"name": "a", ',
    "objects": '{"name": "a"} ',
    "accents": "e\u0301",
}
ATTACKS = [
    *(Attack(name, lambda n, unit=unit: unit * (n // len(unit))) for name, unit in UNITS.items()),
    Attack("deep and closed", lambda n: "[" * (n // 2) + "]" * (n // 2)),
    Attack("deep as any value", lambda n: "[" * (n // 2) + "]" * (n // 2), Any),
    Attack("a long number", lambda n: "9" * n, int),
    Attack("a long text for a choice", lambda n: "yes no " * (n // 7), bool),
]
LARGEST = 1_000_000


def seconds(attack: Attack, size: int) -> float:
    """Processor time of one reading, without the import of the parser."""
    text, parse = attack.text(size), dm.parse
    began_s = time.process_time()
    with suppress(dm.ParseError):
        parse(text, attack.type)
    return time.process_time() - began_s


_ALL = [attack if n % 4 == 0 else pytest.param(attack, marks=pytest.mark.slow) for n, attack in enumerate(ATTACKS)]


@pytest.mark.parametrize("attack", _ALL, ids=[attack.name for attack in ATTACKS])
def test_no_reply_holds_the_parser(attack: Attack) -> None:
    once = seconds(attack, LARGEST)
    assert once < 0.2
    if once < 0.005:  # the clock says nothing of growth
        return
    # Sizes by turns: a machine that changes its speed on the way spoils one pair, not the median.
    pairs = [(seconds(attack, LARGEST // 2), seconds(attack, LARGEST)) for _ in range(11)]
    growth = statistics.median(large / max(half, 0.002) for half, large in pairs)
    assert growth < 2.6 or min(large for _, large in pairs) < 0.005


@pytest.mark.parametrize("depth", [500, 5_000, 1_000_000])
def test_no_depth_breaks_the_parser(depth: int) -> None:
    for opened, closed in (("[", "]"), ('{"children": [', "]}")):
        for text in (opened * depth, opened * depth + closed * depth):
            with pytest.raises(dm.ParseError):
                dm.parse(text, int)


def test_there_are_forty_attacks() -> None:
    assert len(ATTACKS) == 40
