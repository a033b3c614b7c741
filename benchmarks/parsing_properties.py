"""Properties of parsing: random types and values come back from every format, arbitrary texts never surprise.

Strategies of hypothesis, and assertions about what they draw.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import uuid
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple, Union, get_origin

from hypothesis import assume, reject
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter, create_model
from typing_extensions import NotRequired, TypedDict

import declm as dm
from declm.errors import ParseError
from declm.formats import choose
from declm.formats.base import Prompt
from declm.formats.parsing import parse, parse_partial
from declm.messages import Capabilities, Response
from declm.specs import spec

FORMATS = ["json", "chat", "xml", "native", "two_step"]


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


class Film(TypedDict):
    title: str
    year: NotRequired[int]


class Pair(NamedTuple):
    first: int
    second: str


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
    lambda name: name != "cls" and not hasattr(BaseModel, name)
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
    (datetime.time, st.times()),
    (datetime.timedelta, st.timedeltas(min_value=datetime.timedelta(-9999), max_value=datetime.timedelta(9999))),
    (uuid.UUID, st.uuids()),
    (bytes, TEXTS.map(str.encode)),
    (frozenset[int], st.frozensets(st.integers(), max_size=3)),
    (dict[int, str], st.dictionaries(st.integers(), TEXTS, max_size=2)),
    (dict[Colour, bool], st.dictionaries(st.sampled_from(Colour), st.booleans(), max_size=2)),
    (Film, st.fixed_dictionaries({"title": TEXTS}, optional={"year": st.integers()})),
    (Pair, st.builds(Pair, st.integers(), TEXTS)),
    (Literal[True, "x"], st.sampled_from([True, "x"])),
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


def as_json(one: Typed) -> Any:
    """The value as JSON; only where Pydantic itself reads the same back, as not every union can."""
    adapter = TypeAdapter(one.type)
    dumped, value = adapter.dump_json(one.value), adapter.dump_python(one.value, mode="json")
    try:
        backs = (adapter.validate_json(dumped), adapter.validate_python(value))
    except ValueError:
        reject()
    assume(all(back == one.value and adapter.dump_json(back) == dumped for back in backs))
    return value


def round_trip(one: Typed, remark: str) -> None:
    """Assert that every format reads its own ideal reply back."""
    value = as_json(one)
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


def lone_round_trip(one: Typed) -> None:
    """Assert the same of a reply that is one value."""
    outputs = {"result": as_json(one)}
    signature = create_model("Lone", __base__=dm.Signature, given=(str, ""), result=(one.type, dm.Output()))
    prompt = Prompt(spec(signature))
    for name in FORMATS:
        format = choose(name, Capabilities())
        reply = format.answer(prompt, outputs)
        row = prompt.spec.complete(signature(), format.parse(prompt, Response(reply)).values)
        assert row.result == one.value, (name, reply)


def reads_json(one: Typed, indent: int | None, ascii: bool) -> None:
    """Assert that JSON is read as it stands, and in a fence."""
    assume(one.type is not str)  # a text alone is kept as it is, quotes and all
    value = as_json(one)
    text = json.dumps(value, indent=indent, ensure_ascii=ascii)
    assert parse(text, one.type) == one.value
    if isinstance(value, dict | list) and value and get_origin(one.type) is not Union:  # which may be the whole text
        assert parse(f"Here it is:\n```json\n{text}\n```\n", one.type) == one.value


def grows(one: Typed, cut: float, ascii: bool) -> None:
    """Assert that the beginning of a reply, its share `cut`, shows nothing that its end does not go on with."""
    assume(one.type is not str and get_origin(one.type) is not Union)  # of which the beginning may mean another option
    value = as_json(one)
    text = json.dumps(value, ensure_ascii=ascii)
    try:
        found = parse_partial(text[: round(cut * len(text))], one.type)
    except ParseError:
        return
    adapter = TypeAdapter(type(found) if isinstance(found, BaseModel) else one.type)
    shown = adapter.dump_python(found, mode="json", warnings=False, exclude_defaults=True)
    assert _goes_on(shown, value), (text, found)


def _goes_on(begun: Any, whole: Any) -> bool:
    if isinstance(begun, str) and isinstance(whole, str):
        return whole.startswith(begun)
    if isinstance(begun, list) and isinstance(whole, list):
        return len(begun) <= len(whole) and all(map(_goes_on, begun, whole))
    if isinstance(begun, dict) and isinstance(whole, dict):
        return all(key in whole and _goes_on(one, whole[key]) for key, one in begun.items())
    return bool(begun == whole)


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


def any_text(text: str, type: Any) -> None:
    """Assert that a text is a value of the type or a `ParseError`, and so is each reading of its beginning."""
    with contextlib.suppress(ParseError):
        parse_partial(text, type)
    with contextlib.suppress(ParseError):
        TypeAdapter(type).validate_python(parse(text, type))
