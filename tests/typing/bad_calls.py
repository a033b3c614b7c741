"""Planted mistakes in calls; each marked line must be reported by pyright and by mypy, no other."""

from __future__ import annotations

from typing import Literal

import declm as dm


class Triage(dm.Signature):
    ticket: str
    language: str = "en"
    team: Literal["billing", "bugs"] = dm.Output()


class QA(dm.Signature):
    question: str
    answer: str = dm.Output()


@dm.predict
def sentiment(text: str) -> Literal["good", "bad"]:
    """Judge the tone of `text`."""
    return dm.fill()


triage = dm.Predict(Triage)
think = dm.ChainOfThought(Triage)

triage(tickt="t")  # expect: misspelled input
triage()  # expect: missing input
triage(ticket=["t"])  # expect: mistyped input
triage(ticket="t", lang="de")  # expect: unknown input
triage("t")  # expect: input by position
think(ticket=b"t")  # expect: mistyped input
triage(ticket="t").tema  # expect: misspelled output
triage(ticket="t").reasoning  # expect: reasoning is no output of the class
triage(ticket="t").team == "sales"  # expect: comparison that is never true
answer: QA = triage(ticket="t")  # expect: result of another class

think.run(ticket="t").team  # expect: output read from the prediction, not from its value
think.run(ticket="t").value.answer  # expect: output of another signature
think.run(ticket="t").reasoning.upper()  # expect: reasoning may be None
think.run(tickt="t")  # expect: misspelled input of run
triage.render(tickt="t")  # expect: misspelled input of render

dm.Predict(Triage, retry=3)  # expect: unknown option
dm.Predict(Triage, retries="3")  # expect: mistyped option
dm.Predict(3)  # expect: number where a signature belongs

sentiment(3)  # expect: mistyped argument
sentiment("lovely", "really")  # expect: one argument too many
sentiment("lovely").upper().team  # expect: attribute that a text lacks
sentiment("lovely") == "neutral"  # expect: comparison that is never true


async def asynchronous() -> None:
    triage.acall(ticket="t").team  # expect: attribute of a coroutine, the await is missing
    (await triage.acall(tickt="t")).team  # expect: misspelled input of acall
    (await triage.acall(ticket="t")).tema  # expect: misspelled output of acall
    (await triage.arun(ticket="t")).team  # expect: output read from the prediction
    await triage(ticket="t")  # expect: await of a plain call
