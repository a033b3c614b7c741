"""Batch jobs: what rows ask at once is one job, at half the price, and is found again by its id."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from batch_server import BatchServer, openai_line, serving_batches

import declm as dm
from declm.errors import BadRequest, BudgetExceeded, TooManyErrors, UsageError
from declm.events import BatchProgress, Event
from declm.files import cache_dir
from declm.lm import Routed, batches
from declm.lm.library import load
from declm.messages import Message, Request
from declm.testing import ScriptedLM


class QA(dm.Signature):
    """Answer."""

    question: str
    answer: str = dm.Output()


class Secret(dm.Signature):
    """Answer."""

    question: str = dm.Input(sensitive=True)
    answer: str = dm.Output()


ROWS = [QA(question=f"what is {i}", answer="yes") for i in range(6)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchServer]:
    """A server with batch APIs, asked at once and looked at often."""
    quick = batches.Pace(quiet_s=0.2, poll_s=(0.01, 0.02))
    monkeypatch.setattr(batches, "Pace", lambda: quick)
    with serving_batches() as state:
        state.answer = lambda _id, _body: '{"answer": "yes"}'
        yield state


def lm_at(server: BatchServer, model: str = "openai/gpt-4o-mini", **options: Any) -> dm.LM:
    base = server.url.removesuffix("/v1") if model.startswith("anthropic") else server.url
    return dm.LM(model, api_base=base, api_key="k", **options)


def is_right(gold: QA, got: QA) -> bool:
    return gold.answer == got.answer


def run(server: BatchServer, **options: Any) -> dm.Report[QA, QA]:
    return dm.evaluate(dm.Predict(QA), ROWS, is_right, lm=lm_at(server, **options), batch=True)


def notes() -> list[Path]:
    return sorted(cache_dir("batches").glob("*.json"))


def question(body: Mapping[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


@pytest.mark.parametrize(
    "model",
    ["openai/gpt-4o-mini", "groq/openai/gpt-oss-20b", "mistral/mistral-small-latest", "anthropic/claude-haiku-4-5"],
)
def test_rows_are_one_job_at_half_the_price(server: BatchServer, model: str) -> None:
    report = run(server, model=model)
    assert report.score == 1.0
    (job,) = server.jobs.values()
    assert len(job.requests) == len(ROWS)
    assert all(body["model"] == model.partition("/")[2] for body in job.requests.values())
    row = load().get_model_info(model)
    price = 100 * row["input_cost_per_token"] + 10 * row["output_cost_per_token"]
    assert report.usage.calls == len(ROWS)
    assert report.usage.usd == pytest.approx(len(ROWS) * price / 2)
    for headers in server.headers:
        assert headers.get("authorization") == "Bearer k" or headers.get("x-api-key") == "k"
    assert notes() == []


def test_each_step_of_a_program_is_a_job(server: BatchServer) -> None:
    class Two(dm.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = dm.Predict("question -> hint")
            self.second = dm.Predict("question, hint -> answer")

        async def forward(self, question: str) -> QA:
            hint = (await self.first.acall(question=question)).hint
            said = await self.second.acall(question=question, hint=hint)
            return QA(question=question, answer=said.answer)

    server.answer = lambda _id, body: '{"answer": "yes"}' if "a hint" in str(body) else '{"hint": "a hint"}'
    assert dm.evaluate(Two(), ROWS, is_right, lm=lm_at(server), batch=True).score == 1.0
    assert [len(job.requests) for job in server.jobs.values()] == [6, 6]


def test_a_program_that_blocks_is_gathered_too(server: BatchServer) -> None:
    ask = dm.Predict(QA)

    def program(question: str) -> QA:
        return ask(question=question)

    assert dm.evaluate(program, ROWS, is_right, lm=lm_at(server), batch=True).score == 1.0
    assert len(server.jobs) == 1


def test_replies_are_kept_in_the_cache(server: BatchServer) -> None:
    run(server)
    again = run(server)
    assert (again.usage.calls, again.usage.cached, len(server.jobs)) == (0, 6, 1)


@pytest.mark.parametrize("cache", [True, False])
def test_equal_questions_are_sent_once_unless_nothing_is_cached(server: BatchServer, cache: bool) -> None:
    report = dm.evaluate(dm.Predict(QA), [ROWS[0]] * 3, is_right, lm=lm_at(server, cache=cache), batch=True)
    assert report.score == 1.0
    assert sum(len(job.requests) for job in server.jobs.values()) == (1 if cache else 3)


async def test_a_job_under_way_is_taken_up_by_its_id(server: BatchServer) -> None:
    server.looks = 10_000
    seen = asyncio.Event()

    def look(event: Event) -> None:
        if isinstance(event, BatchProgress):
            loop.call_soon_threadsafe(seen.set)

    loop = asyncio.get_running_loop()
    with dm.context(callbacks=[look]):
        task = asyncio.create_task(
            dm.aevaluate(dm.Predict(QA), ROWS, is_right, lm=lm_at(server, cache=False), batch=True)
        )
        await seen.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (note,) = notes()
    assert json.loads(note.read_text("utf-8"))["job"] == "job-1"
    assert note.stat().st_mode & 0o077 == 0
    server.looks = 0
    report = await dm.aevaluate(dm.Predict(QA), ROWS, is_right, lm=lm_at(server, cache=False), batch=True)
    assert (report.score, len(server.jobs), notes()) == (1.0, 1, [])


PROGRAM = """
import sys
import declm as dm

