"""Promise 20: a search that is killed goes on where it was, pays for nothing twice, and ends the same."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import resumed_search
from fault_server import completion, serving
from search_cases import VAL, Sort, correct, from_demos, learner, search, told, two_steps

import declm as dm
from declm.messages import Message, Request
from declm.optimizers import JointSearch

IN_FLIGHT = 2 * 16
"""Calls that a kill can lose: two for each of the rows in flight."""


def count(path: Path) -> int:
    return len(path.read_bytes()) // len(b"call\n") if path.exists() else 0


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], int]:
    """What the search comes to without any trouble, and its calls."""
    calls = tmp_path_factory.mktemp("unbroken") / "calls"
    return resumed_search.run(None, calls), count(calls)


def start(ledger: Path | str, calls: Path | str) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(resumed_search.__file__)), str(ledger), str(calls)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_at(process: subprocess.Popen[str], counted: Callable[[], int], wanted: int) -> None:
    """kill -9 once so many calls were made."""
    try:
        limit = time.monotonic() + 45
        while counted() < wanted and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.005)
        assert process.poll() is None, process.communicate()[1]
        assert counted() >= wanted
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process as POSIX does")
@pytest.mark.timeout(180)  # three processes that import Optuna, maybe on a busy machine
def test_a_search_that_is_killed_twice_ends_like_an_unbroken_one(
    tmp_path: Path, unbroken: tuple[dict[str, Any], int]
) -> None:
    expected, whole = unbroken
    ledger, calls = tmp_path / "search.sqlite", tmp_path / "calls"
    kill_at(start(ledger, calls), lambda: count(calls), whole // 5)
    kill_at(start(ledger, calls), lambda: count(calls), whole * 3 // 5)
    found = resumed_search.run(str(ledger), calls)
    assert found == expected
    assert count(calls) <= 1.02 * whole + 2 * IN_FLIGHT


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process as POSIX does")
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_after_kill_9_a_server_sees_no_finished_row_again(tmp_path: Path) -> None:
    with serving() as server:
        server.answer = lambda body: completion(two_steps(as_request(body)))
        expected = resumed_search.run(None, server.url)
        whole = server.count
        server.bodies.clear()
        ledger = tmp_path / "search.sqlite"
        kill_at(start(ledger, server.url), lambda: server.count, whole // 2)
        found = resumed_search.run(str(ledger), server.url)
    assert found == expected
    assert whole <= server.count <= 1.02 * whole + IN_FLIGHT


def as_request(body: Mapping[str, Any]) -> Request:
    return Request(messages=tuple(Message(one["role"], one["content"]) for one in body["messages"]))


def test_a_finished_search_is_free_the_second_time(tmp_path: Path, unbroken: tuple[dict[str, Any], int]) -> None:
    expected, whole = unbroken
    ledger, calls = str(tmp_path / "search.sqlite"), tmp_path / "calls"
    assert resumed_search.run(ledger, calls) == expected
    assert count(calls) == whole
    assert resumed_search.run(ledger, calls) == expected
    assert count(calls) == whole


def test_a_search_with_one_trial_in_flight_resumes_too(tmp_path: Path) -> None:
    ledger = str(tmp_path / "search.sqlite")
    first, second = learner(from_demos), learner(from_demos)
    options = {"optimizer": JointSearch(trials=5, proposals=2, parallel=1), "name": ledger}
    best = search(dm.Predict(Sort, lm=first), **options)
    again = search(dm.Predict(Sort, lm=second), **options)
    assert told(best) == told(again)
    assert (len(second.requests), again.usage) == (0, best.usage)


def test_a_larger_budget_goes_on_from_what_is_paid(tmp_path: Path) -> None:
    ledger = str(tmp_path / "search.sqlite")
    first, second = learner(from_demos), learner(from_demos)
    small = search(dm.Predict(Sort, lm=first), name=ledger, budget=dm.Budget(calls=120))
    large = search(dm.Predict(Sort, lm=second), name=ledger, budget=dm.Budget(calls=600))
    assert small.report.stopped == "calls"
    assert len(first.requests) + len(second.requests) <= large.usage.calls + 20
    # The small budget compares candidates on fewer rows of val: both programs are measured on all of them.
    assert large.score >= dm.evaluate(small.program, VAL, correct, progress=False).score
    assert large.report.accepted


def test_another_seed_reuses_the_rows_of_the_given_program(tmp_path: Path) -> None:
    ledger = str(tmp_path / "search.sqlite")
    search(dm.Predict(Sort, lm=learner(from_demos)), name=ledger, trials=0)
    lm = learner(from_demos)
    search(dm.Predict(Sort, lm=lm), name=ledger, trials=0, seed=9)
    assert lm.requests == []


def test_another_metric_scores_kept_answers_anew(tmp_path: Path) -> None:
    ledger, calls = str(tmp_path / "search.sqlite"), list[str]()
    search(dm.Predict(Sort, lm=learner(from_demos)), name=ledger, trials=0)

    def strict(gold: Sort, got: Sort) -> bool:
        calls.append(got.label)
        return correct(gold, got)

    lm = learner(from_demos)
    best = search(dm.Predict(Sort, lm=lm), name=ledger, trials=0, metric=strict)
    assert (len(calls), lm.requests) == (len(VAL), [])
    assert best.baseline > 0


def test_an_outage_is_not_remembered(tmp_path: Path) -> None:
    ledger, broken = str(tmp_path / "search.sqlite"), True

    def reply(request: dm.Request) -> str:
        if broken and len(request.messages) > 2:
            raise dm.ServerError("down")
        return from_demos(request)

    program = dm.Predict(Sort, lm=learner(reply))
    assert not search(program, name=ledger).report.accepted
    broken = False
    assert search(program, name=ledger).report.accepted


def test_proposals_are_kept_and_charged_once(tmp_path: Path) -> None:
    ledger = str(tmp_path / "search.sqlite")
    proposers = [learner(from_demos), learner(from_demos)]
    usages = [
        search(dm.Predict(Sort, lm=learner(from_demos)), name=ledger, proposer=proposer, trials=1).usage
        for proposer in proposers
    ]
    assert usages[0] == usages[1]
    assert [len(proposer.requests) for proposer in proposers] == [2, 0]


def test_the_output_of_the_script_is_json(tmp_path: Path) -> None:
    assert json.loads(json.dumps(resumed_search.run(None, tmp_path / "calls")))["scores"][0] <= 1.0
