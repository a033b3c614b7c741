"""Modules: calls, runs, traces, maps."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any

import pytest

import declm as dm
from declm.messages import Request
from declm.testing import FunctionLM, ScriptedLM


class Ask(dm.Signature):
    """Write a query."""

    question: str
    query: str = dm.Output()


class QA(dm.Signature):
    """Answer."""

    question: str
    notes: str
    answer: str = dm.Output()


def reply(request: Request) -> str:
    question = request.messages[-1].content
    if request.messages[0].content.startswith("Write"):
        return json.dumps({"query": question.removeprefix("question: ").upper()})
    return json.dumps({"reasoning": "so it is", "answer": question.split("notes: ")[1]})


class Hops(dm.Module):
    def __init__(self, hops: int = 2) -> None:
        self.hops = hops
        self.steps = [dm.Predict(Ask) for _ in range(hops)]
        self.answer = dm.ChainOfThought(QA)

    def forward(self, question: str) -> str:
        notes = question
        for step in self.steps:
            notes = step(question=notes).query + "!"
        return self.answer(question=question, notes=notes).answer


class AsyncHops(Hops):
    async def forward(self, question: str) -> str:  # type: ignore[override]
        notes = question
        for step in self.steps:
            notes = (await step.acall(question=notes)).query + "!"
        return (await self.answer.acall(question=question, notes=notes)).answer


class Whole(dm.Module):
    """A module of modules."""

    def __init__(self) -> None:
        self.parts = {"hops": Hops(1), "again": Hops(1)}
        self.wide = dm.Predict(Ask)

    def forward(self, question: str) -> str:
        first = self.parts["hops"](question=question)
        return self.parts["again"](question=self.wide(question=first).query)


# --- calling


def test_a_module_is_called_like_its_forward() -> None:
    with dm.context(lm=FunctionLM(reply)):
        assert Hops()(question="a") == Hops()("a") == "A!!"
        with pytest.raises(TypeError, match="questoin"):
            Hops()(questoin="a")  # type: ignore[call-arg]


async def test_plain_and_async_programs_give_the_same() -> None:
    with dm.context(lm=FunctionLM(reply)):
        plain, parallel = Hops(), AsyncHops()
        assert await plain.acall(question="a") == await parallel.acall(question="a") == "A!!"
        assert await parallel(question="a") == "A!!"  # type: ignore[misc]
        one, two = await plain.arun(question="a"), await parallel.arun(question="a")
        assert (one.value, one.reasoning, one.usage.calls) == (two.value, two.reasoning, two.usage.calls)
        assert [c.path for c in one.trace.walk()] == [c.path for c in two.trace.walk()]


def test_run_works_from_plain_code_for_async_programs_too() -> None:
    with dm.context(lm=FunctionLM(reply)):
        assert AsyncHops().run(question="a").value == "A!!"


async def test_run_works_under_a_running_loop() -> None:
    with dm.context(lm=FunctionLM(reply)):
        assert AsyncHops().run(question="a").value == "A!!"
        assert AsyncHops().map([{"question": "a"}]) == ["A!!"]


async def test_a_plain_program_does_not_block_the_loop() -> None:
    class Slow(dm.Module):
        def forward(self, question: str) -> str:
            time.sleep(0.2)
            return threading.current_thread().name

    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.ensure_future(tick())
    assert await Slow().acall(question="a") != threading.main_thread().name
    ticking.cancel()
    assert ticks > 3


def test_a_module_without_forward_says_what_to_do() -> None:
    class Empty(dm.Module):
        pass

    for call in (lambda: Empty()(), lambda: Empty().run(), lambda: Empty().map([])):  # type: ignore[attr-defined]
        with pytest.raises(dm.UsageError, match="Empty has no `forward`: define it, with the program's inputs"):
            call()


# --- run


def test_run_gives_value_reasoning_usage_and_trace() -> None:
    with dm.context(lm=FunctionLM(reply)):
        run = Hops().run(question="a")
    assert (run.value, run.reasoning, run.usage.calls) == ("A!!", "so it is", 3)
    assert run.usage.input_tokens > 0
    assert [c.path for c in run.trace.walk()] == ["self", "steps.0", "steps.1", "answer"]
    assert [c.inputs.get("question") for c in run.trace.predictor_calls()] == ["a", "A!", "a"]
    assert run.trace.children[2].outputs == {"answer": "A!!"}


def test_paths_are_those_of_the_whole_program() -> None:
    program = Whole()
    with dm.context(lm=FunctionLM(reply)):
        run = program.run(question="a")
        part = program.parts["hops"].run(question="a")
    assert [c.path for c in run.trace.walk()] == [
        *("self", "parts.hops", "parts.hops.steps.0", "parts.hops.answer", "wide"),
        *("parts.again", "parts.again.steps.0", "parts.again.answer"),
    ]
    assert [c.path for c in part.trace.walk()] == ["self", "steps.0", "answer"]
    assert {c.path for c in run.trace.predictor_calls()} == set(program.predictors())


def test_a_run_inside_of_forward_is_traced_under_the_paths_of_the_program() -> None:
    class Careful(dm.Module):
        def __init__(self) -> None:
            self.think = dm.ChainOfThought(QA)

        def forward(self, question: str) -> str | None:
            return self.think.run(question=question, notes="n").reasoning

    with dm.context(lm=FunctionLM(reply)):
        run = Careful().run(question="a")
    assert run.value == "so it is"
    assert [c.path for c in run.trace.walk()] == ["self", "think"]
    assert run.usage.calls == 1


def test_a_shared_predictor_is_one_predictor_called_twice() -> None:
    class Shared(dm.Module):
        def __init__(self) -> None:
            self.ask = dm.Predict(Ask)
            self.same = [self.ask]

        def forward(self, question: str) -> str:
            return self.same[0](question=self.ask(question=question).query).query

    program = Shared()
    with dm.context(lm=FunctionLM(reply)):
        run = program.run(question="a")
    assert list(program.predictors()) == ["ask"]
    assert [c.path for c in run.trace.predictor_calls()] == ["ask", "ask"]


def test_a_failed_run_raises_and_an_outer_trace_keeps_it() -> None:
    from declm import trace

    with dm.context(lm=ScriptedLM(["nonsense"] * 3)), trace.record({}) as root:
        with pytest.raises(dm.ParseError):
            Hops().run(question="a")
        (call,) = root.children
    assert isinstance(call.error, dm.ParseError)
    assert call.usage.calls == 3


def test_calls_beside_a_run_are_not_in_its_trace() -> None:
    with dm.context(lm=FunctionLM(reply)):
        program = Hops()
        program(question="b")
        run = program.run(question="a")
    assert len(run.trace.predictor_calls()) == 3


# --- map


def test_map_keeps_the_order_and_takes_rows_or_dicts() -> None:
    rows = [Ask(question=f"q{i}", query="gold") for i in range(20)]
    with dm.context(lm=FunctionLM(reply)):
        program = Hops()
        expected = [f"Q{i}!!" for i in range(20)]
        assert program.map(rows) == program.map([{"question": row.question} for row in rows]) == expected
        assert AsyncHops().map(rows) == expected
        assert [row.query for row in dm.Predict(Ask).map(rows)] == [f"Q{i}" for i in range(20)]
        assert program.map(iter(rows[:1])) == expected[:1]
        assert program.map([]) == []


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_map_runs_as_many_at_once_as_asked(kind: str) -> None:
    lock, running, most = threading.Lock(), 0, 0

    def enter(step: int) -> None:
        nonlocal running, most
        with lock:
            running += step
            most = max(most, running)

    class Plain(dm.Module):
        def forward(self, question: str) -> str:
            enter(1)
            time.sleep(0.02)
            enter(-1)
            return question

    class Async(dm.Module):
        async def forward(self, question: str) -> str:
            enter(1)
            await asyncio.sleep(0.02)
            enter(-1)
            return question

    program: Any = Plain() if kind == "plain" else Async()
    program.map([{"question": str(i)} for i in range(36)], concurrency=12)
    assert most == 12


@pytest.mark.parametrize("program", [Hops(), AsyncHops(), dm.Predict(Ask)], ids=["plain", "async", "predictor"])
def test_the_first_error_of_map_cancels_the_rest(program: Any) -> None:
    def fails(request: Request) -> str:
        if "q3" in request.messages[-1].content:
            raise dm.ServerError("down")
        return reply(request)

    lm = FunctionLM(fails)
    with dm.context(lm=lm), pytest.raises(dm.ServerError, match="down"):
        program.map([{"question": f"q{i}"} for i in range(200)], concurrency=2)
    assert len(lm.requests) < 40


def test_map_refuses_bad_rows_before_any_call() -> None:
    lm = FunctionLM(reply)
    good = {"question": "q"}
    with dm.context(lm=lm):
        for program in (Hops(), dm.Predict(Ask)):
            with pytest.raises(dm.InputError, match="needs `question`"):
                program.map([good, {}])
            with pytest.raises(dm.InputError, match="takes no 'qestion'; did you mean 'question'"):
                program.map([good, {"qestion": "x", "question": "y"}])
        with pytest.raises(dm.InputError, match="question: Input should be a valid string, not 3"):
            dm.Predict(Ask).map([good, {"question": 3}])
        with pytest.raises(dm.UsageError, match="concurrency=0"):
            dm.Predict(Ask).map([good], concurrency=0)
    assert lm.requests == []


def test_map_carries_settings_into_its_threads() -> None:
    with dm.context(lm=FunctionLM(reply), budget=dm.Budget(calls=7)), pytest.raises(dm.BudgetExceeded):
        Hops(1).map([{"question": "q"}] * 20, concurrency=4)


def test_a_prediction_prints_its_value_and_what_it_cost() -> None:
    run = dm.ChainOfThought("text -> length: int", lm=ScriptedLM(['{"reasoning": "a, b", "length": 2}'])).run(text="ab")
    assert repr(run).startswith("Prediction(TextToLength(text='ab', length=2), reasoning='a, b', 1 calls, ")
    assert "exchanges" not in repr(run)
