"""Failed rows, error limits, metric bugs, interruptions: promises 16, 17 and 19 of the package."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from evaluation_cases import QA, correct, echo, number_in, right, rows

import declm as dm
from declm.evaluation import Ledger
from declm.messages import Request, Response
from declm.testing import FunctionLM


def failing(rule: Any) -> FunctionLM:
    """An LM that raises what `rule(number)` gives, and answers where that is None."""

    def reply(request: Request) -> str:
        error = rule(number_in(request))
        if error is not None:
            raise error
        return echo(request)

    return FunctionLM(reply)


def ask(lm: FunctionLM, **options: Any) -> dm.Predict[..., QA]:
    return dm.Predict(QA, lm=lm, **options)


# --- promise 16: errors apart from scores


def test_provider_faults_leave_rows_unscored_and_the_score_is_that_of_the_others() -> None:
    kinds = [dm.RateLimited, dm.ServerError, dm.TimedOut, dm.TransportError]

    def rule(number: int) -> Exception | None:
        return kinds[number // 4 % 4](f"fault {number}") if number % 4 == 0 else None

    def metric(gold: QA, got: QA) -> float:
        return 0.5 if int(gold.answer) % 8 == 1 else 1.0

    report = dm.evaluate(ask(failing(rule)), rows(1000), metric)
    assert len(report.errors) == 250
    assert len(report.scores) == 750
    assert report.score == pytest.approx((125 * 0.5 + 625) / 750)
    for row in report.errors:
        assert type(row.error) is kinds[row.index // 4 % 4]
        assert row.error is not None
        assert row.error.message == f"fault {row.index}"
        assert (row.score, row.output, row.outcome) == (None, None, "unscored")
    assert report.failures == ()


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("no json at all", dm.ParseError),
        (Response(text='{"answer": "4', finish="length"), dm.TruncatedOutput),
        (Response(text="", finish="filter"), dm.ContentFiltered),
        (dm.ToolError("the tool broke"), dm.ToolError),
    ],
)
def test_failures_of_the_program_score_0_and_are_counted_apart(reply: Any, kind: type[Exception]) -> None:
    def answer(request: Request) -> str | Response:
        if number_in(request) != 1:
            return echo(request)
        if isinstance(reply, Exception):
            raise reply
        return reply

    report = dm.evaluate(ask(FunctionLM(answer), retries=0), rows(3), correct, max_errors=0)
    assert [row.score for row in report.rows] == [1.0, 0.0, 1.0]
    assert report.score == pytest.approx(2 / 3)
    (row,) = report.failures
    assert isinstance(row.error, kind)
    assert row.feedback == row.error.message
    assert report.errors == ()


def test_a_crash_of_the_program_scores_0_is_an_error_and_keeps_its_traceback() -> None:
    def program(question: str) -> str:
        return {"number 0": "0", "number 2": "2"}[question]

    report = dm.evaluate(program, rows(3), lambda gold, got: gold.answer == got)
    assert report.score == pytest.approx(2 / 3)
    (row,) = report.errors
    assert isinstance(row.error, dm.ProgramError)
    assert (row.outcome, row.score, row.error.kind) == ("crashed", 0.0, "KeyError")
    assert "test_failures.py" in row.error.traceback
    assert isinstance(row.error.__cause__, KeyError)


@pytest.mark.parametrize("limit", [3, 0.03])
def test_too_many_errors_stop_by_count_or_share(limit: float) -> None:
    lm = failing(lambda number: dm.ServerError("down") if number % 2 else None)
    with pytest.raises(dm.TooManyErrors) as caught:
        dm.evaluate(ask(lm), rows(100), correct, max_errors=limit, concurrency=1)
    assert "4 of the 8 rows that finished (of 100)" in str(caught.value)
    assert "4 x ServerError: down" in str(caught.value)
    report = caught.value.report
    assert [row.index for row in report.rows] == list(range(8))
    assert len(report.errors) == 4
    assert len(lm.requests) == 8
    assert isinstance(caught.value.__cause__, dm.ServerError)


def test_errors_up_to_the_limit_do_not_stop() -> None:
    lm = failing(lambda number: dm.ServerError("down") if number < 3 else None)
    assert len(dm.evaluate(ask(lm), rows(100), correct, max_errors=3).errors) == 3
    assert len(dm.evaluate(ask(lm), rows(100), correct, max_errors=0.03).errors) == 3


def test_an_endpoint_that_is_dead_from_the_start_is_given_up_soon() -> None:
    lm = failing(lambda number: dm.TransportError("connection refused"))
    with pytest.raises(dm.TooManyErrors, match="10 x TransportError: connection refused"):
        dm.evaluate(ask(lm), rows(500), correct, concurrency=4)
    assert len(lm.requests) <= 14


@pytest.mark.parametrize("kind", [dm.AuthError, dm.UnknownModel, dm.QuotaExceeded])
def test_what_no_row_can_escape_is_raised_at_once(kind: type[dm.LMError]) -> None:
    lm = failing(lambda number: kind("no way"))
    with pytest.raises(kind, match="no way"):
        dm.evaluate(ask(lm), rows(100), correct, concurrency=2)
    assert len(lm.requests) <= 2
    lm = failing(lambda number: kind("no way") if number == 5 else None)
    with pytest.raises(dm.TooManyErrors, match="no way") as caught:
        dm.evaluate(ask(lm), rows(100), correct, concurrency=1)
    assert len(caught.value.report.rows) == 6


def test_if_no_row_could_be_scored_there_is_no_report() -> None:
    lm = failing(lambda number: dm.ServerError("down"))
    with pytest.raises(dm.TooManyErrors) as caught:
        dm.evaluate(ask(lm), rows(4), correct, max_errors=None)
    assert len(caught.value.report.rows) == 4
    assert caught.value.report.score != caught.value.report.score


def test_a_budget_stops_with_the_rows_that_were_paid_for() -> None:
    lm = right()
    with pytest.raises(dm.BudgetExceeded) as caught, dm.context(budget=dm.Budget(calls=7)):
        dm.evaluate(ask(lm), rows(50), correct, concurrency=3)
    assert len(lm.requests) == 7
    assert len(caught.value.report.rows) == 7
    assert caught.value.report.score == 1.0


# --- promise 19: a metric's bug stops at once


def raising(gold: QA, got: QA) -> float:
    return {"4": 1.0}[got.answer]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (raising, "raised KeyError: '0' at row 0"),
        (lambda gold, got: float("nan"), "returned nan"),
        (lambda gold, got: None, "returned None of type NoneType"),
        (lambda gold, got: "1.0", "returned '1.0' of type str"),
        (lambda gold, got: 1.5, r"returned 1.5; scores lie in \[0, 1\]"),
        (lambda gold, got: gold.answer == got.anwser, "'anwser' at row 0"),
    ],
)
@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_metric_that_gives_no_score_stops_at_its_row(metric: Any, message: str, concurrency: int) -> None:
    lm = right()
    with pytest.raises(dm.MetricError, match=message) as caught:
        dm.evaluate(ask(lm), rows(100), metric, concurrency=concurrency, max_errors=None)
    assert caught.value.row == 0
    assert len(lm.requests) <= concurrency


def test_the_row_of_a_metric_error_is_its_index() -> None:
    lm = right()
    with pytest.raises(dm.MetricError, match="row 3") as caught:
        dm.evaluate(ask(lm), rows(100), lambda gold, got: 1 / (int(got.answer) - 3) > -9, concurrency=1)
    assert caught.value.row == 3
    assert [row.index for row in caught.value.report.rows] == [0, 1, 2]
    assert len(lm.requests) == 4


async def test_an_async_metric_that_raises_stops_too() -> None:
    async def metric(gold: QA, got: QA) -> float:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(dm.MetricError, match="raised ZeroDivisionError at row 0"):
        await dm.aevaluate(ask(right()), rows(9), metric, concurrency=1)


# --- promise 17: what has finished is kept


def partial_file(error: BaseException) -> dm.Report[Any, Any]:
    name = str(error).rsplit("saved as '", 1)[1].partition("'")[0]
    return dm.Report.load(name)


def test_a_stopped_evaluation_leaves_its_rows_on_disk() -> None:
    lm = failing(lambda number: dm.ServerError("down") if number >= 6 else None)
    with pytest.raises(dm.TooManyErrors) as caught:
        dm.evaluate(ask(lm), rows(20), correct, max_errors=2, concurrency=1)
    saved = partial_file(caught.value)
    assert [row.index for row in saved.rows] == list(range(9))
    assert [row.score for row in saved.rows] == [row.score for row in caught.value.report.rows]
    assert {type(row.error) for row in saved.errors} == {dm.ServerError}


def interrupt_soon(after_s: float = 0.3) -> None:
    threading.Timer(after_s, os.kill, (os.getpid(), signal.SIGINT)).start()


def hang_after(n: int, release: threading.Event) -> Any:
    def program(question: str) -> str:
        if int(question.split()[-1]) >= n:
            release.wait(30)
        return question.split()[-1]

    return program


async def hang_async(question: str) -> str:
    if int(question.split()[-1]) >= 5:
        await asyncio.sleep(30)
    return question.split()[-1]


def block_the_loop(gold: QA, got: str) -> bool:
    if int(gold.answer) >= 5:
        time.sleep(2.5)
    return True


@pytest.mark.parametrize("kind", ["thread", "loop", "metric"])
def test_ctrl_c_ends_within_a_second_with_every_finished_row(kind: str) -> None:
    release = threading.Event()
    program = {"thread": hang_after(5, release), "loop": hang_async, "metric": hang_after(99, release)}[kind]
    metric: Any = block_the_loop if kind == "metric" else lambda gold, got: True
    interrupt_soon(0.3)
    started = time.perf_counter()
    with pytest.raises(dm.Interrupted, match="stopped after 5 of 20 rows") as caught:
        dm.evaluate(program, rows(20), metric, concurrency=1)
    assert time.perf_counter() - started < 0.3 + 1.0
    assert [row.index for row in caught.value.report.rows] == list(range(5))
    assert [row.index for row in partial_file(caught.value).rows] == list(range(5))
    assert isinstance(caught.value, KeyboardInterrupt)
    release.set()


@pytest.mark.parametrize("handler", ["a notebook's", "asyncio's"])
async def test_ctrl_c_works_where_a_loop_is_running(handler: str) -> None:
    before = signal.getsignal(signal.SIGINT)
    if handler == "a notebook's":
        signal.signal(signal.SIGINT, signal.default_int_handler)
    elif sys.version_info < (3, 11):
        pytest.skip("before Python 3.11 asyncio left Ctrl-C alone")
    interrupt_soon(0.3)
    try:
        with pytest.raises(dm.Interrupted) as caught:
            dm.evaluate(hang_async, rows(20), lambda gold, got: True, concurrency=2)
    finally:
        signal.signal(signal.SIGINT, before)
        task = asyncio.current_task()
        if task is not None and sys.version_info >= (3, 11):
            task.uncancel()
    assert len(caught.value.report.rows) == 5


async def test_a_cancelled_evaluation_keeps_its_rows(tmp_path: Path) -> None:
    task = asyncio.ensure_future(dm.aevaluate(hang_async, rows(20), lambda gold, got: True, concurrency=1))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (saved,) = (Path(os.environ["DECLM_CACHE_DIR"]) / "reports").iterdir()
    assert len(dm.Report.load(saved).rows) == 5
    assert saved.stat().st_mode & 0o777 == 0o600


def test_a_program_left_in_a_thread_can_pay_for_nothing_more() -> None:
    lm, entered, release, after = right(), threading.Event(), threading.Event(), list[BaseException]()

    def program(question: str) -> QA:
        entered.set()
        release.wait(30)
        try:
            return ask(lm)(question=question)
        except BaseException as error:
            after.append(error)
            raise

    interrupt_soon(0.2)
    with pytest.raises(dm.Interrupted):
        dm.evaluate(program, rows(3), correct, concurrency=1)
    assert entered.is_set()
    release.set()
    while not after:
        time.sleep(0.01)
    assert isinstance(after[0], dm.BudgetExceeded)
    assert lm.requests == []


def test_a_hung_program_does_not_keep_the_interpreter_from_exiting() -> None:
    code = (
        "import os, signal, threading, time, declm as dm\n"
        "class Q(dm.Signature):\n    q: str\n"
        "def hang(q: str) -> str:\n    time.sleep(60)\n    return q\n"
        "threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "try:\n    dm.evaluate(hang, [Q(q=str(i)) for i in range(40)], lambda gold, got: True)\n"
        "except dm.Interrupted as error:\n    print('interrupted', len(error.report.rows), time.monotonic())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    word, count, at = done.stdout.split()
    assert (word, count) == ("interrupted", "0")
    assert time.monotonic() - float(at) < 1.0


# --- resume


def test_the_same_call_again_runs_only_the_rows_that_are_missing() -> None:
    down = failing(lambda number: dm.ServerError("down") if number >= 6 else None)
    with pytest.raises(dm.TooManyErrors, match=r"the ledger 'dev' keeps what is done"):
        dm.evaluate(ask(down), rows(20), correct, max_errors=2, concurrency=1, name="dev")
    lm = right()
    report = dm.evaluate(ask(lm), rows(20), correct, name="dev")
    assert sorted(map(number_in, lm.requests)) == list(range(6, 20))
    assert [row.restored for row in report.rows] == [True] * 6 + [False] * 14
    assert report.score == 1.0
    assert [row.output for row in report.rows] == rows(20)
    again = dm.evaluate(ask(right()), rows(20), correct, name="dev")
    assert again.scores == report.scores
    assert all(row.restored for row in again.rows)


KILLED = """
import json, os, signal, sys
sys.path.insert(0, {folder!r})
from evaluation_cases import QA, correct, echo, rows
import declm as dm
from declm.testing import FunctionLM

