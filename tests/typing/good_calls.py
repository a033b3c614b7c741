"""Calls of predictors: keywords come from the signature, results are its class."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from typing_extensions import assert_type

import declm as dm

T = TypeVar("T")


class Triage(dm.Signature):
    ticket: str
    language: str = "en"
    team: Literal["billing", "bugs"] = dm.Output()


class Box(dm.Signature, Generic[T]):
    text: str
    value: T = dm.Output()


class Awkward(dm.Signature):
    """Fields may be called what the package's own methods and parameters are called."""

    self: str
    inputs: str
    args: str
    lm: str
    format: str
    state: str = dm.Output()


triage = dm.Predict(Triage)
think = dm.ChainOfThought(Triage, lm="openai/gpt-5-mini", format="json", retries=1)

assert_type(triage(ticket="t"), Triage)
assert_type(triage(ticket="t", language="de").team, Literal["billing", "bugs"])
assert_type(think(ticket="t"), Triage)

run = think.run(ticket="t")
assert_type(run, dm.Prediction[Triage])
assert_type(run.value.team, Literal["billing", "bugs"])
assert_type(run.reasoning, str | None)
assert_type(run.usage, dm.Usage)
assert_type(run.usage.usd, float)

assert_type(dm.Predict(Box[int])(text="t").value, int)
assert_type(dm.Predict(Awkward)(self="s", inputs="i", args="a", lm="l", format="f").state, str)
assert_type(triage.map([Triage(ticket="t"), {"ticket": "u"}]), list[Triage])
assert_type(triage.with_instructions("Be quick.")(ticket="t"), Triage)
assert_type(triage.with_demos([Triage(ticket="t", team="bugs")])(ticket="t"), Triage)
assert_type(triage.load("triage.json")(ticket="t"), Triage)
assert_type(triage.with_state(triage.state)(ticket="t"), Triage)

# Shorthand has no types to offer.
assert_type(dm.Predict("question -> answer: int")(question="q"), Any)
assert_type(dm.ChainOfThought("question -> answer")(question="q"), Any)


@dm.predict
def sentiment(text: str, *, strict: bool = False) -> Literal["good", "bad"]:
    """Judge the tone of `text`."""
    return dm.fill()


assert_type(sentiment("lovely"), Literal["good", "bad"])
assert_type(sentiment(text="lovely", strict=True), Literal["good", "bad"])
assert_type(sentiment.run("lovely").value, Literal["good", "bad"])


async def asynchronous() -> None:
    assert_type(await triage.acall(ticket="t"), Triage)
    assert_type(await triage.arun(ticket="t"), dm.Prediction[Triage])
    assert_type((await think.arun(ticket="t")).value.team, Literal["billing", "bugs"])
    assert_type(await sentiment.acall("lovely"), Literal["good", "bad"])


class Order(dm.Signature):
    text: str
    count: int = dm.Output()


assert_type(dm.parse("4", int), int)
assert_type(dm.parse("4", int, report=True), dm.Parsed[int])
assert_type(dm.parse("4", int, report=True).value, int)
assert_type(dm.parse_partial("{", Order), Order)

for order in dm.Predict(Order).stream(text="t"):
    assert_type(order, Order)


async def streamed() -> int:
    async for row in dm.Predict(Order).astream(text="t"):
        assert_type(row, Order)
    return 0
