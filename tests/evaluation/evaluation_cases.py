"""What the evaluation tests run: one signature, its rows, and LMs that answer by rule."""

from __future__ import annotations

import json
import re

import declm as dm
from declm.evaluation import Ledger
from declm.evaluation.stores import SQLiteStore
from declm.messages import Request
from declm.testing import FunctionLM


class QA(dm.Signature):
    """Answer with one number."""

    question: str
    answer: str = dm.Output()


def rows(n: int) -> list[QA]:
    """Rows whose answer is the number in the question."""
    return [QA(question=f"number {i}", answer=str(i)) for i in range(n)]


def number_in(request: Request) -> int:
    """The number that a request asks for."""
    found = re.findall(r"number (\d+)", request.messages[-1].content)
    return int(found[-1])


def echo(request: Request) -> str:
    """The right answer."""
    return json.dumps({"answer": str(number_in(request))})


def right() -> FunctionLM:
    """An LM that knows every answer."""
    return FunctionLM(echo)


def correct(gold: QA, got: QA) -> bool:
    """Whether the answers are equal."""
    return gold.answer == got.answer


def file_of(ledger: Ledger) -> SQLiteStore:
    """Where a ledger keeps things."""
    store = ledger._store
    assert isinstance(store, SQLiteStore)
    return store
