"""What is closed, and what strict mode can say."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from declm.lm.schemas import closed, is_strict


class Inner(BaseModel):
    n: int


class Outer(BaseModel):
    inner: Inner
    many: list[Inner]
    free: dict[str, int]


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    n: int


def test_objects_are_closed_at_every_depth_and_maps_stay_open() -> None:
    schema = closed(Outer.model_json_schema())
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Inner"]["additionalProperties"] is False
    assert schema["properties"]["free"]["additionalProperties"]["type"] == "integer"


def test_an_object_that_allows_more_keys_stays_open() -> None:
    assert closed(Open.model_json_schema())["additionalProperties"] is True


def test_integers_are_bounded_where_nothing_else_bounds_them() -> None:
    assert closed({"type": "integer"}) == {"type": "integer", "minimum": -(2**53 - 1), "maximum": 2**53 - 1}
    assert closed({"type": "integer", "exclusiveMinimum": 0, "maximum": 5}) == {
        "type": "integer",
        "exclusiveMinimum": 0,
        "maximum": 5,
    }
    assert closed({"type": "integer", "const": 3}) == {"type": "integer", "const": 3}


def test_the_schema_given_is_left_as_it_was() -> None:
    schema = Outer.model_json_schema()
    before = Outer.model_json_schema()
    closed(schema)
    assert schema == before


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (_object(a={"type": "string"}), True),
        (_object(a={"anyOf": [{"type": "integer"}, {"type": "null"}]}), True),
        (_object(a={"type": "array", "items": _object(b={"enum": [1]})}), True),
        (_object(a={"$ref": "#/$defs/X"}) | {"$defs": {"X": _object(b={"const": 1})}}, True),
        (_object(a={"$ref": "#/$defs/X"}) | {"$defs": {"X": {"type": "object"}}}, False),
        (_object(a={"type": "string"}) | {"required": []}, False),
        (_object(a={"type": "string"}) | {"additionalProperties": True}, False),
        (_object(a={"type": "array", "prefixItems": [{"type": "string"}]}), False),
        (_object(a={"type": "array", "items": {"type": "string"}, "uniqueItems": True}), False),
        (_object(a={"type": "object", "additionalProperties": {"type": "integer"}}), False),
        (_object(a={}), False),
        (_object(a={"type": "string", "default": "x"}), False),
    ],
)
def test_strict_mode_takes_closed_objects_with_all_keys_required(schema: dict[str, Any], strict: bool) -> None:
    assert is_strict(schema) is strict
