"""Round trips of random types and values in every format; arbitrary texts give a value or a `ParseError`."""

from __future__ import annotations

import contextlib
import datetime
import json
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_origin

import pytest
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter, create_model

import declm as dm
from declm.errors import ParseError
from declm.formats import choose
from declm.formats.base import Prompt
from declm.formats.parsing import parse
from declm.messages import Capabilities, Response
from declm.specs import spec

FORMATS = ["json", "chat", "xml", "native", "two_step"]

few = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
many = settings(few, max_examples=10_000)
slow = pytest.mark.slow
long = pytest.mark.timeout(3600)


class Colour(Enum):
    RED = "red"
    BLUE = "dark blue"
    THREE = 3


class Point(BaseModel):
    x: int
    y: float = 0.5


class Node(BaseModel):
    name: str
    children: list[Node] = []


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str] = []


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]

PIECES = [
    "<result>", "</result>", "</remark>\n<result>", "<draft>", "</draft>",
    "[[", "]]", "[[result]]", "\n[[remark]] no", "\\[[result]]", ":", ",", ", ", '", "', '"}', "'}", '"]',
    "result", "remark", "\n", "\r", "\r\n", "\t", "\u2028", "\u2029", "\x85", "\x00", "\x1b", "\x7f",
    "\ufeff", "\\", "\\n", "\\u0041", '"', '\\"', "'", "`", "```", "```json\n", '"""', "\u201c", "\u201d",
    "\xab", "{", "}", "[", "]", "(", ")", "{{", "}}", "{{ 7 * 7 }}", "{% if x %}", "null", "None", "true",
    "False", "1", "-", "- a\n", "1,5", "50 %", "//", "# no", "/* x */", "<think>", "</think>", "<x>", " ",
    "  ", "a", "word", "\xe9", "é", "\u0130", "\u017f", "😀", "\U0010ffff",
]  # fmt: skip
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
)
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,5}(_[a-z]{1,3})?", fullmatch=True).filter(
    lambda name: not hasattr(BaseModel, name)
)

_days = st.dates(min_value=datetime.date(1600, 1, 1))
_naive = st.datetimes(min_value=datetime.datetime(1600, 1, 1))  # noqa: DTZ001  # hypothesis wants it so
_moments = _naive | _naive.map(lambda moment: moment.replace(tzinfo=datetime.timezone.utc))
_LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, TEXTS),
    (int, st.integers()),
    (int, st.integers(min_value=-(10**40), max_value=10**40)),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bool, st.booleans()),
    (None, st.none()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (datetime.date, _days),
    (datetime.datetime, _moments),
    (Colour, st.sampled_from(Colour)),
    (Literal["a", "b c", 1], st.sampled_from(["a", "b c", 1])),
    (Point, st.builds(Point, x=st.integers(), y=st.floats(allow_nan=False, allow_infinity=False))),
    (
        Node,
        st.recursive(st.builds(Node, name=TEXTS), lambda inner: st.builds(Node, name=TEXTS, children=st.lists(inner))),
    ),
    (Pet, st.one_of(st.builds(Cat, kind=st.just("cat")), st.builds(Dog, kind=st.just("dog"), tricks=st.lists(TEXTS)))),
]


@dataclass(frozen=True)
class Typed:
    """A type with a value of it."""

    type: Any
    value: Any


@st.composite
def typed(draw: st.DrawFn, depth: int = 2) -> Typed:
    """A random type with a random value."""
    kind = draw(st.sampled_from(["leaf", "leaf", "list", "dict", "tuple", "union", "model"])) if depth else "leaf"
    if kind == "leaf":
        type, values = draw(st.sampled_from(_LEAVES))
        return Typed(type, draw(values))
    inner = draw(typed(depth=depth - 1))
    if kind == "list":
        return Typed(list[inner.type], [inner.value] * draw(st.integers(0, 3)))
    if kind == "dict":
        keys = draw(st.lists(TEXTS, max_size=3, unique=True))
        return Typed(dict[str, inner.type], dict.fromkeys(keys, inner.value))
    other = draw(typed(depth=depth - 1))
    if kind == "tuple":
        return Typed(tuple[inner.type, other.type], (inner.value, other.value))
    if kind == "union":
        return Typed(Union[inner.type, other.type], inner.value)  # noqa: UP007  # one may be None
    first, second = draw(st.lists(NAMES, min_size=2, max_size=2, unique_by=lambda name: name.replace("_", "")))
    fields: dict[str, Any] = {first: (inner.type, ...), second: (other.type, ...)}
    made: Any = create_model("Made", **fields)
    return Typed(made, made.model_construct(**{first: inner.value, second: other.value}))


def _as_json(one: Typed) -> Any:
    """The value as JSON; only where Pydantic itself reads the same back, as not every union can."""
    adapter = TypeAdapter(one.type)
    dumped, value = adapter.dump_json(one.value), adapter.dump_python(one.value, mode="json")
    try:
        backs = (adapter.validate_json(dumped), adapter.validate_python(value))
    except ValueError:
        reject()
    assume(all(back == one.value and adapter.dump_json(back) == dumped for back in backs))
    return value


