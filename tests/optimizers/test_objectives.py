"""Quality and cost: the Pareto set, `pick`, and limits of a run."""

from __future__ import annotations

from typing import Any

import pytest
from search_cases import TRAIN, VAL, Sort, from_demos, learner, search

import declm as dm
from declm.optimizers import BootstrapFewShot, JointSearch, LabeledFewShot, Limits, Optimized, RandomSearch


@pytest.fixture(scope="module")
def best() -> Optimized[Any]:
    return search(dm.Predict(Sort, lm=learner(from_demos)), trials=8)


def tokens(program: Any) -> float:
    """Of one run, on average."""
    report = dm.evaluate(program, VAL, lambda gold, got: gold.label == got.label, progress=False)
    return report.usage.tokens / len(VAL)


def test_trials_know_what_a_run_costs(best: Optimized[Any]) -> None:
    given, *rest = best.report.trials
    assert given.cost.tokens == pytest.approx(tokens(dm.Predict(Sort, lm=learner(from_demos))))
    assert any(trial.cost.tokens > 2 * given.cost.tokens for trial in rest)
    assert all(trial.cost.seconds > 0 for trial in rest if trial.scores)


def test_the_pareto_set_rises_in_cost_and_score(best: Optimized[Any]) -> None:
    front = best.pareto()
    assert front[0].fate == "baseline"
    assert len(front) > 1
    assert [t.score for t in front] == sorted({t.score for t in front})
    assert [t.cost.tokens for t in front] == sorted(t.cost.tokens for t in front)
    whole = [t for t in best.report.trials if t.fate in ("baseline", "finished")]
    for trial in whole:
        assert any(other.score >= trial.score and other.cost.tokens <= trial.cost.tokens for other in front)


def test_pick_takes_the_best_that_is_cheap_enough(best: Optimized[Any]) -> None:
    for trial in best.pareto():
        picked = best.pick(max_tokens=trial.cost.tokens)
        assert picked.state == trial.state
        assert tokens(picked) <= trial.cost.tokens + 1e-6
    assert best.pick().state == best.pareto()[-1].state


def test_nothing_is_cheap_enough(best: Optimized[Any]) -> None:
    with pytest.raises(dm.UsageError, match=r"no program of this search keeps 1 tokens a run; the cheapest takes \d+"):
        best.pick(max_tokens=1)


@pytest.mark.parametrize("optimizer", [JointSearch(trials=8, proposals=0), RandomSearch(candidates=3)])
def test_dear_candidates_are_dropped_early(optimizer: Any) -> None:
    program = dm.Predict(Sort, lm=learner(from_demos))
    limit = 3 * tokens(program)
    best = search(program, optimizer=optimizer, limits=Limits(tokens=limit))
    dropped = [trial for trial in best.report.trials if trial.fate == "too costly"]
    assert dropped
    assert all(trial.rows < len(VAL) and trial.cost.tokens > limit for trial in dropped)
    assert tokens(best.program) <= limit
    assert best.report.accepted is isinstance(optimizer, JointSearch)  # the other one has sets of 16 demos alone


def test_a_given_program_that_is_too_dear_is_replaced() -> None:
    program = LabeledFewShot(24).compile(dm.Predict(Sort, lm=learner(from_demos)), TRAIN)
    limit = tokens(program) / 2
    best = search(program, limits=Limits(tokens=limit), optimizer=RandomSearch(candidates=2, labeled=6))
    assert tokens(best.program) <= limit
    assert best.report.accepted
    assert any("does not keep the limits" in trouble for trouble in best.report.troubles)


def test_where_no_program_is_cheap_enough_the_given_one_comes_back() -> None:
    program = dm.Predict(Sort, lm=learner(from_demos))
    best = search(program, limits=Limits(tokens=1), optimizer=BootstrapFewShot())
    assert best.program.state == program.state
    assert not best.report.accepted


@pytest.mark.parametrize("wrong", [{"tokens": 0}, {"usd": -1.0}, {"seconds": "2"}])
def test_limits_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(dm.UsageError, match="must be a number above 0"):
        Limits(**wrong)