class QA(dm.Signature):
    '''Answer.'''

    question: str
    answer: str = dm.Output()

rows = [QA(question=f"what is {i}", answer="yes") for i in range(6)]
lm = dm.LM("openai/gpt-4o-mini", api_base=sys.argv[1], api_key="k")
print("ready", flush=True)
dm.evaluate(dm.Predict(QA), rows, lambda gold, got: gold.answer == got.answer, lm=lm, batch=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
@pytest.mark.timeout(180)
def test_a_killed_process_loses_nothing_that_was_paid_for(server: BatchServer) -> None:
    server.looks = 10_000
    with subprocess.Popen([sys.executable, "-c", PROGRAM, server.url], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        while not server.seen[-1:] or not server.seen[-1].startswith("GET /v1/batches/"):
            assert child.poll() is None
        child.send_signal(signal.SIGKILL)
    server.looks = 0
    report = run(server)
    assert (report.score, report.usage.calls, len(server.jobs), notes()) == (1.0, 6, 1, [])


def test_a_job_that_the_provider_has_forgotten_is_made_anew(server: BatchServer) -> None:
    def forgetful(event: Event) -> None:
        if isinstance(event, BatchProgress) and event.job == "job-1":
            server.jobs["job-1"].requests.clear()
            server.jobs["gone"] = server.jobs.pop("job-1")

    with dm.context(callbacks=[forgetful]):
        assert run(server).score == 1.0
    forgotten, *others = server.jobs.values()
    assert not forgotten.requests
    assert sum(len(job.requests) for job in others) == len(ROWS)


def test_an_answer_that_is_lost_makes_no_second_job(server: BatchServer) -> None:
    server.loses = True
    assert run(server).score == 1.0
    assert len(server.jobs) == 1


def test_a_server_that_fails_while_a_job_runs_is_looked_at_again(server: BatchServer) -> None:
    server.looks = 5
    fail = iter([503, 502, 429])

    def failing(event: Event) -> None:
        if isinstance(event, BatchProgress):
            server.fails.extend([status] if (status := next(fail, None)) else [])

    with dm.context(callbacks=[failing]):
        assert run(server, attempts=1).score == 1.0
    assert len(server.jobs) == 1


def test_results_that_can_not_be_fetched_at_first_are_not_paid_for_twice(server: BatchServer) -> None:
    def failing(event: Event) -> None:
        if isinstance(event, BatchProgress) and event.done == event.total:
            server.fails.extend([503, 502])

    with dm.context(callbacks=[failing]):
        assert run(server, cache=False, attempts=1).score == 1.0
    assert len(server.jobs) == 1


def test_a_job_that_was_given_up_is_looked_at_again_by_the_next_attempt(
    server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = replace(batches.Pace(), patience_s=0.0)
    monkeypatch.setattr(batches, "Pace", lambda: hasty)
    fail = iter([503])

    def failing(event: Event) -> None:
        if isinstance(event, BatchProgress) and event.done == event.total:
            server.fails.extend(fail)

    with dm.context(callbacks=[failing]):
        assert run(server, cache=False).score == 1.0
    assert len(server.jobs) == 1


def test_a_server_without_the_api_is_told_as_such(server: BatchServer) -> None:
    server.fails.extend([404] * 100)
    with pytest.raises(TooManyErrors, match="there is no batch API at"):
        run(server, cache=False)


def test_requests_that_a_job_refuses_fail_alone(server: BatchServer) -> None:
    def answer(id: str, body: Mapping[str, Any]) -> str | dict[str, Any]:
        if "what is 3" in question(body):
            return openai_line(id, {"error": {"message": "too odd"}}, 400)
        return '{"answer": "yes"}'

    server.answer = answer
    report = run(server)
    assert [row.score for row in report.rows] == [1.0, 1.0, 1.0, None, 1.0, 1.0]
    error = report.rows[3].error
    assert isinstance(error, BadRequest)
    assert "too odd" in error.message


def test_requests_that_ran_out_of_time_are_sent_again(server: BatchServer) -> None:
    def answer(id: str, body: Mapping[str, Any]) -> str | dict[str, Any]:
        if id.endswith("-0") and "what is 3" in question(body):
            return {"custom_id": id, "response": None, "error": {"code": "batch_expired", "message": "too late"}}
        return {} if id.endswith("-0") and "what is 4" in question(body) else '{"answer": "yes"}'

    server.answer = answer
    assert run(server).score == 1.0
    first, *others = [len(job.requests) for job in server.jobs.values()]
    assert (first, sum(others)) == (6, 2)


@pytest.mark.parametrize(
    ("model", "status"),
    [("openai/gpt-4o-mini", "failed"), ("mistral/mistral-small-latest", "CANCELLED")],
)
def test_a_job_that_fails_says_why(server: BatchServer, model: str, status: str) -> None:
    server.status = status
    server.answer = lambda _id, _body: {}
    with pytest.raises(TooManyErrors) as caught:
        run(server, model=model)
    error = caught.value.report.rows[0].error
    assert isinstance(error, BadRequest)
    assert f" is {status}" in error.message
    assert status != "failed" or "line 1 is odd" in error.message
    assert len(server.jobs) == 2  # the second one without a schema, in case that was what it did not like


def test_an_api_that_fails_is_tried_again_and_then_reported(server: BatchServer) -> None:
    server.fails.extend([500, 500])
    assert run(server).score == 1.0
    server.fails.extend([500] * 100)
    with pytest.raises(TooManyErrors, match="HTTP 500"):
        run(server, cache=False, attempts=2)


def test_large_jobs_are_split(server: BatchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MAX_REQUESTS", 4)
    assert run(server).score == 1.0
    assert [len(job.requests) for job in server.jobs.values()] == [4, 2]


def test_nothing_sensitive_is_noted(server: BatchServer) -> None:
    server.looks = 3
    seen = list[Path]()
    rows = [Secret(question=f"my number is {i}", answer="yes") for i in range(3)]

    def look(event: Event) -> None:
        seen.extend(path for path in notes() if json.loads(path.read_text("utf-8"))["requests"])

    with dm.context(callbacks=[look]):
        report = dm.evaluate(
            dm.Predict(Secret), rows, lambda gold, got: gold.answer == got.answer, lm=lm_at(server), batch=True
        )
    assert (report.score, seen) == (1.0, [])


@pytest.mark.parametrize("budget", [dm.Budget(usd=0.0001), dm.Budget(tokens=1000), dm.Budget(calls=4)])
def test_a_budget_is_held_before_a_job_is_sent(server: BatchServer, budget: dm.Budget) -> None:
    rows = [QA(question=f"what is {i}? " + "word " * 200, answer="yes") for i in range(20)]
    with dm.context(budget=budget), pytest.raises(BudgetExceeded) as caught:
        dm.evaluate(dm.Predict(QA), rows, is_right, lm=lm_at(server, cache=False), batch=True)
    (job,) = server.jobs.values()
    assert 0 < len(job.requests) < 6
    assert len(caught.value.report.rows) == len(job.requests)


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_ctrl_c_says_that_jobs_go_on(server: BatchServer) -> None:
    server.looks = 10_000
    sent = list[int]()

    def stop(event: Event) -> None:
        if isinstance(event, BatchProgress) and not sent:
            sent.append(1)
            os.kill(os.getpid(), signal.SIGINT)

    with dm.context(callbacks=[stop]), pytest.raises(dm.errors.Interrupted, match="jobs go on at the provider"):
        run(server)
    assert len(notes()) == 1


def test_damaged_notes_are_no_jobs(server: BatchServer) -> None:
    for i, text in enumerate(("", "{", "[]", '{"account": 1}', '{"account": "a", "job": 1}', "\x00")):
        (cache_dir("batches") / f"{i}.json").write_text(text, "utf-8")
    assert run(server).score == 1.0


def test_routed_lms_are_asked_through_their_jobs(server: BatchServer) -> None:
    lms = [lm_at(server, "openai/gpt-4o-mini"), lm_at(server, "openai/gpt-4o")]
    report = dm.evaluate(dm.Predict(QA), ROWS, is_right, lm=Routed(lms), batch=True)
    assert report.score == 1.0
    assert all(path.endswith(("files", "batches", "content")) or "/batches/job" in path for path in server.seen)


@pytest.mark.parametrize("lm", [dm.LM("local/smollm2"), ScriptedLM(["yes"])])
def test_lms_without_a_batch_api_are_refused_at_once(lm: Any) -> None:
    with pytest.raises(UsageError, match="batch=True"):
        dm.evaluate(dm.Predict(QA), ROWS, is_right, lm=lm, batch=True)


@pytest.mark.parametrize("model", ["deepseek/deepseek-chat", "text-completion-openai/gpt-3.5-turbo-instruct"])
def test_providers_without_a_batch_api_are_named(server: BatchServer, model: str) -> None:
    with pytest.raises(TooManyErrors, match="batch API") as caught:
        run(server, model=model)
    assert "jobs go on" not in caught.value.message
    assert server.jobs == {}


def test_a_stream_comes_in_one_piece(server: BatchServer) -> None:
    lm = lm_at(server).batched(batches.Batches())
    chunks = list(lm.stream(Request((Message("user", "hello"),))))
    assert [chunk.text for chunk in chunks] == ['{"answer": "yes"}', ""]
    assert chunks[-1].response is not None