calls = 0
def reply(request):
    global calls
    calls += 1
    with open({log!r}, "a") as log:
        log.write(request.messages[-1].content.replace("\\n", " ") + "\\n")
    if calls == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    return echo(request)

report = dm.evaluate(dm.Predict(QA, lm=FunctionLM(reply)), rows(30), correct, name="killed", concurrency=3)
print(json.dumps([report.scores, sum(row.restored for row in report.rows)]))
"""


def test_after_kill_9_finished_rows_are_not_paid_for_again(tmp_path: Path) -> None:
    log, folder = tmp_path / "calls.txt", str(Path(__file__).parent)
    env = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    for at in (7, 9, 1000):
        done = subprocess.run(
            [sys.executable, "-c", KILLED.format(folder=folder, log=str(log), at=at)],
            capture_output=True, text=True, env=env, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == (-signal.SIGKILL if at < 1000 else 0), done.stderr
    scores, restored = json.loads(done.stdout)
    assert scores == [1.0] * 30
    assert restored >= (7 - 3) + (9 - 3)
    assert len(log.read_text().splitlines()) <= 30 + 2 * 3  # what was in flight at each kill is asked again


def test_the_ledger_of_a_stopped_evaluation_holds_every_finished_row() -> None:
    interrupt_soon(0.3)
    with pytest.raises(dm.Interrupted, match="ledger 'slow'") as caught:
        dm.evaluate(hang_async, rows(20), lambda gold, got: True, concurrency=4, name="slow")
    finished = len(caught.value.report.rows)
    assert finished == 5
    with Ledger.named("slow") as ledger, ledger._open() as connection:  # counting is no business of its users
        assert connection.execute("SELECT count(*) FROM outcomes").fetchone() == (finished,)
