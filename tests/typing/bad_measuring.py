"""Planted mistakes in measuring and search; each marked line must be reported by pyright and by mypy, no other."""

from __future__ import annotations

import declm as dm


class QA(dm.Signature):
    question: str
    answer: str = dm.Output()


class Other(dm.Signature):
    text: str
    label: str = dm.Output()


class Solver(dm.Module):
    def __init__(self) -> None:
        self.answer = dm.Predict(QA)

    def forward(self, question: str) -> QA:
        return self.answer(question=question)


def correct(gold: QA, got: QA) -> float:
    return float(gold.answer == got.answer)


def texts(gold: str, got: str) -> bool:
    return gold == got


def other(gold: Other, got: QA) -> bool:
    return gold.label == got.answer


def wordy(gold: QA, got: QA) -> str:
    return f"{gold.answer} against {got.answer}"


def misspelled(gold: QA, got: QA) -> bool:
    return gold.answer == got.anwser  # expect: misspelled output in a metric


solver = Solver()
rows = dm.data.read(QA, "train.jsonl")

dm.evaluate(solver, rows, texts)  # expect: metric of other types
dm.evaluate(solver, rows, other)  # expect: metric of other rows
dm.evaluate(solver, rows, wordy)  # expect: metric that returns a text
dm.evaluate(solver, "train.jsonl", correct)  # expect: path where rows belong
dm.evaluate(solver, rows, metrics=correct)  # expect: misspelled parameter
dm.evaluate(solver, rows, correct).scor  # expect: misspelled attribute of a report
dm.evaluate(solver, rows, correct).score.value  # expect: attribute that a number lacks

dm.optimize(solver, train=rows, metric=texts)  # expect: metric of other types
dm.optimize(solver, train=rows)  # expect: missing metric
dm.optimize(solver, rows, metric=correct)  # expect: rows by position
dm.optimize(solver, train=rows, metric=correct, budget=100)  # expect: number where a budget belongs
dm.optimize(solver, train=rows, metric=correct)(question="q")  # expect: the result is not the program
dm.optimize(solver, train=rows, metric=correct).program(text="q")  # expect: unknown argument of the program
dm.optimize(solver, train=rows, metric=correct).best  # expect: misspelled attribute of the result

dm.Budget(dollars=2.0)  # expect: unknown limit
dm.Budget(calls="many")  # expect: mistyped limit
dm.metrics.f1("a", 3)  # expect: number where a text belongs
dm.data.read(QA, 3)  # expect: number where a source belongs
dm.configure(model="local/smollm2")  # expect: unknown setting


async def asynchronous() -> None:
    dm.aevaluate(solver, rows, correct).score  # expect: attribute of a coroutine, the await is missing
