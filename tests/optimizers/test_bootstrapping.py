"""`LabeledFewShot`, `BootstrapFewShot` and `RandomSearch`."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from search_cases import (
    QUESTIONS,
    TRAIN,
    VAL,
    Sort,
    TwoSteps,
    from_nothing,
    learner,
    rows,
    same_answer,
    search,
    two_steps,
)

import declm as dm
from declm.messages import Request
from declm.optimizers import BootstrapFewShot, LabeledFewShot, Optimized, RandomSearch
from declm.specs import row_hash


def sort(**options: Any) -> dm.Predict[..., Sort]:
    return dm.Predict(Sort, lm=learner(**options))


def run(optimizer: Any, program: Any = None, **options: Any) -> Optimized[Any]:
    return search(program or sort(), optimizer=optimizer, **options)


def demos(best: Optimized[Any], number: int, path: str = "self") -> tuple[Any, ...]:
    """What a trial showed."""
    return next(t for t in best.report.trials if t.number == number).state.predictors[path].demos


class TestLabeledFewShot:
    def test_labelled_rows_become_demos_and_the_gain_is_measured(self) -> None:
        best = run(LabeledFewShot(12))
        assert len(best.program.state.predictors["self"].demos) == 12
        assert best.score > best.baseline + 0.3
        assert best.usage.calls <= 2 * len(VAL) + 2 * len(TRAIN)  # and the confirmation

    def test_compile_calls_no_lm(self) -> None:
        def refuse(request: Request) -> str:
            raise AssertionError("called")

        program = dm.Predict(Sort, lm=learner(refuse))
        ready = LabeledFewShot(6).compile(program, TRAIN)
        assert len(ready.state.predictors["self"].demos) == 6

    def test_balanced_shows_each_value_equally_often(self) -> None:
        lopsided = [*rows(30)[::3], *rows(6, 300)]
        ready = LabeledFewShot(6, "balanced").compile(sort(), lopsided)
        shown = Counter(demo.outputs["label"] for demo in ready.state.predictors["self"].demos)
        assert shown == {"fruit": 2, "tool": 2, "animal": 2}

    def test_first_takes_rows_as_they_come(self) -> None:
        ready = LabeledFewShot(3, "first").compile(sort(), TRAIN)
        assert [demo.row for demo in ready.state.predictors["self"].demos] == [row_hash(row) for row in TRAIN[:3]]

    def test_seeds_differ_and_zero_is_one_of_them(self) -> None:
        drawn = [LabeledFewShot(4).compile(sort(), TRAIN, seed=seed).state.hash for seed in (0, 0, 1, 9)]
        assert len(set(drawn)) == 3
        assert drawn[0] == drawn[1]

    def test_a_predictor_without_labels_gets_no_demos(self) -> None:
        ready = LabeledFewShot(4).compile(TwoSteps(), QUESTIONS)
        assert [len(state.demos) for state in ready.state.predictors.values()] == [0, 0]

    @pytest.mark.parametrize("arguments", [{"demos": 0}, {"demos": "4"}, {"select": "best"}])
    def test_arguments_are_checked(self, arguments: dict[str, Any]) -> None:
        with pytest.raises(dm.UsageError, match=next(iter(arguments))):
            LabeledFewShot(**arguments)

    def test_rows_of_another_program_are_refused(self) -> None:
        with pytest.raises(dm.UsageError, match="text"):
            LabeledFewShot().compile(sort(), QUESTIONS)


class TestBootstrapFewShot:
    def test_demos_are_what_passing_runs_said(self) -> None:
        best = run(BootstrapFewShot(bootstrapped=3, labeled=8))
        shown = demos(best, 1)
        assert [demo.source for demo in shown] == ["bootstrapped"] * 3 + ["labeled"] * 5
        assert len({demo.row for demo in shown}) == 8
        assert all(demo.score == 1.0 for demo in shown)

    def test_no_more_rows_are_run_than_are_needed(self) -> None:
        calls = Counter[str]()

        def perfect(request: Request) -> str:
            text = request.messages[-1].content.removeprefix("text: ")
            calls[text] += 1
            return '{"label": "%s"}' % next(row.label for row in [*TRAIN, *VAL] if row.text == text)

        run(BootstrapFewShot(bootstrapped=3, labeled=0), dm.Predict(Sort, lm=learner(perfect)))
        assert sum(calls[row.text] for row in TRAIN) == 3

    def test_steps_in_between_need_no_labels(self) -> None:
        best = _two_steps(BootstrapFewShot(bootstrapped=4, labeled=0))
        assert [len(demos(best, 1, path)) for path in ("ask", "answer")] == [4, 4]
        assert "reasoning" in demos(best, 1, "answer")[0].outputs
        assert best.score == 1.0

    def test_later_rounds_are_warm(self) -> None:
        temperatures = list[Any]()

        def stubborn(request: Request) -> str:
            temperatures.append(request.options.get("temperature"))
            return '{"label": "tool"}' if request.options.get("temperature") else '{"label": "no"}'

        best = run(
            BootstrapFewShot(bootstrapped=2, labeled=0, rounds=2), dm.Predict(Sort, lm=learner(stubborn), retries=0)
        )
        assert set(temperatures) == {None, 1.0}
        assert {demo.outputs["label"] for demo in demos(best, 1)} == {"tool"}

    def test_nothing_passes_and_labels_fill_up(self) -> None:
        best = run(BootstrapFewShot(threshold=2.0, labeled=5))
        assert [demo.source for demo in demos(best, 1)] == ["labeled"] * 5

    def test_a_metric_that_raises_names_its_row(self) -> None:
        def broken(gold: Sort, got: Sort) -> float:
            if gold.text == TRAIN[1].text:
                raise ZeroDivisionError("in the metric")
            return 1.0

        with pytest.raises(dm.MetricError, match="in the metric"):
            run(BootstrapFewShot(bootstrapped=9), metric=broken)


def _two_steps(optimizer: Any, **options: Any) -> Optimized[Any]:
    with dm.context(lm=learner(two_steps)):
        return run(optimizer, TwoSteps(), train=QUESTIONS[:26], val=QUESTIONS[26:], metric=same_answer, **options)


class TestRandomSearch:
    def test_all_sets_are_measured_and_the_best_wins(self) -> None:
        best = run(RandomSearch(candidates=4, labeled=8))
        tried = [trial for trial in best.report.trials if trial.fate == "finished"]
        assert len(tried) + sum(t.fate == "repeated" for t in best.report.trials) == 7
        assert {trial.rows for trial in tried} == {len(VAL)}
        assert best.score == max(trial.score for trial in tried)
        assert best.score > best.baseline + 0.3

    def test_trials_say_how_they_were_made(self) -> None:
        best = run(RandomSearch(candidates=1))
        origins = [trial.origin for trial in best.report.trials]
        assert origins[:4] == ["", "no demos", "labelled demos", "4 bootstrapped, in order"]
        assert origins[4].endswith("bootstrapped, shuffled")
        assert "bootstrapped, shuffled" in str(best.report)

    def test_no_row_is_run_twice_under_the_same_demos(self) -> None:
        seen = Counter[str]()

        def counted(request: Request) -> str:
            seen[str(request.messages)] += 1
            return from_nothing(request)

        run(RandomSearch(candidates=6), dm.Predict(Sort, lm=learner(counted)))
        assert max(seen.values()) == 1

    def test_luck_is_not_accepted(self) -> None:
        best = run(RandomSearch(candidates=8), dm.Predict(Sort, lm=learner(from_nothing)))
        assert not best.report.accepted
        assert best.score == best.baseline

    def test_a_budget_of_trials_ends_it_with_the_best_so_far(self) -> None:
        best = run(RandomSearch(), budget=dm.Budget(trials=2))
        assert sum(trial.fate == "finished" for trial in best.report.trials) == 2
        assert best.report.stopped == "trials"
        assert best.report.accepted

    def test_several_predictors(self) -> None:
        best = _two_steps(RandomSearch(candidates=2))
        assert best.score == 1.0

    def test_the_study_holds_the_trials(self) -> None:
        best = run(RandomSearch(candidates=2))
        assert len(best.study.trials) == sum(trial.fate != "repeated" for trial in best.report.trials)
        assert best.study.best_value == pytest.approx(best.score)
