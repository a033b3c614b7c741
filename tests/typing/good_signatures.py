"""Signatures that type checkers must accept, with the types that they must see."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field
from typing_extensions import assert_type

import declm as dm

T = TypeVar("T")


class Person(BaseModel):
    name: str
    age: int | None = None


class Triage(dm.Signature):
    """Route a support ticket."""

    ticket: str = dm.Input("the customer's own words")
    language: str = dm.Input(default="en")
    tags: list[str] = dm.Input(default_factory=list[str])
    team: Literal["billing", "bugs", "sales"] = dm.Output("who should answer")
    urgency: int = dm.Output("1 can wait", ge=1, le=5)
    people: list[Person] = dm.Output()


class Bare(dm.Signature):
    text: str
    limit: int = 3
    strict: bool = Field(default=False)
    label: str = dm.Output()


class Gold(Triage):
    origin: str = dm.Note("where the row comes from")


class Box(dm.Signature, Generic[T]):
    text: str
    value: T = dm.Output()


class Renamed(dm.Signature):
    schema_: str = dm.Input(alias="schema")
    answer: str = dm.Output()


# A request: inputs alone, defaults may be left out.
request = Triage(ticket="I was charged twice")
assert_type(request.team, Literal["billing", "bugs", "sales"])
assert_type(request.urgency, int)
assert_type(request.people[0].age, int | None)
Triage(ticket="t", language="de", tags=["a"])
Bare(text="t", limit=4, strict=True)
Renamed(schema="s")

# A gold row: outputs and notes as well.
Triage(ticket="t", team="bugs", urgency=2, people=[])
assert_type(Gold(ticket="t", team="bugs", origin="web").origin, str)

# Generics keep their parameter.
assert_type(Box[int](text="t").value, int)
assert_type(Box[list[Person]](text="t", value=[]).value, list[Person])

# What is known of a class, and derived classes.
assert_type(dm.spec(Triage).instructions, str)
assert_type(dm.spec(Triage).request({"ticket": "t"}), Triage)
assert_type(dm.spec(Triage).with_instructions("Be quick.")(ticket="t"), Any)
assert_type(dm.define("a -> b")(a="x"), Any)
