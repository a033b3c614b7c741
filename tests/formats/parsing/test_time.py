"""Time is linear in the length of a reply, whatever it repeats; depth and size are limited."""

from __future__ import annotations

import contextlib
import enum
import time
from collections.abc import Callable
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from declm.errors import ParseError
from declm.formats.parsing import DEPTH_LIMIT, SIZE_LIMIT, parse, parse_partial


class Inner(BaseModel):
    a: str
    b: int = 0


class Answer(BaseModel):
    a: str
    names: list[str] = []
    inner: Inner | None = None
    either: int | str | list[Inner] = 0
    label: Literal["yes", "no", "not sure"] = "no"


class Node(BaseModel):
    name: str = ""
    children: list[Node] = []


SHAPES = {
    "opening brackets": "[",
    "opening braces": "{",
    "opening parentheses": "(",
    "lists that hold texts that hold braces": '["{a',
    "lists of texts": '["',
    "members that open objects": '{"a":',
    "members without quotes": "{a:",
    "members of the name": "a:",
    "objects that begin": '{"a',
    "single quotes that begin": "{'",
    "single quotes": "'",
    "double quotes": '"',
    "curly quotes": "“",
    "back-ticks": "`",
    "fences": "```",
    "fences that open an object": "```json\n{",
    "triple quotes": '"""',
    "backslashes": "\\",
    "escaped quotes": '\\"',
    "escaped objects": '{\\"a\\":',
    "half escapes": '"\\u12',
    "comments": "//",
    "comments of lines": "{//\n",
    "comments in stars": "/*",
    "commas": ",",
    "colons": ":",
    "empty objects": "{}",
    "empty lists": "[]",
    "small objects": '{"b":1}',
    "good objects": '{"a":"x"} ',
    "closed before opened": "}{",
    "lists in members": "{a:[",
    "texts in members": '"a":"b",',
    "texts that do not close": '{"a": "x, ',
    "words": "word ",
    "words and commas": "[word, ",
    "sentences": "The answer is not yes. ",
    "labels": "yes or no, ",
    "numbers": "1",
    "numbers with separators": "1,234 ",
    "numbers in a list": "[1 ",
    "signs of numbers": "-+",
    "lines of keys": "a: x\n",
    "lines of bullets": "- a\n",
    "lines of bullets with keys": "- a: x\n  b: 1\n",
    "deeper and deeper lines": "a:\n ",
    "line breaks": "\n",
    "spaces": " ",
    "odd line ends": "{\u2028",
    "thoughts": "<think>",
    "thoughts that end": "<think></think>",
    "marks": "[[a]] x\n",
    "children": '{"children":[',
    "accents": "e\u0301",
    "tuples": "('a',",
    "arrows": "a => ",
}
TYPES: list[Any] = [Answer, list[Answer], int]
MORE_TYPES: list[Any] = [Node, float, bool, Literal["yes", "no"], list[str], dict[str, list[int]], Any]

SMALL, LARGE = 3_000, 12_000
SLACK = 2.6
"""How much more than its share of time the longer text may take: machines are busy, and caches have sizes."""
FLOOR_S = 0.004
LIMIT_S = 0.5


def _quietly(read: Callable[[str, Any], Any], text: str, type: Any) -> None:
    with contextlib.suppress(ParseError):
        read(text, type)


