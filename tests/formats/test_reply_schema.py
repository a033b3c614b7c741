"""The schema that constrains a reply."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from prompt_cases import Assembly, Everything, Plain, Triage, prompt
from pydantic import BaseModel, Field

from declm.fields import Output
from declm.formats.schema import is_strict, is_text, object_schema
from declm.signature import Signature


def test_an_object_of_all_outputs_in_order_and_closed() -> None:
    assert prompt(Triage, reasoning="why").schema == {
        "type": "object",
        "properties": {
            "why": {"type": "string"},
            "team": {"type": "string", "enum": ["billing", "bugs", "sales"]},
            "urgency": {"type": "integer", "minimum": 1, "maximum": 5},
        },
        "required": ["why", "team", "urgency"],
        "additionalProperties": False,
    }


def test_definitions_are_hoisted_and_closed() -> None:
    schema = prompt(Assembly).schema
    assert schema["properties"]["root"] == {"$ref": "#/$defs/Part"}
    assert schema["required"] == ["root", "colour", "code", "price"]
    assert schema["$defs"]["Part"] == {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "count": {"type": "integer", "minimum": 1},
            "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}},
        },
        "required": ["name", "count", "parts"],
        "additionalProperties": False,
    }


def test_two_classes_of_one_name_stay_apart() -> None:
    def make(kind: Any) -> Any:
        class Item(BaseModel):
            value: kind  # pyright: ignore[reportInvalidTypeForm]  # the class is made for a type
            more: list[Item] = []

        Item.model_rebuild(_types_namespace={"Item": Item, "kind": kind})
        return Item

    class Both(Signature):
        text: str
        first: make(int) = Output()  # type: ignore[valid-type]
        second: make(str) = Output()  # type: ignore[valid-type]
        third: make(int) = Output()  # type: ignore[valid-type]

    schema = prompt(Both).schema
    first, second, third = (
        schema["properties"][key]["$ref"].rsplit("/", 1)[-1] for key in ("first", "second", "third")
    )
    assert first == third != second
    assert schema["$defs"][first]["properties"]["value"] == {"type": "integer"}
    assert schema["$defs"][second]["properties"]["value"] == {"type": "string"}
    assert schema["$defs"][second]["properties"]["more"]["items"] == {"$ref": f"#/$defs/{second}"}


def test_fields_called_like_keywords_are_kept() -> None:
    class Tricky(BaseModel):
        title: str = Field(description="kept as a member")
        default: int
        description: str

    class Names(Signature):
        text: str
        out: Tricky = Output()

    member = (
        prompt(Names).schema["$defs"]["Tricky"]
        if "$defs" in prompt(Names).schema
        else prompt(Names).schema["properties"]["out"]
    )
    assert member["properties"] == {
        "title": {"type": "string"},
        "default": {"type": "integer"},
        "description": {"type": "string"},
    }


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        (r"^[A-Z]{2}-[0-9]+$", True),
        (r"^a|b$", True),
        (r"\d+", False),
        (r"^\d+$", False),
        (r"^(?!x)y$", False),
        (r"^$", True),
    ],
)
def test_patterns_are_kept_where_every_engine_takes_them(pattern: str, kept: bool) -> None:
    schema = object_schema({"code": {"type": "string", "pattern": pattern}})
    assert ("pattern" in schema["properties"]["code"]) is kept


def test_unions_with_a_discriminator_become_plain_unions() -> None:
    schema = object_schema(
        {"a": {"oneOf": [{"type": "string"}, {"type": "null"}], "discriminator": {"propertyName": "k"}}}
    )
    assert schema["properties"]["a"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}


def test_strict_mode_takes_closed_schemas_only() -> None:
    assert is_strict(prompt(Triage).schema)
    assert is_strict(prompt(Plain).schema)
    assert is_strict(prompt(Assembly).schema)
    assert not is_strict(prompt(Everything).schema)
    assert not is_strict(object_schema({"anything": {}}))
    assert not is_strict(object_schema({"map": {"type": "object"}}))
    assert not is_strict(object_schema({"maps": {"type": "array", "items": {"type": "object"}}}))


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, True),
        (Literal["a", "b"], True),
        (int, False),
        (str | None, False),
        (Literal["a", 1], False),
        (list[str], False),
    ],
)
def test_text_fields_are_told_by_their_schema(annotation: Any, expected: bool) -> None:
    class One(Signature):
        text: str
        out: annotation = Output()  # pyright: ignore[reportInvalidTypeForm]  # one class per type

    assert is_text(prompt(One).spec.outputs["out"].schema) is expected
