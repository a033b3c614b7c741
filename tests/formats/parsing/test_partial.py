"""The beginning of a reply: what is known so far, of objects, lists, labels and texts, whatever validators want."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import pytest
from pydantic import BaseModel, BeforeValidator, ValidationInfo, field_validator, model_validator

import declm as dm
from declm.errors import ParseError
from declm.formats.parsing import parse_partial
from declm.testing import ScriptedLM


class Range(BaseModel):
    low: int
    high: int = 0

    @field_validator("high")
    @classmethod
    def _above(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data["low"]:
            raise ValueError("must not be below low")
        return value

    @model_validator(mode="after")
    def _not_empty(self) -> Range:
        if self.low == self.high:
            raise ValueError("is empty")
        return self


class Person(BaseModel):
    name: str
    age: int
    tags: list[str] = []


class Pair(NamedTuple):
    first: int
    second: str


def test_a_validator_that_needs_another_field_waits_until_the_object_is_complete() -> None:
    begun = parse_partial('{"low": 1, "high": 2, ', Range)
    assert (begun.low, begun.high) == (1, 0)  # its default
    assert parse_partial('{"low": 1, "high": 2}', Range) == Range(low=1, high=2)


@pytest.mark.parametrize("reply", ['{"low": 3, "high": 2}', '{"low": 3, "high": 3}', '{"low": 3, "high": 2, "x'])
def test_what_a_validator_refuses_is_not_shown(reply: str) -> None:
    assert parse_partial(reply, Range).low == 3


def test_a_stream_shows_outputs_of_which_a_validator_looks_at_another() -> None:
    class Answer(dm.Signature):
        question: str
        range: Range = dm.Output()

    lm = ScriptedLM(['{"range": {"low": 1, "high": 5}}'])
    last = list(dm.Predict(Answer, lm=lm, format="json").stream(question="x"))[-1]
    assert last.range == Range(low=1, high=5)


def test_thoughts_that_have_not_ended_are_no_answer() -> None:
    assert not parse_partial('<think>{"name": "Bob", "age": 1', Person).model_fields_set
    assert parse_partial('<think>{"name": "Bob"}</think>{"name": "A', Person).name == "A"


@pytest.mark.parametrize(
    ("reply", "type", "wanted"),
    [
        ("", list[Person], []),
        ('{"name": "A', list[Person], [{"name": "A", "tags": []}]),
        ('[{"name": "A"}, {"age": 3}, "x', list[Person], [{"name": "A", "tags": []}, {"age": 3, "tags": []}]),
        ('[[1, "a"], [2, "b', list[Pair], [Pair(1, "a")]),
        ('[[1, "a"], 2, ', tuple[Pair, int, int], (Pair(1, "a"), 2)),
        ('{"1": "a", "2": "b', dict[int, str], {1: "a", 2: "b"}),
        ('{"a": "x", "x": "', dict[Literal["a", "b"], str], {"a": "x"}),
        ("[true, fal", list[bool], [True, False]),
        ('"a\\ud83d', str | None, "a"),
        ('"a', str | None, "a"),
    ],
)
def test_what_is_complete_is_shown(reply: str, type: Any, wanted: Any) -> None:
    found = parse_partial(reply, type)
    if isinstance(found, list):
        found = [one.model_dump() if isinstance(one, BaseModel) else one for one in found]
    assert found == wanted


@pytest.mark.parametrize(
    ("reply", "type"),
    [
        ("", int | None),
        ("", Pair),
        ("t", bool),
        ("4", int),
        ('{"first": 1', Pair),
        ("Sure, here", Person),
        ("pos", Literal["positive"]),
    ],
)
def test_what_can_not_be_known_yet_is_not_shown(reply: str, type: Any) -> None:
    with pytest.raises(ParseError):
        parse_partial(reply, type)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ('{"name": """x = 1\nprint("a', 'x = 1\nprint("a'),
        ('{"name": ```py\nx = "1', 'x = "1'),
        ('{"name": ```p', ""),
        ("{'name': 'Ann', a", "Ann"),
        ("{name: Ann, ag", "Ann"),
        ('{"name": "Ann", /', "Ann"),
        ("name: Ann\nag", "Ann"),
        ('"name": "An', "An"),
    ],
)
def test_what_may_be_a_key_or_a_mark_is_no_part_of_a_text(reply: str, code: str) -> None:
    assert parse_partial(reply, Person).name == code


def test_a_validator_gets_what_it_knows_to_take_apart() -> None:
    def split(value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value

    class Tagged(dm.Signature):
        question: str
        tags: Annotated[list[str], BeforeValidator(split)] = dm.Output()

    predict = dm.Predict(Tagged, lm=ScriptedLM(['{"tags": "a,b"}', '{"tags": ["a", "b"]}']), format="json")
    assert predict(question="x").tags == predict(question="y").tags == ["a", "b"]


class Lesson(BaseModel):
    cls: str
    pupils: int


def test_a_field_may_be_called_cls() -> None:
    begun = parse_partial('{"cls": "3b", "pup', Lesson)
    assert (begun.cls, begun.model_fields_set) == ("3b", {"cls"})
