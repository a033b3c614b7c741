"""`Runner`, as searches use it: many candidate states at once over one program."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from evaluation_cases import QA, correct, number_in, right, rows

import declm as dm
from declm.evaluation import Ledger, RowResult, Runner
from declm.messages import Request
from declm.testing import FunctionLM


def obeys(request: Request) -> str:
    """An LM that answers with the last word of its instructions."""
    instructions = request.messages[0].content.splitlines()[0]
    return json.dumps({"answer": instructions.split()[-1].rstrip(".")})


def told(ask: dm.Predict[..., Any], word: str) -> dm.ProgramState:
    return ask.with_instructions(f"Say {word}").state


class TwoSteps(dm.Module):
    def __init__(self, lm: Any) -> None:
        self.first = dm.Predict(QA, lm=lm)
        self.second = dm.Predict(QA, lm=lm)

    def forward(self, question: str) -> str:
        return self.first(question=question).answer + self.second(question=question).answer


async def test_candidates_run_at_once_and_never_see_each_others_state() -> None:
    ask = dm.Predict(QA, lm=FunctionLM(obeys))
    data = rows(10)

    def metric(gold: QA, got: QA) -> float:
        return float(got.answer == gold.answer)

    with Runner(ask, metric, concurrency=4) as runner:
        runs = await asyncio.gather(*(runner.run(data, state=told(ask, str(n))) for n in range(10)))
    for n, results in enumerate(runs):
        assert [row.score for row in results] == [float(n == i) for i in range(10)]
    assert ask.state.predictors["self"].instructions is None


async def test_states_reach_the_predictors_of_a_module_in_threads() -> None:
    program = TwoSteps(FunctionLM(obeys))

    def state(word: str) -> dm.ProgramState:
        return program.state.with_predictor("second", dm.PredictorState(instructions=f"Say {word}"))

    def metric(gold: QA, got: str) -> bool:
        return True

    with Runner[QA, str](program, metric, concurrency=3) as runner:
        runs = await asyncio.gather(*(runner.run(rows(4), state=state(word)) for word in "xyz"))
    assert [{row.output for row in results} for results in runs] == [{"numberx"}, {"numbery"}, {"numberz"}]


async def test_a_state_for_another_program_is_refused() -> None:
    ask = dm.Predict(QA, lm=right())
    with Runner(ask, correct) as runner, pytest.raises(dm.UsageError, match="no predictor 'other'"):
        await runner.run(rows(1), state=dm.ProgramState(predictors={"other": dm.PredictorState()}))


async def test_results_come_in_order_and_are_told_as_they_finish() -> None:
    told_: list[int] = []

    async def program(question: str) -> str:
        await asyncio.sleep(0.05 if question.endswith("7") else 0)
        return question

    with Runner[QA, str](program, lambda gold, got: 1.0, concurrency=4) as runner:
        results = await runner.run(rows(9)[6:], indices=range(6, 9), on_result=lambda row: told_.append(row.index))
    assert [row.index for row in results] == [6, 7, 8]
    assert told_ == [6, 8, 7]


async def test_who_is_told_may_stop_the_run() -> None:
    lm = right()

    def stop(row: RowResult[Any, Any]) -> None:
        if row.index == 2:
            raise LookupError("enough")

    with Runner(dm.Predict(QA, lm=lm), correct, concurrency=1) as runner, pytest.raises(LookupError, match="enough"):
        await runner.run(rows(50), on_result=stop)
    assert len(lm.requests) == 3


async def test_samples_are_apart_in_requests_and_in_the_ledger() -> None:
    lm = right()
    with Ledger.named("x") as ledger, Runner(dm.Predict(QA, lm=lm), correct, ledger=ledger) as runner:
        for sample in (0, 1, 0, 1):
            await runner.run(rows(2), sample=sample)
    assert [request.sample for request in lm.requests] == [0, 0, 1, 1]


async def test_a_budget_keeps_what_was_paid_for_and_lets_rows_in_flight_finish() -> None:
    lm, finished = FunctionLM(lambda request: json.dumps({"answer": str(number_in(request))})), list[int]()
    with (
        dm.context(budget=dm.Budget(calls=10)),
        Ledger.named("x") as ledger,
        Runner(dm.Predict(QA, lm=lm), correct, ledger=ledger, concurrency=3) as runner,
        pytest.raises(dm.BudgetExceeded),
    ):
        await runner.run(rows(30), on_result=lambda row: finished.append(row.index))
    assert len(lm.requests) == len(finished) == 10
    with Ledger.named("x") as ledger, Runner(dm.Predict(QA, lm=lm), correct, ledger=ledger) as runner:
        await runner.run(rows(30))
    assert len(lm.requests) == 30


async def test_threads_end_when_the_runner_is_closed() -> None:
    import threading

    def program(question: str) -> str:
        return question

    with Runner[QA, str](program, lambda gold, got: 1.0, concurrency=3) as runner:
        await runner.run(rows(9))
        assert any(thread.name == "declm-row" for thread in threading.enumerate())
    for _ in range(200):
        if not any(thread.name == "declm-row" for thread in threading.enumerate()):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("threads are left")


async def test_no_rows_give_no_results() -> None:
    with Runner(dm.Predict(QA, lm=right()), correct) as runner:
        assert await runner.run([]) == []
