"""The reader of almost-JSON: what it takes, and that it takes linear time."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from declm.errors import ParseError
from declm.formats.parsing import DEPTH_LIMIT, SIZE_LIMIT, parse_object, parse_value

GOOD = {"answer": "a", "sure": True}


@pytest.mark.parametrize(
    "text",
    [
        '{"answer": "a", "sure": true}',
        ' \n{"answer": "a", "sure": true}\n',
        '```json\n{"answer": "a", "sure": true}\n```',
        'Here it is:\n```\n{"answer": "a", "sure": true}\n```\nAnything else?',
        'The answer {of course} is {"answer": "a", "sure": true}.',
        'Thinking {"x": 1} ... {"answer": "a", "sure": true}',
        '{"answer": "a", "sure": true,}',
        "{'answer': 'a', 'sure': True}",
        '{answer: "a", sure: true}',
        '{"answer": "a", // why not\n "sure": true}',
        '{"Answer": "a", "SURE": true}',
        '{"sure": true, "answer": "a", "more": {"deep": [1, {"x": null}]}}',
        'It\'s {not} \'this\' {"answer": "a", "sure": true}',
    ],
)
def test_an_object_is_found_in_what_models_write(text: str) -> None:
    assert parse_object(text, ["answer", "sure"]) == GOOD


@pytest.mark.parametrize("name", ["final_answer", "final answer", "Final-Answer", "finalAnswer", "FINAL_ANSWER"])
def test_keys_are_compared_without_case_and_separators(name: str) -> None:
    assert parse_object(f'{{"{name}": 1}}', ["final_answer"]) == {"final_answer": 1}


def test_an_exact_key_wins_over_a_similar_one() -> None:
    assert parse_object('{"A b": 1, "ab": 2}', ["ab", "a_b"]) == {"ab": 2, "a_b": 1}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'{"a": "x\"y"}', 'x"y'),
        (r"{'a': 'it\'s'}", "it's"),
        ("""{'a': 'say "hi"'}""", 'say "hi"'),
        (r"""{'a': 'say \"hi\" or "ho"'}""", 'say "hi" or "ho"'),
        ('{"a": "two\nlines",}', "two\nlines"),
        (r'{"a": "C:\dir",}', r"C:\dir"),
        (r'{"a": "\u00e9\n",}', "é\n"),
        ("{a: -1.5e3}", -1500.0),
        ("{a: 1_000}", 1000),
        ("{a: None}", None),
        ("{a: [1, 2,], }", [1, 2]),
        ("{a: {b: {}}}", {"b": {}}),
        ('{"a": NaN_, "b": 1} {"a": 2}', 2),
    ],
)
def test_values_are_read(text: str, value: Any) -> None:
    assert parse_object(text, ["a"]) == {"a": value}


@pytest.mark.parametrize(
    "text", ["", "no", "[1]", "{", "}", "{]", '{"a": 1', '{"a" 1}', "{'a': '", '{"b": 1}x', "null"]
)
def test_a_text_without_the_object_is_a_parse_error_with_the_text(text: str) -> None:
    with pytest.raises(ParseError, match="no JSON object with `a`, `c`") as caught:
        parse_object(text, ["a", "c"])
    assert caught.value.text == text


def test_a_strict_object_without_the_keys_is_returned_empty_so_that_all_missing_are_named() -> None:
    assert parse_object('{"b": 1}', ["a"]) == {}


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"a":[', "{a:[", "[ "])
def test_depth_is_limited(opening: str) -> None:
    closing = {"[": "]", "{": "}"}
    for depth in (500, 100_000):
        body = opening * depth + "1" + "".join(closing[c] for c in reversed(opening * depth) if c in closing)
        for text in (body, f'{{"a": {body}}}', f"Look: {{'a': {body}}}"):
            with pytest.raises(ParseError):
                parse_object(text, ["a"])


def test_depth_below_the_limit_is_read() -> None:
    text = "[" * (DEPTH_LIMIT - 1) + "]" * (DEPTH_LIMIT - 1)
    assert parse_object(f'{{"a": {text}}}', ["a"])["a"] != []
    assert parse_object(f"{{'a': {text}}}", ["a"])["a"] != []
    with pytest.raises(ParseError):
        parse_object(f"{{'a': [{text}]}}", ["a"])


def test_brackets_inside_texts_are_no_depth() -> None:
    assert parse_object(f'{{"a": "{"[" * 5000}"}}', ["a"]) == {"a": "[" * 5000}
    assert parse_value(f'"{"{" * 5000}"') == "{" * 5000


def test_size_is_limited() -> None:
    with pytest.raises(ParseError, match="the limit is"):
        parse_object(" " * (SIZE_LIMIT + 1), ["a"])


def test_an_integer_of_thousands_of_digits_is_a_parse_error() -> None:
    with pytest.raises(ParseError):
        parse_object('{"a": ' + "9" * 10_000 + "}", ["a"])


SHAPES = [
    "{", '["', '{"a":', "{a", '{"a', "{'", "{\\", '"\\', "{a:1,", "{{a:1}", "}{", "{}", '{"b":1}', "```{", "//",
    "{//\n", "{a:[", "{a:'", "{a:-", "{a:1e", "\\\"{", "{\u2028", "{ ", "{a :", "{a:1_", '{"a":"\\u12', "\n", "'",
    '"', "[", "{b:{a",
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_time_is_linear_whatever_the_reply_repeats(shape: str) -> None:
    def took(length: int) -> float:
        text = shape * (length // len(shape))
        started = time.process_time()
        for read in (lambda: parse_object(text, ["a"]), lambda: parse_value(text)):
            with contextlib.suppress(ParseError):
                read()
        return time.process_time() - started

    small, large = min(took(20_000) for _ in range(3)), min(took(80_000) for _ in range(2))
    assert large < 0.4
    assert large < max(small, 0.002) * 4 * 2.6


@settings(deadline=None)  # the machine may be busy; speed has tests of its own
@given(st.text() | st.lists(st.sampled_from(SHAPES)).map("".join))
def test_any_text_is_read_or_a_parse_error(text: str) -> None:
    for read in (lambda: parse_object(text, ["a"]), lambda: parse_value(text)):
        with contextlib.suppress(ParseError):
            read()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("null", None),
        ('"a"', "a"),
        ("[1, 2,]", [1, 2]),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ("True", "True"),
        ("plain words", "plain words"),
        ("{not json}", "{not json}"),
        ("", ""),
    ],
)
def test_a_single_value_is_read_or_kept_as_text(text: str, value: Any) -> None:
    assert parse_value(text) == value
