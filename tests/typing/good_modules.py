"""Modules are called as their `forward` says, plain and async."""

from __future__ import annotations

from typing_extensions import assert_type

import declm as dm


class Query(dm.Signature):
    question: str
    query: str = dm.Output()


class QA(dm.Signature):
    question: str
    notes: list[str]
    answer: str = dm.Output()


class Hops(dm.Module):
    def __init__(self, *, hops: int = 2) -> None:
        self.hops = hops
        self.ask = dm.Predict(Query)
        self.answer = dm.ChainOfThought(QA)

    def forward(self, question: str, limit: int = 3) -> QA:
        notes = [self.ask(question=question).query for _ in range(self.hops)]
        return self.answer(question=question, notes=notes[:limit])


class Slow(dm.Module):
    def __init__(self) -> None:
        self.hops = Hops()

    async def forward(self, question: str) -> str:
        return (await self.hops.acall(question)).answer


class Outer(dm.Module):
    def __init__(self, parts: list[Hops]) -> None:
        self.parts = parts

    def forward(self, question: str) -> list[QA]:
        return [part(question=question) for part in self.parts]


hops, slow = Hops(hops=3), Slow()

assert_type(hops("q"), QA)
assert_type(hops(question="q", limit=2), QA)
assert_type(hops.run(question="q"), dm.Prediction[QA])
assert_type(hops.run("q").value.answer, str)
assert_type(Outer([hops])(question="q"), list[QA])
assert_type(hops.map([{"question": "q"}]), list[QA])
assert_type(slow.map([{"question": "q"}]), list[str])
assert_type(hops.load("hops.json"), Hops)
assert_type(hops.with_state(hops.state).hops, int)
assert_type(hops.state, dm.ProgramState)

# An async module runs from plain code as well.
assert_type(slow.run(question="q"), dm.Prediction[str])


async def asynchronous() -> None:
    assert_type(await slow(question="q"), str)
    assert_type(await slow.acall("q"), str)
    assert_type(await slow.arun(question="q"), dm.Prediction[str])
    assert_type(await hops.acall(question="q"), QA)
    assert_type((await hops.arun("q")).value, QA)
