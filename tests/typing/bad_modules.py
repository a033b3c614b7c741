"""Planted mistakes around modules; each marked line must be reported by pyright and by mypy, no other."""

from __future__ import annotations

import declm as dm


class QA(dm.Signature):
    question: str
    answer: str = dm.Output()


class Hops(dm.Module):
    def __init__(self) -> None:
        self.answer = dm.Predict(QA)

    def forward(self, question: str, limit: int = 3) -> QA:
        return self.answer(question=question)


class Slow(dm.Module):
    async def forward(self, question: str) -> str:
        return question


class Wrong(dm.Module):
    def __init__(self) -> None:
        self.answer = dm.Predict(QA)

    def forward(self, question: str) -> str:
        return self.answer(question=question)  # expect: row returned where a text is declared


class Empty(dm.Module):
    pass


hops, slow = Hops(), Slow()

hops()  # expect: missing argument
hops(query="q")  # expect: unknown argument
hops(question=3)  # expect: mistyped argument
hops("q", "3")  # expect: mistyped positional argument
hops("q").titles  # expect: attribute that the result lacks
hops.run("q").answer  # expect: output read from the prediction
hops.run(limit=3)  # expect: missing argument of run
hops.load("hops.json").answers  # expect: misspelled attribute of a loaded program
Empty()(question="q")  # expect: module without forward
slow(question="q").upper()  # expect: attribute of a coroutine, the await is missing
slow.run(question="q").value.answer  # expect: attribute that a text lacks


async def asynchronous() -> None:
    (await slow(question=3)).upper()  # expect: mistyped argument of an async module
    await hops("q")  # expect: await of a plain module
    (await hops.acall("q")).upper()  # expect: method that the result lacks
    (await slow.acall("q")).answer  # expect: attribute that a text lacks
