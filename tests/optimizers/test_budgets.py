"""Budgets of a search are hard, and the best so far comes back."""

from __future__ import annotations

import time
from typing import Any

import pytest
from search_cases import TRAIN, VAL, Sort, asked, correct, from_demos, is_proposal, learner, search, sorted_with

import declm as dm
from declm.messages import Capabilities, Request, Response
from declm.optimizers import JointSearch
from declm.optimizers.base import Problem
from declm.optimizers.bench import Bench
from declm.testing import FunctionLM


@pytest.mark.parametrize("calls", [37, 90, 250])
def test_calls_are_never_passed(calls: int) -> None:
    lm = learner(from_demos)
    best = search(dm.Predict(Sort, lm=lm), budget=dm.Budget(calls=calls), trials=20)
    assert len(lm.requests) == best.usage.calls == best.report.usage.calls <= calls
    assert best.report.stopped == "calls"
    assert "The budget's limit on calls ended the search." in str(best.report)
    assert best.score >= best.baseline
    assert best.program.state in [trial.state for trial in best.report.trials]


def test_more_calls_find_more() -> None:
    def score(calls: int) -> float:
        return search(dm.Predict(Sort, lm=learner(from_demos)), budget=dm.Budget(calls=calls), trials=20).score

    assert score(60) < score(300)


def test_a_budget_that_ends_inside_a_group_still_finishes_one_candidate() -> None:
    lm = learner(from_demos)
    best = search(dm.Predict(Sort, lm=lm), budget=dm.Budget(calls=140), trials=20, proposals=0)
    assert "finished" in {trial.fate for trial in best.report.trials}


@pytest.mark.parametrize("limit", [{"tokens": 9_000}, {"usd": 0.15}])
def test_tokens_and_usd_are_kept_up_to_the_calls_in_flight(limit: dict[str, Any]) -> None:
    def priced(request: Request) -> Response:
        return Response(text=from_demos(request), usage=dm.Usage(calls=1, input_tokens=90, output_tokens=10, usd=0.001))

    lm = FunctionLM(priced)
    best = search(dm.Predict(Sort, lm=lm), budget=dm.Budget(**limit), trials=20, concurrency=4)
    assert best.report.stopped in limit
    assert best.usage.tokens <= limit.get("tokens", 10**9) + 4 * 100
    assert best.usage.usd <= limit.get("usd", 10**9) + 4 * 0.001
    assert best.usage.usd == pytest.approx(len(lm.requests) * 0.001)


def test_seconds_end_the_search() -> None:
    def slow(request: Request) -> str:
        time.sleep(0.002)
        return from_demos(request)

    started = time.monotonic()
    best = search(dm.Predict(Sort, lm=FunctionLM(slow)), budget=dm.Budget(seconds=0.8), trials=10_000, max_demos=32)
    assert time.monotonic() - started < 10.0  # a busy machine tests the result, too
    assert best.report.stopped == "seconds"
    assert best.report.trials


@pytest.mark.parametrize("trials", [0, 1, 5])
def test_trials_are_counted_without_the_baseline(trials: int) -> None:
    lm = learner(from_demos)
    options = JointSearch(trials=20, proposals=2)
    best = search(dm.Predict(Sort, lm=lm), optimizer=options, budget=dm.Budget(trials=trials))
    assert len([t for t in best.report.trials if t.fate not in ("baseline", "repeated")]) == trials
    if not trials:
        assert len(lm.requests) == len(VAL)


def test_a_budget_below_the_baseline_is_an_error_that_says_so() -> None:
    lm = learner(from_demos)
    with pytest.raises(dm.BudgetExceeded, match="first scoring of the given program on 24 rows of val") as caught:
        search(dm.Predict(Sort, lm=lm), budget=dm.Budget(calls=20))
    assert caught.value.limit == "calls"
    assert len(lm.requests) <= 20


def test_the_baseline_alone_is_a_result() -> None:
    lm = learner(from_demos)
    best = search(dm.Predict(Sort, lm=lm), budget=dm.Budget(calls=len(VAL)))
    assert [t.fate for t in best.report.trials] == ["baseline"]
    assert best.program.state == dm.Predict(Sort).state


