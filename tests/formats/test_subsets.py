"""What each provider is spared of a schema."""

from __future__ import annotations

import datetime
from typing import Any, Literal

import pytest
from prompt_cases import Assembly, Everything, Plain, Triage, prompt
from pydantic import BaseModel

from declm.fields import Output
from declm.formats.schema import is_strict
from declm.formats.subsets import fitted
from declm.messages import SchemaRules
from declm.signature import Signature


class Narrow(Signature):
    text: str
    code: str = Output(pattern="^[a-z]+$", min_length=2, max_length=5)
    count: int = Output(ge=1, lt=5)
    tags: list[str] = Output(min_length=1, max_length=3)
    when: datetime.datetime = Output()
    span: datetime.timedelta = Output()
    one: Literal["x"] = Output()


NARROW: dict[str, Any] = {
    "code": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 5},
    "count": {"type": "integer", "minimum": 1, "exclusiveMaximum": 5},
    "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 3},
    "when": {"type": "string", "format": "date-time"},
    "span": {"type": "string", "format": "duration"},
    "one": {"type": "string", "const": "x"},
}


@pytest.mark.parametrize(
    ("rules", "without"),
    [
        ("all", {}),
        ("openai", {"code": {"minLength", "maxLength"}}),
        (
            "azure",
            {
                "code": {"pattern", "minLength", "maxLength"},
                "count": {"minimum", "exclusiveMaximum"},
                "tags": {"minItems", "maxItems"},
                "when": {"format"},
                "span": {"format"},
            },
        ),
        (
            "anthropic",
            {
                "code": {"minLength", "maxLength"},
                "count": {"minimum", "exclusiveMaximum"},
                "tags": {"minItems", "maxItems"},
            },
        ),
        (
            "gemini",
            {
                "code": {"pattern", "minLength", "maxLength"},
                "count": {"exclusiveMaximum"},
                "span": {"format"},
                "one": {"const"},
            },
        ),
    ],
)
def test_what_a_provider_refuses_is_left_out(rules: SchemaRules, without: dict[str, set[str]]) -> None:
    schema = fitted(prompt(Narrow).schema, rules)
    assert schema is not None
    left = {name: {k: v for k, v in NARROW[name].items() if k not in without.get(name, ())} for name in NARROW}
    if rules == "gemini":
        left["one"]["enum"] = ["x"]
    assert schema["properties"] == left
    assert schema["required"] == list(NARROW)
    assert schema["additionalProperties"] is False
    assert is_strict(schema)


@pytest.mark.parametrize("rules", ["all", "openai", "azure", "anthropic", "gemini"])
def test_what_everybody_takes_stays(rules: SchemaRules) -> None:
    assert fitted(prompt(Plain).schema, rules) == prompt(Plain).schema


def test_a_type_that_holds_itself_is_no_type_for_anthropic() -> None:
    assert fitted(prompt(Assembly).schema, "anthropic") is None
    schema = fitted(prompt(Assembly).schema, "openai")
    assert schema is not None
    assert schema["$defs"] == prompt(Assembly).schema["$defs"]


def test_gemini_wants_members_optional_through_which_a_type_holds_itself() -> None:
    schema = fitted(prompt(Assembly).schema, "gemini")
    assert schema is not None
    assert schema["required"] == ["root", "colour", "code", "price"]
    assert schema["$defs"]["Part"]["required"] == ["name", "count"]


class Left(BaseModel):
    name: str
    right: Right | None = None


class Right(BaseModel):
    name: str
    left: Left


def test_a_cycle_through_several_types_is_found() -> None:
    class Mutual(Signature):
        text: str
        pair: Left = Output()

    assert fitted(prompt(Mutual).schema, "anthropic") is None
    schema = fitted(prompt(Mutual).schema, "gemini")
    assert schema is not None
    assert {name: part["required"] for name, part in schema["$defs"].items()} == {"Left": ["name"], "Right": ["name"]}


@pytest.mark.parametrize("type", [dict[str, int], tuple[int, str], Any, dict[str, Any]])
def test_open_types_are_no_types_for_anthropic(type: Any) -> None:
    class Open(Signature):
        text: str
        value: type = Output()  # type: ignore[valid-type]

    assert fitted(prompt(Open).schema, "anthropic") is None
    assert fitted(prompt(Open).schema, "openai") is not None


def test_members_that_are_called_like_keywords_stay() -> None:
    class Words(BaseModel):
        format: str
        pattern: int
        minimum: list[int]

    class Keywords(Signature):
        text: str
        minLength: Words = Output()  # noqa: N815  # the keyword's own spelling

    schema = fitted(prompt(Keywords).schema, "azure")
    assert schema is not None
    assert list(schema["properties"]) == ["minLength"]
    assert list(schema["properties"]["minLength"]["properties"]) == ["format", "pattern", "minimum"]


def test_the_schema_itself_is_not_changed() -> None:
    before = repr(prompt(Everything).schema)
    shown = prompt(Everything)
    for rules in ("openai", "azure", "anthropic", "gemini"):
        fitted(shown.schema, rules)  # type: ignore[arg-type]  # the loop widens the literals
    assert repr(shown.schema) == before
    assert fitted(prompt(Triage).schema, "all") is not None