def _took(text: str, type: Any) -> float:
    started = time.process_time()
    for read in (parse, parse_partial):
        _quietly(read, text, type)
    return time.process_time() - started


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_time_is_linear_whatever_a_reply_repeats(shape: str) -> None:
    def repeated(length: int) -> str:
        return shape * (length // len(shape))

    for type in TYPES:
        _took(shape, type)  # types are prepared once
        large = _took(repeated(LARGE), type)
        if large < FLOOR_S * 4:
            continue
        small = min(_took(repeated(SMALL), type) for _ in range(2))
        if large > small * LARGE / SMALL:
            large = min(large, *(_took(repeated(LARGE), type) for _ in range(2)))
        assert large < max(small, FLOOR_S) * LARGE / SMALL * SLACK, type
        assert large < LIMIT_S, type


BETWEEN: dict[str, tuple[str, str, str]] = {
    "blanks behind two back-ticks": ("``", " ", "x"),
    "blanks behind a fence": ("```", " ", "x"),
    "blanks before a word": ("", " ", "x"),
    "line breaks before a bracket": ("", "\n", "}"),
    "blanks in a list of words": ('{"a": "', "\t", "1"),
    "blanks between flags": ("READ", " ", "WRITE"),
    "empty lines below a key": ("names:", " \n", "x"),
    "a number that goes on as a word": ("", "9", "x"),
    "a number in a list that goes on as a word": ("[", "9", "x"),
    "back-ticks in an object": ("{", "`", "x"),
}
"""What stands before and behind a repeated part, so that readers which hoped for another end begin again."""


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@pytest.mark.parametrize(("before", "repeated", "behind"), BETWEEN.values(), ids=BETWEEN.keys())
def test_time_is_linear_whatever_stands_around_what_repeats(before: str, repeated: str, behind: str) -> None:
    text = before + repeated * (20_000 // len(repeated)) + behind
    for type in (Answer, int, list[str], Right):
        _took(before + behind, type)  # types are prepared once
        assert _took(text, type) < LIMIT_S, type


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_a_megabyte_takes_seconds_at_most(shape: str) -> None:
    text = shape * (1_000_000 // len(shape))
    for type in (*TYPES, *MORE_TYPES):
        assert _took(text, type) < 4.0, type


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"a":[', "{a:[", "[ ", "(", '{"children":['])
@pytest.mark.parametrize("depth", [DEPTH_LIMIT + 1, 5_000, 100_000])
def test_depth_is_limited(opening: str, depth: int) -> None:
    closing = {"[": "]", "{": "}", "(": ")"}
    body = opening * depth + "1" + "".join(closing[c] for c in reversed(opening * depth) if c in closing)
    for type in (Answer, Node, list[int], dict[str, int], dict[str, list[Any]]):
        for text in (body, f'{{"a": {body}}}', f"Look: {{'a': {body}}}"):
            try:
                found = parse(text, type)
            except ParseError:
                continue
            assert isinstance(found, Answer | Node)  # to which the deep part is a text, or no part of them


def test_depth_below_the_limit_is_read() -> None:
    deep = "[" * (DEPTH_LIMIT - 1) + "]" * (DEPTH_LIMIT - 1)
    assert parse(deep, list[Any]) != []
    assert parse(deep.replace("]", ",]"), list[Any]) == parse(deep, list[Any])


def test_brackets_inside_texts_are_no_depth() -> None:
    assert parse(f'{{"a": "{"[" * 5000}"}}', Answer).a == "[" * 5000
    assert parse(f'{{"a": "{"{" * 5000}",}}', Answer).a == "{" * 5000


@pytest.mark.parametrize("read", [parse, parse_partial])
@pytest.mark.parametrize("type", [Answer, str, int, Any])
def test_size_is_limited(read: Callable[[str, Any], Any], type: Any) -> None:
    with pytest.raises(ParseError, match="the limit is"):
        read(" " * (SIZE_LIMIT + 1), type)


@pytest.mark.parametrize("digits", [400, 5_000, 100_000])
@pytest.mark.parametrize("text", ['{"b": %s, "a": "x"}', "{b: %s, a: x}", "b: %s\na: x"])
def test_a_number_of_very_many_digits_is_read_or_a_parse_error(text: str, digits: int) -> None:
    for number in ("9" * digits, f"1e{'9' * digits}", f"0.{'9' * digits}", f"1/{'9' * digits}"):
        for type in (Inner, Any, dict[str, float | str]):
            _quietly(parse, text % number, type)