def test_budgets_around_the_search_count_too() -> None:
    lm = learner(from_demos)
    with dm.context(budget=dm.Budget(calls=100)):
        best = search(dm.Predict(Sort, lm=lm), trials=20)
    assert len(lm.requests) <= 100
    assert best.report.stopped == "calls"


def test_an_outer_budget_below_the_baseline_is_an_error() -> None:
    with dm.context(budget=dm.Budget(calls=10)), pytest.raises(dm.BudgetExceeded):
        search(dm.Predict(Sort, lm=learner(from_demos)))


@pytest.mark.parametrize("role", ["task", "teacher", "proposer"])
def test_usd_with_an_lm_of_unknown_price_is_refused_before_any_call(role: str) -> None:
    priced, unpriced = learner(from_demos), FunctionLM(from_demos, capabilities=Capabilities(priced=False), name="odd")
    program = dm.Predict(Sort, lm=unpriced if role == "task" else priced)
    roles: dict[str, Any] = {} if role == "task" else {role: unpriced}
    with pytest.raises(dm.UsageError, match=r"Budget\(usd=\.\.\.\) can't be kept with 'odd', whose price is unknown"):
        search(program, budget=dm.Budget(usd=1.0), **roles)
    assert priced.requests == unpriced.requests == []


def test_the_estimate_is_printed_before_the_first_call(capsys: pytest.CaptureFixture[str]) -> None:
    printed: list[str] = []

    def reply(request: Request) -> str:
        if not printed:
            printed.append(capsys.readouterr().err)
        return from_demos(request)

    lm = FunctionLM(reply, name="tiny")
    options = JointSearch(trials=2, proposals=0)
    dm.optimize(
        dm.Predict(Sort, lm=lm),
        train=TRAIN,
        val=VAL,
        metric=correct,
        optimizer=options,
        budget=dm.Budget(calls=5000, usd=2),
    )
    (line,) = printed[0].splitlines()
    assert line.startswith("optimize: about ")
    assert line.endswith(" on tiny; budget calls 5,000, usd 2")
    assert "LM calls" in line


def test_nothing_is_printed_if_nobody_wants_it(capsys: pytest.CaptureFixture[str]) -> None:
    search(dm.Predict(Sort, lm=learner(from_demos)), trials=2)
    assert capsys.readouterr() == ("", "")


def test_the_estimate_is_of_the_right_size() -> None:
    from declm.optimizers.forecasts import forecast

    lm = learner(from_demos)
    program = dm.Predict(Sort, lm=lm)
    problem = Problem(
        program=program, train=TRAIN, val=VAL, metric=correct, budget=dm.Budget(), teacher=program, max_demos=32
    )
    expected = forecast(problem, 12, 2)
    search(program, trials=12)
    assert expected.calls / 2 <= len(lm.requests) <= expected.calls * 2


async def test_a_bench_affords_by_what_runs_have_cost() -> None:
    program = dm.Predict(Sort, lm=learner(lambda r: sorted_with(100, asked(r))))
    problem = Problem(
        program=program,
        train=TRAIN,
        val=VAL,
        metric=correct,
        budget=dm.Budget(calls=40),
        teacher=program,
        progress=False,
    )
    with Bench.over(problem) as bench:
        assert bench.affords(40, 1.0)
        assert not bench.affords(41, 1.0)
        await bench.scores(program.state, 0, 30)
        assert bench.usage.calls == 30
        assert (bench.affords(10, 1.0), bench.affords(11, 1.0), bench.affords(2, 0.8)) == (True, False, True)
        assert bench.tight == "calls"
        with pytest.raises(dm.BudgetExceeded):
            await bench.scores(program.with_instructions("Other.").state, 0, 30)
        assert bench.usage.calls == 40


def test_the_search_counts_all_roles() -> None:
    student, proposer, teacher = learner(from_demos), learner(from_demos), learner(from_demos)
    best = search(dm.Predict(Sort, lm=student), proposer=proposer, teacher=teacher)
    spent = sum(len(lm.requests) for lm in (student, proposer, teacher))
    assert best.usage.calls == spent
    assert all(is_proposal(r) for r in proposer.requests)