def _round_trip(one: Typed, remark: str) -> None:
    value = _as_json(one)
    outputs = {"result": value, "remark": remark}
    signature = create_model(
        "Echo", __base__=dm.Signature, given=(str, ""), result=(one.type, dm.Output()), remark=(str, dm.Output())
    )
    prompt = Prompt(spec(signature))
    for name in FORMATS:
        format = choose(name, Capabilities())
        reply = format.answer(prompt, outputs)
        fields = format.parse(prompt, Response(reply))
        assert not fields.problems, (name, reply, fields.problems)
        row = prompt.spec.complete(signature(), fields.values)
        assert (row.result, row.remark) == (one.value, remark), (name, reply)
        assert prompt.spec.dump(row)[1] == outputs, (name, reply)


def _lone_round_trip(one: Typed) -> None:
    outputs = {"result": _as_json(one)}
    signature = create_model("Lone", __base__=dm.Signature, given=(str, ""), result=(one.type, dm.Output()))
    prompt = Prompt(spec(signature))
    for name in FORMATS:
        format = choose(name, Capabilities())
        reply = format.answer(prompt, outputs)
        row = prompt.spec.complete(signature(), format.parse(prompt, Response(reply)).values)
        assert row.result == one.value, (name, reply)


@few
@given(typed(), TEXTS)
def test_an_ideal_reply_is_read_back_in_every_format(one: Typed, remark: str) -> None:
    _round_trip(one, remark)


@slow
@long
@many
@given(typed(), TEXTS)
def test_ten_thousand_ideal_replies_are_read_back_in_every_format(one: Typed, remark: str) -> None:
    _round_trip(one, remark)


@few
@given(typed())
def test_an_ideal_reply_of_one_output_is_read_back_in_every_format(one: Typed) -> None:
    _lone_round_trip(one)


@slow
@long
@many
@given(typed())
def test_ten_thousand_ideal_replies_of_one_output_are_read_back(one: Typed) -> None:
    _lone_round_trip(one)


def _reads_json(one: Typed, indent: int | None, ascii: bool) -> None:
    assume(one.type is not str)  # a text alone is kept as it is, quotes and all
    value = _as_json(one)
    text = json.dumps(value, indent=indent, ensure_ascii=ascii)
    assert parse(text, one.type) == one.value
    if isinstance(value, dict | list) and value and get_origin(one.type) is not Union:  # which may be the whole text
        assert parse(f"Here it is:\n```json\n{text}\n```\n", one.type) == one.value


@few
@given(typed(), st.sampled_from([None, 2]), st.booleans())
def test_json_is_read_as_it_stands_and_in_a_fence(one: Typed, indent: int | None, ascii: bool) -> None:
    _reads_json(one, indent, ascii)


@slow
@long
@many
@given(typed(), st.sampled_from([None, 2]), st.booleans())
def test_ten_thousand_times_json_is_read_as_it_stands_and_in_a_fence(
    one: Typed, indent: int | None, ascii: bool
) -> None:
    _reads_json(one, indent, ascii)


MANY_TYPES: list[Any] = [
    str, int, float, bool, Decimal, datetime.date, datetime.datetime, datetime.time, datetime.timedelta, bytes, Any,
    Colour, Literal["a", 1, True], list[int], list[str], set[str], tuple[int, str], dict[str, int],
    dict[int, list[str]], int | None, int | str | list[Point], Point, Node, Pet, list[Pet], list[Node],
]  # fmt: skip
ODD = st.one_of(
    st.text(st.characters(), max_size=40),  # halves of surrogate pairs too
    st.lists(
        st.sampled_from(
            [*PIECES, "\ud800", '"x": ', '"kind": "cat"', '"name":', "children", "lives: 9", "1e999", "9" * 400]
        ),
        max_size=30,
    ).map("".join),
)


def _any_text(text: str, type: Any) -> None:
    with contextlib.suppress(ParseError):
        TypeAdapter(type).validate_python(parse(text, type))


@few
@given(ODD, st.sampled_from(MANY_TYPES))
def test_any_text_is_a_value_or_a_parse_error(text: str, type: Any) -> None:
    _any_text(text, type)


@slow
@long
@many
@given(ODD, st.sampled_from(MANY_TYPES))
def test_ten_thousand_texts_are_a_value_or_a_parse_error(text: str, type: Any) -> None:
    _any_text(text, type)


@few
@given(typed(), st.data())
def test_a_reply_with_a_piece_cut_out_is_a_value_or_a_parse_error(one: Typed, data: st.DataObject) -> None:
    text = json.dumps(_as_json(one), ensure_ascii=False)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 5)))
    _any_text(text[:start] + text[end:], one.type)
