"""`evaluate`: which programs, rows and metrics it takes, and what it refuses before any call."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import sys
import threading
import time
from typing import Any

import pytest
from evaluation_cases import QA, correct, echo, right, rows
from pydantic import BaseModel

import declm as dm
from declm.messages import Capabilities
from declm.testing import FunctionLM, ScriptedLM


class Twice(dm.Module):
    def __init__(self, lm: Any) -> None:
        self.first = dm.Predict(QA, lm=lm)
        self.second = dm.Predict(QA, lm=lm)

    def forward(self, question: str) -> QA:
        return self.second(question=self.first(question=question).question)


class AsyncTwice(Twice):
    async def forward(self, question: str) -> QA:  # type: ignore[override]  # async on purpose
        return await self.second.acall(question=(await self.first.acall(question=question)).question)


def plain(question: str) -> str:
    return question.rpartition(" ")[2]


async def async_plain(question: str) -> str:
    await asyncio.sleep(0)
    return question.rpartition(" ")[2]


def same_text(gold: QA, got: str) -> bool:
    return gold.answer == got


# --- programs


@pytest.mark.parametrize(
    "make", [lambda: dm.Predict(QA, lm=right()), lambda: Twice(right()), lambda: AsyncTwice(right())]
)
def test_predictors_and_modules_are_evaluated(make: Any) -> None:
    report = dm.evaluate(make(), rows(5), correct)
    assert report.score == 1.0
    assert [row.index for row in report.rows] == list(range(5))
    assert [row.output for row in report.rows] == rows(5)


class SyncCallable:
    def __call__(self, question: str) -> str:
        return plain(question)


class AsyncCallable:
    async def __call__(self, question: str) -> str:
        return plain(question)


@pytest.mark.parametrize(
    "program",
    [
        plain,
        async_plain,
        SyncCallable(),
        AsyncCallable(),
        functools.partial(plain),
        lambda question: async_plain(question),  # no coroutine function by its looks
    ],
)
def test_functions_and_callable_objects_are_programs(program: Any) -> None:
    assert dm.evaluate(program, rows(4), same_text).score == 1.0


def test_a_predicted_function_is_a_program() -> None:
    @dm.predict
    def double(number: int) -> int:
        """Double it."""
        return dm.fill()

    class Number(BaseModel):
        number: int

    with dm.context(lm=FunctionLM(lambda request: '{"result": 8}')):
        report = dm.evaluate(double, [Number(number=4), Number(number=5)], lambda gold, got: got == 2 * gold.number)
    assert report.score == 0.5
    assert report.run.program == "double"


async def test_it_works_where_a_loop_is_running_already() -> None:
    assert dm.evaluate(dm.Predict(QA, lm=right()), rows(3), correct).score == 1.0
    assert (await dm.aevaluate(dm.Predict(QA, lm=right()), rows(3), correct)).score == 1.0
    assert (await dm.aevaluate(Twice(right()), rows(3), correct)).score == 1.0


def test_the_lm_of_the_context_reaches_programs_in_threads_and_tasks() -> None:
    lm = right()

    def program(question: str) -> QA:
        return dm.Predict(QA)(question=question)

    with dm.context(lm=lm):
        assert dm.evaluate(program, rows(3), correct).score == 1.0
    assert dm.evaluate(dm.Predict(QA), rows(3), correct, lm=lm).score == 1.0
    assert len(lm.requests) == 6


def test_other_context_variables_are_carried_and_rows_do_not_leak_into_each_other() -> None:
    seen: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="")
    seen.set("outer")

    def program(question: str) -> str:
        before = seen.get()
        seen.set(question)
        return before

    report = dm.evaluate(program, rows(6), lambda gold, got: got == "outer", concurrency=2)
    assert report.score == 1.0


# --- rows


def test_the_program_gets_inputs_that_it_names_and_nothing_else() -> None:
    class Gold(QA):
        lang: str = "en"
        titles: list[str] = dm.Note()

    got: list[dict[str, Any]] = []

    def program(question: str, **more: Any) -> str:
        got.append({"question": question, **more})
        return "1"

    def strict(question: str, limit: int = 3) -> str:
        return f"{limit}"

    gold = [Gold(question="q", answer="a", titles=["t"])]
    dm.evaluate(program, gold, lambda gold, got: gold.titles == ["t"] and got == "1")
    assert got == [{"question": "q", "lang": "en"}]
    assert dm.evaluate(strict, gold, lambda gold, got: got == "3").score == 1.0


def test_rows_of_any_pydantic_class_do() -> None:
    class Row(BaseModel):
        question: str
        expected: str

    report = dm.evaluate(plain, [Row(question="is 1", expected="1")], lambda gold, got: gold.expected == got)
    assert report.score == 1.0


def test_rows_without_an_input_are_refused_before_any_call() -> None:
    lm = right()

    class Other(dm.Signature):
        text: str

    with pytest.raises(dm.UsageError, match=r"needs `question`.*inputs of a Other are `text`"):
        dm.evaluate(dm.Predict(QA, lm=lm), [*rows(2), Other(text="t")], lambda gold, got: 1.0)
    with pytest.raises(dm.UsageError, match=r"row 0 is a dict.*dm\.data\.read"):
        dm.evaluate(dm.Predict(QA, lm=lm), [{"question": "q"}], lambda gold, got: 1.0)  # type: ignore[type-var]  # the mistake
    with pytest.raises(dm.UsageError, match="rows come as a list, not as a generator"):
        dm.evaluate(dm.Predict(QA, lm=lm), (row for row in rows(2)), correct)  # type: ignore[call-overload]  # the mistake
    with pytest.raises(dm.UsageError, match="a module \\(an instance\\)"):
        dm.evaluate(Twice, rows(2), correct)  # type: ignore[call-overload]  # the mistake
    with pytest.raises(dm.UsageError, match="no rows"):
        dm.evaluate(dm.Predict(QA, lm=lm), [], correct)
    assert lm.requests == []


def test_without_an_lm_it_says_so_at_once() -> None:
    with pytest.raises(dm.UsageError, match="no LM is set"):
        dm.evaluate(dm.Predict(QA), rows(100), correct, max_errors=None)


def test_misuse_in_the_program_stops_at_the_first_row() -> None:
    lm = right()

    class Wrong(dm.Module):
        def __init__(self) -> None:
            self.ask = dm.Predict(QA, lm=lm)

        def forward(self, question: str) -> QA:
            return self.ask(qestion=question)  # type: ignore[call-arg]  # the mistake

    with pytest.raises(dm.InputError, match="did you mean 'question'"):
        dm.evaluate(Wrong(), rows(50), correct, max_errors=None)
    assert lm.requests == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"concurrency": 0}, "concurrency=0"),
        ({"max_errors": -1}, "max_errors=-1"),
        ({"max_errors": 1.5}, "max_errors=1.5"),
        ({"max_errors": True}, "max_errors=True"),
        ({"name": "no/such name"}, "name="),
    ],
)
def test_wrong_options_are_refused_before_any_call(arguments: dict[str, Any], message: str) -> None:
    lm = right()
    with pytest.raises(dm.UsageError, match=message):
        dm.evaluate(dm.Predict(QA, lm=lm), rows(2), correct, **arguments)
    assert lm.requests == []


# --- metrics


async def async_metric(gold: QA, got: str) -> float:
    await asyncio.sleep(0)
    return float(gold.answer == got)


@pytest.mark.parametrize(
    "metric",
    [
        same_text,
        async_metric,
        lambda gold, got: dm.Score(float(gold.answer == got), "seen"),
        lambda gold, got, run: run.value == got and bool(run.trace),
        lambda gold, got, run=None: run is not None,
        lambda *pair: pair[0].answer == pair[1],
    ],
)
def test_metrics_of_every_kind(metric: Any) -> None:
    assert dm.evaluate(plain, rows(3), metric).score == 1.0


def test_feedback_is_kept() -> None:
    report = dm.evaluate(plain, rows(2), lambda gold, got: dm.Score(0.25, f"not {got}"))
    assert [(row.score, row.feedback) for row in report.rows] == [(0.25, "not 0"), (0.25, "not 1")]


def test_a_metric_sees_reasoning_trace_and_usage_of_the_run() -> None:
    lm = FunctionLM(lambda request: '{"reasoning": "hm", "answer": "1"}')
    seen: list[Any] = []

    def metric(gold: QA, got: QA, run: dm.Prediction[QA]) -> float:
        seen.append((run.reasoning, run.usage.calls, run.trace.path, run.value.answer))
        return 1.0

    dm.evaluate(dm.ChainOfThought(QA, lm=lm), rows(1), metric)
    assert seen == [("hm", 1, "self", "1")]


def test_a_trace_of_a_function_holds_the_calls_made_inside() -> None:
    ask = dm.Predict(QA, lm=right())
    names: list[list[str]] = []

    def program(question: str) -> QA:
        return ask(question=ask(question=question).question)

    def metric(gold: QA, got: QA, run: dm.Prediction[QA]) -> bool:
        names.append([call.name for call in run.trace.walk()])
        return True

    dm.evaluate(program, rows(1), metric)
    assert names == [["program", "Predict", "Predict"]]


def test_a_metric_that_does_not_take_a_pair_is_refused_before_any_call() -> None:
    lm = right()
    for metric in (lambda gold: 1.0, lambda gold, got, trace, more: 1.0, "f1"):
        with pytest.raises(dm.UsageError, match=r"\(gold, got\)"):
            dm.evaluate(dm.Predict(QA, lm=lm), rows(2), metric)  # type: ignore[arg-type, call-overload]  # the mistake
    assert lm.requests == []


def test_a_judge_counts_in_the_usage_and_its_outage_leaves_the_row_unscored() -> None:
    class Verdict(dm.Signature):
        text: str
        good: bool = dm.Output()

    replies = ['{"good": true}', dm.ServerError("down"), "no json", "no json", "no json"]
    judge = dm.Predict(Verdict, lm=ScriptedLM(replies))

    def metric(gold: QA, got: str) -> bool:
        return judge(text=got).good

    report = dm.evaluate(plain, rows(3), metric, concurrency=1, max_errors=None)
    assert [row.outcome for row in report.rows] == ["scored", "unscored", "unscored"]
    assert [type(row.error).__name__ for row in report.rows] == ["NoneType", "ServerError", "ParseError"]
    assert [row.output for row in report.rows] == ["0", "1", "2"]
    assert report.usage.calls == 5
    assert report.score == 1.0


# --- how rows are run


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("kind", ["thread", "loop"])
def test_so_many_rows_are_in_flight_as_asked(limit: int, kind: str) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def enter(step: int) -> None:
        nonlocal now, most
        with lock:
            now += step
            most = max(most, now)

    def program(question: str) -> str:
        enter(1)
        time.sleep(0.01)
        enter(-1)
        return plain(question)

    async def async_program(question: str) -> str:
        enter(1)
        await asyncio.sleep(0.01)
        enter(-1)
        return plain(question)

    report = dm.evaluate(program if kind == "thread" else async_program, rows(12), same_text, concurrency=limit)
    assert report.score == 1.0
    assert most == limit


def test_the_lm_says_how_many_calls_serve_it_best() -> None:
    lock, now, most = threading.Lock(), 0, 0

    def slow(request: Any) -> str:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.005)
        with lock:
            now -= 1
        return echo(request)

    lm = FunctionLM(slow, capabilities=Capabilities(concurrency=2))
    dm.evaluate(Twice(lm), rows(8), correct)
    assert most == 2


def test_slow_metrics_run_beside_each_other_and_fast_ones_on_the_loop() -> None:
    lock, now, most, threads = threading.Lock(), 0, 0, set[str]()

    def metric(gold: QA, got: str) -> bool:
        nonlocal now, most
        with lock:
            now, most = now + 1, max(most, now + 1)
        time.sleep(0.05)
        with lock:
            now -= 1
        return gold.answer == got

    def fast(gold: QA, got: str) -> bool:
        threads.add(threading.current_thread().name)
        return gold.answer == got

    assert dm.evaluate(async_plain, rows(32), metric, concurrency=16).score == 1.0
    assert most > 1
    assert dm.evaluate(async_plain, rows(32), fast, concurrency=16).score == 1.0
    assert "declm-loop" in threads


def test_usage_and_seconds_are_those_of_the_row() -> None:
    report = dm.evaluate(Twice(right()), rows(4), correct)
    assert [row.usage.calls for row in report.rows] == [2] * 4
    assert report.usage.calls == 8
    assert report.usage.output_tokens == 16
    assert all(row.seconds > 0 for row in report.rows)


def test_attempts_that_failed_are_counted() -> None:
    replies: list[Any] = ["no json", '{"answer": "0"}', dm.ServerError("down")]
    report = dm.evaluate(dm.Predict(QA, lm=ScriptedLM(replies)), rows(2), correct, concurrency=1, max_errors=None)
    assert [row.usage.calls for row in report.rows] == [2, 1]


def test_traces_are_kept_where_asked_for() -> None:
    without = dm.evaluate(Twice(right()), rows(1), correct).rows[0]
    kept = dm.evaluate(Twice(right()), rows(1), correct, traces=True).rows[0]
    assert without.trace is None
    assert kept.trace is not None
    assert [call.path for call in kept.trace.predictor_calls()] == ["first", "second"]


def test_the_bar_shows_score_errors_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    dm.evaluate(plain, rows(3), same_text, progress=True)
    shown = capsys.readouterr().err
    assert "evaluate plain" in shown
    assert "score=1.000" in shown
    dm.evaluate(plain, rows(3), same_text)
    assert capsys.readouterr().err == ""


def test_a_stray_cancellation_is_a_crash_of_its_row() -> None:
    async def program(question: str) -> str:
        if question.endswith("1"):
            raise asyncio.CancelledError
        return plain(question)

    if sys.version_info < (3, 11):  # which can't tell whose cancellation it was
        with pytest.raises(dm.ProgramError, match="CancelledError"):
            dm.evaluate(program, rows(3), same_text)
        return
    report = dm.evaluate(program, rows(3), same_text)
    assert [row.outcome for row in report.rows] == ["scored", "crashed", "scored"]
