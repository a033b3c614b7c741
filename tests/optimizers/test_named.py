"""What every named optimizer promises, whatever it searches: one case each, all run through the same tests."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from search_cases import (
    QUESTIONS,
    TRAIN,
    VAL,
    Sort,
    TwoSteps,
    asked,
    careful_steps,
    chance,
    correct,
    from_demos,
    from_instructions,
    from_nothing,
    is_proposal,
    learner,
    rows,
    same_answer,
    search,
    sorted_with,
    told,
)

import declm as dm
from declm.errors import ServerError
from declm.messages import Request, Response
from declm.optimizers import (
    CAPO,
    COPRO,
    GEPA,
    SIMBA,
    BetterTogether,
    BootstrapFewShot,
    InferRules,
    JointSearch,
    KNNFewShot,
    LabeledFewShot,
    MIPROv2,
    Optimized,
    Optimizer,
    OptunaSearch,
    RandomSearch,
)


@dataclass(frozen=True)
class Case:
    """An optimizer, and an LM that what it searches helps."""

    optimizer: Optimizer
    rule: Callable[[Request], str | Response]
    writes: bool

    @property
    def name(self) -> str:
        return type(self.optimizer).__name__


def wavering(request: Request) -> str | Response:
    """As `from_instructions`, but at a temperature it is right now and then, anew for each sample."""
    if is_proposal(request) or not request.options.get("temperature"):
        return from_instructions(request)
    return sorted_with(100 if chance(f"{asked(request)} {request.sample}") < 60 else 0, asked(request))


CASES = [
    Case(LabeledFewShot(12), from_demos, False),
    Case(BootstrapFewShot(labeled=12), from_demos, False),
    Case(RandomSearch(candidates=3), from_demos, False),
    Case(OptunaSearch(trials=8, demos=8), from_demos, False),
    Case(KNNFewShot((2, 4), bootstrapped=8), from_demos, False),
    Case(COPRO(breadth=3, depth=2), from_instructions, True),
    Case(MIPROv2(trials=12, labeled=0, bootstrapped=0), from_instructions, True),
    Case(GEPA(runs=400), from_instructions, True),
    Case(SIMBA(steps=3, batch=12, candidates=3, demos=2), wavering, True),
    Case(InferRules(candidates=3), from_instructions, True),
    Case(CAPO(population=3, generations=2, children=2), from_instructions, True),
    Case(BetterTogether([LabeledFewShot(12), COPRO(breadth=3, depth=1)]), from_demos, True),
    Case(JointSearch(trials=6, proposals=2), from_demos, True),
]

every = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def run(case: Case, rule: Callable[[Request], str | Response] | None = None, **options: Any) -> Optimized[Any]:
    program = dm.Predict(Sort, lm=learner(rule or case.rule))
    return search(program, optimizer=case.optimizer, **options)


@every
def test_it_finds_what_helps(case: Case) -> None:
    best = run(case)
    assert best.report.accepted, best.report
    assert best.score >= best.baseline + 0.3
    assert dm.evaluate(best.program, VAL, correct, progress=False).score == pytest.approx(best.score)


@every
def test_luck_is_not_returned_as_a_gain(case: Case) -> None:
    best = run(case, from_nothing)
    assert not best.report.accepted, best.report
    assert best.program.state == dm.Predict(Sort, lm=learner(from_nothing)).state


@every
def test_the_same_seed_gives_the_same_trials(case: Case) -> None:
    assert told(run(case, seed=0)) == told(run(case, seed=0))


@every
def test_a_budget_is_never_exceeded_and_the_best_so_far_is_returned(case: Case) -> None:
    for calls in (len(VAL), len(VAL) + 40, 200):
        best = run(case, budget=dm.Budget(calls=calls))
        assert best.usage.calls <= calls
        assert best.score >= best.baseline


@every
def test_an_outage_is_no_low_score(case: Case) -> None:
    sent = Counter[str]()

    def failing(request: Request) -> str | Response:
        sent["all"] += 1
        if sent["all"] > len(VAL):
            raise ServerError("down", model="m")
        return case.rule(request)

    best = run(case, failing, concurrency=1)
    assert not best.report.accepted
    assert all(trial.fate in ("baseline", "outage", "repeated") for trial in best.report.trials), best.report
    assert best.score == best.baseline


@every
def test_a_finished_search_is_read_from_its_ledger(case: Case) -> None:
    sent = list[Request]()

    def counted(request: Request) -> str | Response:
        sent.append(request)
        return case.rule(request)

    with dm.context(cache=False):
        first = run(case, counted, name="again")
        paid = len(sent)
        second = run(case, counted, name="again")
    assert told(second) == told(first)
    assert len(sent) == paid
    assert second.usage.calls == first.usage.calls


@every
def test_labels_of_the_last_step_are_enough(case: Case) -> None:
    with dm.context(lm=learner(careful_steps)):
        best = search(
            TwoSteps(),
            optimizer=case.optimizer,
            train=QUESTIONS[:26],
            val=QUESTIONS[26:],
            metric=same_answer,
        )
    given = best.report.trials[0].state.predictors
    changed = {
        path for trial in best.report.trials for path, own in trial.state.predictors.items() if own != given[path]
    }
    # The labels alone say nothing of either step: neither its inputs nor its outputs stand in the rows.
    assert changed == (set() if isinstance(case.optimizer, LabeledFewShot) else {"ask", "answer"}), best.report


@every
def test_a_metric_that_raises_ends_the_search(case: Case) -> None:
    def broken(gold: Sort, got: Sort) -> float:
        raise ZeroDivisionError("in the metric")

    with pytest.raises(dm.MetricError, match="in the metric"):
        run(case, metric=broken)


@every
def test_val_never_reaches_the_writer(case: Case) -> None:
    prompts = list[str]()

    def watched(request: Request) -> str | Response:
        if is_proposal(request):
            prompts.append(str(request.messages))
        return case.rule(request)

    run(case, watched)
    assert bool(prompts) is case.writes
    assert not [row.text for row in VAL if any(f"text: {row.text}\n" in prompt for prompt in prompts)]


@pytest.mark.parametrize("case", [case for case in CASES if case.writes], ids=lambda case: case.name)
def test_a_writer_that_is_down_costs_proposals_alone(case: Case) -> None:
    def mute(request: Request) -> str | Response:
        if is_proposal(request):
            raise ServerError("the writer is down", model="m")
        return from_demos(request)

    best = run(case, mute)
    assert best.score >= best.baseline
    assert any("the writer is down" in trouble for trouble in best.report.troubles), best.report


@pytest.mark.parametrize("case", [case for case in CASES if case.writes], ids=lambda case: case.name)
def test_texts_that_quote_val_are_dropped(case: Case) -> None:
    long = [Sort(text=f"{row.text} and seven more words that are in val", label=row.label) for row in VAL]

    def leaky(request: Request) -> str | Response:
        if is_proposal(request):
            return json.dumps({"instructions": f"Sort. For example: {long[request.sample % len(long)].text}."})
        return from_demos(request)

    best = run(case, leaky, val=long)
    assert not [trial for trial in best.report.trials if "For example" in trial.state.model_dump_json()]
    assert any("quoted rows of val and was dropped" in trouble for trouble in best.report.troubles), best.report


class TestMIPROv2:
    def test_demo_sets_and_instructions_are_searched_together(self) -> None:
        case = Case(MIPROv2(trials=12, labeled=12), from_demos, True)
        best = run(case)
        chosen = {name for trial in best.report.trials for name in trial.choices}
        assert chosen == {"self:set", "self:instructions"}
        assert best.score >= best.baseline + 0.2

    def test_parts_of_val_are_scored_and_the_best_in_full(self) -> None:
        val = rows(90, 200)
        case = Case(MIPROv2(trials=11, minibatch=20, labeled=8), from_demos, True)
        best = run(case, val=val)
        fates = Counter(trial.fate for trial in best.report.trials)
        assert fates["sampled"] == 11
        assert 1 <= fates["finished"] <= 3
        assert {trial.rows for trial in best.report.trials if trial.fate == "finished"} == {90}

    def test_a_row_is_paid_for_once_however_often_it_is_drawn(self) -> None:
        seen = Counter[str]()

        def counted(request: Request) -> str | Response:
            seen[str(request.messages)] += not is_proposal(request)
            return from_demos(request)

        case = Case(MIPROv2(trials=11, minibatch=20), counted, True)
        run(case, val=rows(90, 200))
        assert max(seen.values()) == 1

    @pytest.mark.parametrize("seed", [0, 7])
    def test_seeds_count_zero_too(self, seed: int) -> None:
        case = Case(MIPROv2(trials=8, minibatch=20), from_demos, True)
        mine, other = (run(case, val=rows(90, 200), seed=s) for s in (seed, seed + 1))
        assert told(mine) != told(other)


class TestGEPA:
    def test_children_name_their_parents(self) -> None:
        best = run(Case(GEPA(runs=400), from_instructions, True))
        children = [trial for trial in best.report.trials if trial.parent is not None]
        assert children
        assert all(trial.origin.startswith(("reflection on", "merge with")) for trial in children)

    def test_feedback_reaches_the_writer(self) -> None:
        prompts = list[str]()

        def watched(request: Request) -> str | Response:
            if is_proposal(request):
                prompts.append(request.messages[-1].content)
            return from_instructions(request)

        def explained(gold: Sort, got: Sort) -> dm.Score:
            return dm.Score(float(gold.label == got.label), f"a {gold.label} it is")

        run(Case(GEPA(runs=200), watched, True), metric=explained)
        assert any("tool it is" in prompt for prompt in prompts)

    def test_replies_that_cannot_be_read_are_reflected_on(self) -> None:
        prompts = list[str]()

        def babbling(request: Request) -> str | Response:
            if is_proposal(request):
                prompts.append(request.messages[-1].content)
                return json.dumps({"instructions": "Answer with one of the labels."})
            return '{"label": "tool"}' if "one of the labels" in request.messages[0].content else "well..."

        best = run(Case(GEPA(runs=150), babbling, True))
        assert prompts
        assert best.baseline == 0.0
        assert best.score > 0.2

    def test_runs_are_limited(self) -> None:
        best = run(Case(GEPA(runs=120), from_instructions, True))
        assert best.usage.calls <= 120 + len(VAL) + 10 + 2 * len(TRAIN)


class TestBetterTogether:
    def test_later_steps_go_on_from_earlier_ones(self) -> None:
        case = Case(BetterTogether([LabeledFewShot(12), KNNFewShot((2,))]), from_demos, False)
        best = run(case)
        assert [trial.number for trial in best.report.trials] == list(range(len(best.report.trials)))
        assert [t.origin.split(":")[0] for t in best.report.trials[1:]] == ["step 1", "step 2"]

    def test_an_empty_plan_is_refused(self) -> None:
        with pytest.raises(dm.UsageError, match="at least one optimizer"):
            BetterTogether([])


def _any(value: Any) -> Any:
    """Hide a wrong value from the type checkers, as a notebook does."""
    return value


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: MIPROv2(auto=_any("huge")), "'light', 'medium', 'heavy'"),
        (lambda: MIPROv2(minibatch=0), "minibatch=0"),
        (lambda: GEPA(parents=_any("any")), "'pareto', 'best'"),
        (lambda: GEPA(runs=0), "runs=0"),
        (lambda: COPRO(breadth=1), "breadth=1"),
        (lambda: SIMBA(batch=1), "batch=1"),
        (lambda: CAPO(penalty=-1.0), "penalty=-1.0"),
        (lambda: InferRules(candidates=0), "candidates=0"),
        (lambda: OptunaSearch(demos=0), "demos=0"),
        (lambda: KNNFewShot(()), "at least one"),
        (lambda: KNNFewShot((0,)), "nearest=0"),
        (lambda: RandomSearch(rounds=0), "rounds=0"),
    ],
)
def test_arguments_are_checked(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(dm.UsageError, match=said):
        make()


def test_simba_needs_a_batch_of_rows() -> None:
    with pytest.raises(dm.UsageError, match="batch=64"):
        run(Case(SIMBA(batch=64), from_demos, True))
