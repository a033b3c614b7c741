"""Planted mistakes in signatures; each marked line must be reported by pyright and by mypy, no other."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

import declm as dm

T = TypeVar("T")


class Triage(dm.Signature):
    ticket: str = dm.Input("the customer's own words")
    language: str = dm.Input(default="en")
    team: Literal["billing", "bugs"] = dm.Output()
    urgency: int = dm.Output("1 can wait", ge="low")  # expect: constraint of the wrong type
    reason: str = dm.Output(max_len=3)  # expect: unknown constraint


class Box(dm.Signature, Generic[T]):
    text: str
    value: T = dm.Output()


Triage()  # expect: missing input
Triage(tickt="t")  # expect: misspelled input
Triage(ticket=3)  # expect: mistyped input
Triage("t")  # expect: input by position
Triage(ticket="t", team="sales")  # expect: label outside of the closed set

row = Triage(ticket="t")
row.tickt  # expect: misspelled attribute
row.team == "sales"  # expect: comparison that is never true
row.urgency.upper()  # expect: method of another type
number: int = row.ticket  # expect: text assigned to a number
Box[int](text="t").value.upper()  # expect: generic parameter used as another type
dm.spec(Triage).instruction  # expect: misspelled attribute of a spec
dm.spec("question -> answer")  # expect: text where a class belongs
