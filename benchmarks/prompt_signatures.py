"""Ten typical signatures with inputs, as plain data that declm and other libraries can both be given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Any, Literal

from pydantic import BaseModel

Fields = Mapping[str, tuple[Any, str]]
"""Type and description by name."""


class Party(BaseModel):
    """A party to a contract."""

    name: str
    role: Literal["buyer", "seller", "agent"]


class Item(BaseModel):
    """A line of an invoice."""

    description: str
    quantity: int
    price: float


class Address(BaseModel):
    """A postal address."""

    street: str
    city: str
    postcode: str
    country: str | None = None


class Invoice(BaseModel):
    """An invoice."""

    number: str
    issued: date
    items: list[Item]
    bill_to: Address
    total: float


class Priority(Enum):
    """How urgent a ticket is."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


@dataclass(frozen=True)
class Typical:
    """A signature, and values for its inputs."""

    name: str
    instructions: str
    inputs: Fields
    outputs: Fields
    values: Mapping[str, Any]


SIGNATURES = (
    Typical(
        "Sentiment",
        "Judge the tone of a review.",
        {"review": (str, "what the customer wrote")},
        {"sentiment": (Literal["positive", "neutral", "negative"], "")},
        {"review": "The room was clean, but breakfast was cold."},
    ),
    Typical(
        "Answer",
        "Answer the question from the context.",
        {"context": (list[str], "passages"), "question": (str, "")},
        {"answer": (str, "a few words")},
        {"context": ["Paris is the capital of France.", "Lyon lies on the Rhone."], "question": "What is the capital?"},
    ),
    Typical(
        "Triage",
        "Route a support ticket to the team that can fix it.",
        {"ticket": (str, "the customer's own words")},
        {
            "team": (Literal["billing", "bugs", "sales"], "who should answer"),
            "priority": (Priority, "how urgent it is"),
        },
        {"ticket": "I was charged twice this month."},
    ),
    Typical(
        "Summary",
        "Summarize the article for a busy reader.",
        {"article": (str, "")},
        {"title": (str, "at most eight words"), "points": (list[str], "three key points")},
        {"article": "The council has voted to close the old bridge for repairs until spring."},
    ),
    Typical(
        "Entities",
        "Extract the parties to the contract.",
        {"contract": (str, "")},
        {"parties": (list[Party], "all parties"), "signed": (date, "date of signature")},
        {"contract": "This agreement between Ann Lee (seller) and Bo Ito (buyer) was signed on 3 May 2024."},
    ),
    Typical(
        "InvoiceReader",
        "Read the invoice.",
        {"text": (str, "text of a scanned page")},
        {"invoice": (Invoice, "")},
        {"text": "Invoice 17 of 2 June 2024 to Mo Day, 4 High St, York: 2 lamps at 30.00. Total 60.00."},
    ),
    Typical(
        "Grade",
        "Grade a student's answer against the model answer.",
        {"question": (str, ""), "model_answer": (str, ""), "answer": (str, "the student's")},
        {"score": (int, "0 to 10"), "passed": (bool, ""), "feedback": (str, "one sentence to the student")},
        {"question": "Why is the sky blue?", "model_answer": "Rayleigh scattering.", "answer": "The sea reflects."},
    ),
    Typical(
        "Query",
        "Write a SQL query that answers the question.",
        {"tables": (dict[str, list[str]], "columns by table"), "question": (str, "")},
        {"sql": (str, "one SQLite statement")},
        {"tables": {"city": ["name", "country", "population"]}, "question": "Which city has the most people?"},
    ),
    Typical(
        "Claim",
        "Check the claim against the evidence.",
        {"claim": (str, ""), "evidence": (list[str], "")},
        {
            "verdict": (Literal["supported", "refuted", "not enough evidence"], ""),
            "confidence": (float, "between 0 and 1"),
            "sentences": (list[int], "numbers of the sentences that decide"),
        },
        {"claim": "Bats are blind.", "evidence": ["All bats can see.", "Many hunt by echo."]},
    ),
    Typical(
        "Meeting",
        "Find out when and where the meeting takes place.",
        {"mail": (str, "")},
        {"day": (date | None, ""), "place": (Address | None, ""), "people": (list[str], "who is invited")},
        {"mail": "Let us meet on 4 July at 12 Mill Lane, Bath. Sue and Raj will come."},
    ),
)
