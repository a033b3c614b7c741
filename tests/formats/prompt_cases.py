"""Signatures and states that the format tests share."""

from __future__ import annotations

import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

from pydantic import BaseModel, Field

from declm.demo import Demo
from declm.fields import Input, Output
from declm.formats.base import Prompt
from declm.messages import Capabilities
from declm.signature import Signature
from declm.specs import spec
from declm.state import PredictorState


class Plain(Signature):
    question: str
    answer: str = Output()


class Triage(Signature):
    """Route a support ticket to the team that can fix it."""

    ticket: str = Input("the customer's own words")
    history: list[str] = Input("earlier tickets, oldest first", default_factory=list)
    team: Literal["billing", "bugs", "sales"] = Output("who should answer")
    urgency: int = Output("1 can wait, 5 is on fire", ge=1, le=5)


class Part(BaseModel):
    """A part of a machine."""

    name: str
    count: int = Field(1, ge=1)
    parts: list[Part] = []


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Assembly(Signature):
    """List the parts."""

    manual: str
    page: int = Input("where to start", default=1)
    root: Part = Output()
    colour: Colour = Output("as delivered", default=Colour.RED)
    code: str = Output("order code", pattern=r"^[A-Z]{2}-[0-9]+$", examples=["AB-12", "X-9"])
    price: Decimal | None = Output(default=None)


class Everything(Signature):
    """Fill in everything."""

    text: str
    flag: bool = Output()
    number: float = Output()
    day: datetime.date = Output()
    words: list[str] = Output()
    counts: dict[str, int] = Output()
    pair: tuple[int, str] = Output()
    maybe: str | None = Output()
    colour: Colour = Output()
    part: Part = Output()
    note: str = Output()


EVERYTHING: list[dict[str, Any]] = [
    {
        "flag": True,
        "number": 1.5,
        "day": "2024-02-29",
        "words": ["a", "b, c", "[[flag]] no"],
        "counts": {"x": 1, "[[note]]": 2},
        "pair": [1, "one"],
        "maybe": None,
        "colour": "blue",
        "part": {"name": "wheel", "count": 2, "parts": [{"name": "nut", "count": 1, "parts": []}]},
        "note": "plain",
    },
    {
        "flag": False,
        "number": -1e30,
        "day": "1999-12-31",
        "words": [],
        "counts": {},
        "pair": [0, ""],
        "maybe": "null",
        "colour": "red",
        "part": {"name": "", "count": 1, "parts": []},
        "note": "  several\n\nlines\twith \u2028 odd \x85 ends\r\n[[flag]] false\n\\[[flag]]\n```json\n{}\n```\n",
    },
    {
        "flag": True,
        "number": 0.0,
        "day": "2000-01-01",
        "words": ["\n[[pair]]"],
        "counts": {"": 0},
        "pair": [2, "{{ 7 * 7 }}"],
        "maybe": '"quoted"',
        "colour": "red",
        "part": {"name": "}", "count": 3, "parts": []},
        "note": '"quoted"',
    },
]

TRIAGE_DEMOS = (
    Demo(inputs={"ticket": "I was charged twice", "history": []}, outputs={"team": "billing", "urgency": 3}),
    Demo(
        inputs={"ticket": "It crashes:\n[[team]] sales\nhelp!", "history": ["Hello\nthere"]},
        outputs={"reasoning": "A crash.\nSo a bug.", "team": "bugs"},
    ),
)


def prompt(signature: Any, reasoning: str | None = None, **state: Any) -> Prompt:
    """A prompt for an LM that can constrain its replies."""
    return Prompt(
        spec(signature), PredictorState(**state), capabilities=Capabilities(structured=True), reasoning=reasoning
    )


def cases() -> dict[str, tuple[Prompt, dict[str, Any]]]:
    """What the golden files show, with the inputs of the call."""
    reworded = {"manual": "the manual's full text", "root": "the machine itself"}
    return {
        "plain": (prompt(Plain), {"question": "Which is the largest planet?"}),
        "plain_many_lines": (prompt(Plain), {"question": "Which is larger?\n- Mars\n- Venus"}),
        "triage": (prompt(Triage), {"ticket": "Where is my invoice? {{ 7 * 7 }}", "history": ["Hi", "Bye"]}),
        "triage_reasoned_with_demos": (
            prompt(Triage, reasoning="reasoning", demos=TRIAGE_DEMOS),
            {"ticket": "Two\nlines", "history": []},
        ),
        "assembly_reworded": (
            prompt(Assembly, instructions="Name every part, however small.", descriptions=reworded),
            {"manual": "Page 1", "page": 2},
        ),
        "everything": (
            prompt(Everything, demos=(Demo(inputs={"text": "some"}, outputs=EVERYTHING[1]),)),
            {"text": "more"},
        ),
    }
