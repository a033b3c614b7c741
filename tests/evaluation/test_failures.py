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
from evaluation_cases import QA, correct, echo, file_of, number_in, right, rows

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
    with pytest.raises(dm.TooManyErrors, match=r"1\d x TransportError: connection refused"):
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


class CtrlC:
    """Sends the signal once, shortly after the first row that hangs has been reached."""

    def __init__(self) -> None:
        self.sent_s = 0.0
        self._timer = threading.Timer(0.1, self._send)

    def soon(self) -> None:
        if self._timer.ident is None:
            self._timer.start()

    def _send(self) -> None:
        self.sent_s = time.perf_counter()
        os.kill(os.getpid(), signal.SIGINT)


class Hanging:
    """Programs and metrics that hang from row 5 on, each in its own way."""

    def __init__(self) -> None:
        self.ctrl_c, self.release = CtrlC(), threading.Event()

    def in_thread(self, question: str) -> str:
        if int(question.rpartition(" ")[2]) >= 5:
            self.ctrl_c.soon()
            self.release.wait(30)
        return question.rpartition(" ")[2]

    async def on_loop(self, question: str) -> str:
        if int(question.rpartition(" ")[2]) >= 5:
            self.ctrl_c.soon()
            await asyncio.sleep(30)
        return question.rpartition(" ")[2]

    def blocking_the_loop(self, gold: QA, got: str) -> bool:
        if int(gold.answer) >= 5:
            self.ctrl_c.soon()
            time.sleep(2.5)
        return True


def always(gold: QA, got: Any) -> bool:
    return True


def plain(question: str) -> str:
    return question.rpartition(" ")[2]


@pytest.mark.parametrize("kind", ["thread", "loop", "metric"])
def test_ctrl_c_ends_within_a_second_with_every_finished_row(kind: str) -> None:
    hanging = Hanging()
    program = {"thread": hanging.in_thread, "loop": hanging.on_loop, "metric": plain}[kind]
    metric = hanging.blocking_the_loop if kind == "metric" else always
    with pytest.raises(dm.Interrupted, match="stopped after 5 of 20 rows") as caught:
        dm.evaluate(program, rows(20), metric, concurrency=1)
    assert time.perf_counter() - hanging.ctrl_c.sent_s < 1.0
    assert [row.index for row in caught.value.report.rows] == list(range(5))
    assert [row.index for row in partial_file(caught.value).rows] == list(range(5))
    assert isinstance(caught.value, KeyboardInterrupt)
    hanging.release.set()


async def test_ctrl_c_works_in_a_notebook() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # as Jupyter's kernel has it
    try:
        with pytest.raises(dm.Interrupted) as caught:
            dm.evaluate(Hanging().on_loop, rows(20), always, concurrency=2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(caught.value.report.rows) == 5


def run_script(code: str) -> list[str]:
    """What a script prints, run by a Python of its own from this folder."""
    env = {**os.environ, "PYTHONPATH": ":".join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True, env=env)
    return done.stdout.split()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="before Python 3.11 asyncio left Ctrl-C alone")
def test_ctrl_c_works_where_asyncio_takes_it_for_itself() -> None:
    count, seconds = run_script(
        "import asyncio, time, declm as dm\n"
        "from test_failures import Hanging, always, rows\n"
        "hanging = Hanging()\n"
        "async def main():\n"
        "    try:\n        dm.evaluate(hanging.on_loop, rows(20), always)\n"
        "    except dm.Interrupted as error:\n"
        "        print(len(error.report.rows), time.perf_counter() - hanging.ctrl_c.sent_s)\n"
        "try:\n    asyncio.run(main())\n"
        "except KeyboardInterrupt:\n    pass\n"
    )
    assert count == "5"
    assert float(seconds) < 1.0


def test_a_hung_program_does_not_keep_the_interpreter_from_exiting() -> None:
    count, seconds, at = run_script(
        "import time, declm as dm\n"
        "from test_failures import Hanging, always, rows\n"
        "hanging = Hanging()\n"
        "try:\n    dm.evaluate(hanging.in_thread, rows(40), always)\n"
        "except dm.Interrupted as error:\n"
        "    print(len(error.report.rows), time.perf_counter() - hanging.ctrl_c.sent_s, time.monotonic())\n"
    )
    assert count == "5"
    assert float(seconds) < 1.0
    assert time.monotonic() - float(at) < 2.0  # a thread that Python joined would hold it for 30


async def test_a_cancelled_evaluation_keeps_its_rows(tmp_path: Path) -> None:
    reached = asyncio.Event()

    async def program(question: str) -> str:
        if question.endswith("5"):
            reached.set()
            await asyncio.sleep(30)
        return question

    task = asyncio.ensure_future(dm.aevaluate(program, rows(20), always, concurrency=1))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (saved,) = (Path(os.environ["DECLM_CACHE_DIR"]) / "reports").iterdir()
    assert len(dm.Report.load(saved).rows) == 5
    assert saved.stat().st_mode & 0o777 == 0o600


def test_a_program_left_in_a_thread_can_pay_for_nothing_more() -> None:
    lm, hanging, after = right(), Hanging(), list[BaseException]()
    done = threading.Event()

    def program(question: str) -> QA:
        try:
            hanging.in_thread("number 9")
            return ask(lm)(question=question)
        except BaseException as error:
            after.append(error)
            raise
        finally:
            done.set()

    with pytest.raises(dm.Interrupted):
        dm.evaluate(program, rows(3), correct, concurrency=1)
    hanging.release.set()
    assert done.wait(10)
    assert [type(error) for error in after] == [dm.BudgetExceeded]
    assert lm.requests == []


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
    with pytest.raises(dm.Interrupted, match="ledger 'slow'") as caught:
        dm.evaluate(Hanging().on_loop, rows(20), always, concurrency=4, name="slow")
    finished = len(caught.value.report.rows)
    assert finished == 5
    with Ledger.named("slow") as ledger, file_of(ledger)._open() as connection:  # counting is no business of its users
        assert connection.execute("SELECT count(*) FROM outcomes").fetchone() == (finished,)
