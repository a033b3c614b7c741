"""Evaluation and search: rows and metric fit together, results keep the program's type."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import assert_type

import declm as dm


class QA(dm.Signature):
    question: str
    answer: str = dm.Output()


class Gold(QA):
    titles: list[str] = dm.Note()


class Solver(dm.Module):
    def __init__(self) -> None:
        self.answer = dm.Predict(QA)

    def forward(self, question: str) -> QA:
        return self.answer(question=question)


def correct(gold: QA, got: QA) -> float:
    return dm.metrics.f1(gold.answer, got.answer)


def graded(gold: Gold, got: QA) -> dm.Score:
    return dm.Score(float(got.answer in gold.titles), feedback="look at the titles")


async def judged(gold: QA, got: QA) -> bool:
    return gold.answer == got.answer


def traced(gold: QA, got: QA, run: dm.Prediction[QA]) -> bool:
    return run.usage.calls < 3 and gold.answer == got.answer


def plain(question: str) -> str:
    return question


async def plain_async(question: str) -> str:
    return question


def longest(gold: QA, got: str) -> bool:
    return len(got) > len(gold.answer)


rows = dm.data.read(QA, Path("train.jsonl"))
assert_type(rows, list[QA])
gold = dm.data.read(Gold, [{"question": "q"}])
assert_type(gold, list[Gold])

solver = Solver()
report = dm.evaluate(solver, rows, correct)
assert_type(report, dm.Report[QA, QA])
assert_type(report.score, float)
assert_type(dm.evaluate(dm.Predict(QA), rows, correct), dm.Report[QA, QA])
assert_type(dm.evaluate(solver, gold, graded), dm.Report[Gold, QA])
assert_type(dm.evaluate(solver, gold, correct), dm.Report[Gold, QA])  # a metric of the base class fits
assert_type(dm.evaluate(solver, rows, judged), dm.Report[QA, QA])
assert_type(dm.evaluate(solver, rows, traced), dm.Report[QA, QA])
assert_type(dm.evaluate(plain, rows, longest), dm.Report[QA, str])
assert_type(dm.evaluate(plain_async, rows, longest), dm.Report[QA, str])
assert_type(dm.evaluate(plain, rows, lambda gold, got: len(got) > len(gold.answer)), dm.Report[QA, str])
assert_type(dm.evaluate(plain_async, rows, lambda gold, got: len(got) > len(gold.answer)), dm.Report[QA, str])
assert_type(dm.evaluate(plain, rows, lambda gold, got, run: run.value == got), dm.Report[QA, str])
assert_type(dm.evaluate(solver, gold, dm.metrics.matches("answer")), dm.Report[Gold, QA])
assert_type(report.rows[0].score, float | None)
assert_type(dm.data.split(rows, 0.8, ...), tuple[list[QA], ...])

best = dm.optimize(solver, train=rows, val=rows, metric=correct, budget=dm.Budget(calls=100, usd=1.0))
assert_type(best, dm.Optimized[Solver])
assert_type(best.program, Solver)
assert_type(best.program(question="q"), QA)
assert_type(best.score, float)
assert_type(dm.optimize(dm.Predict(QA), train=rows, metric=correct).program(question="q"), QA)


async def asynchronous() -> None:
    assert_type(await dm.aevaluate(solver, rows, correct), dm.Report[QA, QA])
    assert_type((await dm.aoptimize(solver, train=rows, metric=correct)).program, Solver)


with dm.context(lm="local/smollm2", budget=dm.Budget(calls=10)):
    solver(question="q")
dm.configure(lm=dm.LM("openai/gpt-5-mini", temperature=0.0))
