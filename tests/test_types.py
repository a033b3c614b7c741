"""`sketch`: JSON schemas as one-line type expressions."""

from __future__ import annotations

import datetime as dt
import enum
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter

from declm.types import closed_values, sketch


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Kid(BaseModel):
    name: str = Field(description="the name")
    age: int | None = None


class Wordy(BaseModel):
    name: str = Field(description="first\n  second")


class Node(BaseModel):
    value: int
    left: Node | None = None
    right: Node | None = None


class Even(BaseModel):
    odd: Odd | None = None


class Odd(BaseModel):
    even: Even | None = None


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


def text(annotation: Any) -> str:
    return sketch(TypeAdapter(annotation).json_schema()).text


@pytest.mark.parametrize(
    ("annotation", "written"),
    [
        (str, "string"),
        (int, "integer"),
        (float, "number"),
        (bool, "boolean"),
        (Decimal, "number | string"),
        (None, "null"),
        (Any, "any"),
        (Literal["a", "b"], '"a" | "b"'),
        (Literal["only"], '"only"'),
        (Literal[1, True], "1 | true"),
        (Literal['with "quotes" and ünï'], '"with \\"quotes\\" and ünï"'),
        (Colour, '"red" | "blue"'),
        (int | None, "integer | null"),
        (list[str], "string[]"),
        (list[int | None], "(integer | null)[]"),
        (list[list[int]], "integer[][]"),
        (list[Literal["a", "b"]], '("a" | "b")[]'),
        (set[int], "integer[] (distinct)"),
        (tuple[int, str], "[integer, string]"),
        (tuple[int, ...], "integer[]"),
        (dict[str, int], "{[key]: integer}"),
        (dict[str, Any], "{}"),
        (dict[Literal["a", "b"], int], '{["a" | "b"]: integer}'),
        (dt.date, "date (YYYY-MM-DD)"),
        (dt.datetime, "date-time (ISO 8601)"),
        (dt.time, "time (HH:MM:SS)"),
        (Annotated[int, Field(ge=1, le=5)], "integer (1 to 5)"),
        (Annotated[int, Field(ge=3, le=3)], "integer (3)"),
        (Annotated[int, Field(ge=0)], "integer (>= 0)"),
        (Annotated[float, Field(gt=0, lt=1)], "number (> 0, < 1)"),
        (Annotated[int, Field(multiple_of=5)], "integer (multiple of 5)"),
        (Annotated[str, Field(min_length=2, max_length=9)], "string (2 to 9 characters)"),
        (Annotated[str, Field(pattern="^[a-z]+$")], "string (/^[a-z]+$/)"),
        (Annotated[list[str], Field(min_length=1, max_length=3)], "string[] (1 to 3 items)"),
        (list[Annotated[int, Field(ge=1)]], "(integer (>= 1))[]"),
        (Kid, '{"name": string /* the name */, "age"?: integer | null}'),
        (Wordy, '{"name": string /* first second */}'),
        (list[Kid], '{"name": string /* the name */, "age"?: integer | null}[]'),
        (Annotated[Cat | Dog, Field(discriminator="kind")], '{"kind": "cat"} | {"kind": "dog"}'),
    ],
)
def test_types_are_written_compactly(annotation: Any, written: str) -> None:
    assert text(annotation) == written


def test_a_recursive_type_is_named_and_defined_once() -> None:
    found = sketch(TypeAdapter(list[Node]).json_schema())
    assert found.text == "Node[]"
    assert found.definitions == {"Node": '{"value": integer, "left"?: Node | null, "right"?: Node | null}'}


def test_types_that_refer_to_each_other_end() -> None:
    found = sketch(TypeAdapter(Even).json_schema())
    assert found.text == "Even"
    assert found.definitions == {"Even": '{"odd"?: {"even"?: Even | null} | null}'}
    both = sketch(TypeAdapter(tuple[Even, Odd]).json_schema())
    assert set(both.definitions) <= {"Even", "Odd"}
    assert all(name in both.text for name in both.definitions)


def test_a_type_used_twice_is_written_twice_unless_it_is_recursive() -> None:
    assert text(tuple[Cat, Cat]) == '[{"kind": "cat"}, {"kind": "cat"}]'


def test_a_union_of_equal_sketches_is_written_once() -> None:
    assert sketch({"anyOf": [{"type": "string"}, {"type": "string", "title": "Other"}]}).text == "string"


def test_several_types_in_one_schema_are_a_union() -> None:
    assert sketch({"type": ["string", "null"]}).text == "string | null"


def test_closed_values_knows_enums_and_booleans_and_nothing_else() -> None:
    assert closed_values({"enum": ["a", "b"]}) == {"a": "a", "b": "b"}
    assert closed_values({"type": "boolean"}) == {"true": True, "false": False}
    assert closed_values({"$ref": "#/$defs/E", "$defs": {"E": {"enum": [1, 2]}}}) == {"1": 1, "2": 2}
    assert closed_values({"type": "string"}) is None
    assert closed_values({"enum": ["only"]}) is None


SCHEMAS = st.recursive(
    st.sampled_from([{"type": "string"}, {"type": "integer"}, {"enum": ["a", 1]}, {"const": None}, {}]),
    lambda inner: st.one_of(
        inner.map(lambda s: {"type": "array", "items": s}),
        st.lists(inner, min_size=1, max_size=3).map(lambda s: {"anyOf": s}),
        st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3).map(
            lambda p: {"type": "object", "properties": p}
        ),
    ),
    max_leaves=10,
)


@given(SCHEMAS)
def test_any_schema_becomes_one_line_with_balanced_brackets(schema: dict[str, Any]) -> None:
    written = sketch(schema).text
    assert written
    assert "\n" not in written
    for opening, closing in ("[]", "{}", "()"):
        assert written.count(opening) == written.count(closing)
