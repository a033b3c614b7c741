"""Wrong calls cost nothing, bugs of metrics stop at once, and outages never become scores."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel
from search_cases import (
    TRAIN,
    VAL,
    Sort,
    asked,
    correct,
    from_demos,
    is_proposal,
    learner,
    rows,
    search,
    shown,
    sorted_with,
    told,
)

import declm as dm
from declm.messages import Request
from declm.optimizers import JointSearch
from declm.testing import FunctionLM

# --- wrong calls: one clear error, nothing paid


class Empty(dm.Module):
    def forward(self, text: str) -> str:
        return text


class Words(BaseModel):
    words: str


class Nameless(dm.Module):
    def __init__(self, lm: Any) -> None:
        self.sort = dm.Predict(Sort, lm=lm)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"train": []}, "train is empty: give it some rows with labels"),
    ({"val": []}, "val is empty: give it some rows with labels, or leave it out to split train"),
    ({"train": TRAIN[:1], "val": None}, "one row can't be both train and val"),
    ({"val": TRAIN[20:]}, "10 of the 10 rows of val are in train too"),
    ({"val": [*VAL, TRAIN[3]]}, "1 of the 37 rows of val are in train too"),
    ({"train": [{"text": "a"}]}, r"train\[0\] is a dict; rows are instances of a signature"),
    ({"val": [*VAL, "fox"]}, r"val\[36\] is a str; rows are instances"),
    ({"train": [Words(words="fox")]}, "the program needs `text`, which the rows do not have"),
    ({"metric": lambda gold: True}, r"the metric .* must take \(gold, got\)"),
    ({"metric": "f1"}, "metric='f1' must be a function"),
    ({"accept": "maybe"}, "accept='maybe' is neither 'significant' nor 'best'"),
    ({"max_demos": -1}, "max_demos=-1 must be 0 or more"),
    ({"concurrency": 0}, "concurrency=0 must be 1 or more"),
    ({"seed": -1}, "seed=-1 must be a whole number from 0"),
    ({"seed": 1.5}, "seed=1.5 must be a whole number from 0"),
    ({"seed": 2**32}, "must be a whole number from 0"),
    ({"name": "a/b"}, "name='a/b': use letters"),
    ({"teacher": 3}, "neither a model name nor an LM"),
    ({"proposer": 3}, "neither a model name nor an LM"),
    ({"proposer": "gpt-5-mini"}, "does not say which provider serves it"),
]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=[message[:30] for _, message in WRONG])
def test_a_wrong_call_is_one_clear_error_before_any_request(options: dict[str, Any], message: str) -> None:
    lm = learner(from_demos)
    with pytest.raises((dm.UsageError, dm.UnknownModel), match=message):
        search(dm.Predict(Sort, lm=lm), **options)
    assert lm.requests == []


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (Empty(), "Empty has no predictors to tune; keep them as attributes of the module"),
        (lambda text: text, "optimize.. takes a module or a predictor, not function"),
        (dm.Predict, "takes a module or a predictor, not type"),
        (Nameless(FunctionLM(from_demos)), "Nameless has no `forward`"),
        (dm.Predict(Sort), r"no LM is set: call dm\.configure"),
    ],
)
def test_a_program_that_can_not_be_tuned_is_refused(program: Any, message: str) -> None:
    with pytest.raises(dm.UsageError, match=message):
        search(program)


@pytest.mark.parametrize("options", [{"trials": -1}, {"proposals": -2}, {"parallel": 0}])
def test_a_search_with_wrong_options_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(dm.UsageError, match="JointSearch"):
        JointSearch(**options)


def test_an_lm_that_forward_sets_needs_a_proposer() -> None:
    lm, proposer = learner(from_demos), learner(from_demos)

    class Sets(dm.Module):
        def __init__(self) -> None:
            self.sort = dm.Predict(Sort)

        def forward(self, text: str) -> Sort:
            with dm.context(lm=lm):
                return self.sort(text=text)

    with pytest.raises(dm.UsageError, match=r"where `forward` sets the LM, give proposer="):
        search(Sets())
    assert lm.requests == []
    assert search(Sets(), proposer=proposer).report.accepted
    assert search(Sets(), proposals=0).report.accepted


# --- promise 19: the metric's bugs


def raises(gold: Sort, got: Sort) -> bool:
    raise KeyError("bug")


METRICS: list[tuple[Callable[..., Any], str]] = [
    (raises, "the metric raises raised KeyError: 'bug' at row"),
    (lambda gold, got: math.nan, "the metric returned nan; scores lie in"),
    (lambda gold, got: None, "the metric returned None of type NoneType"),
    (lambda gold, got: "good", "the metric returned 'good' of type str"),
    (lambda gold, got: 2, "the metric returned 2.0; scores lie in"),
]


@pytest.mark.parametrize(("metric", "message"), METRICS)
@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_bug_of_the_metric_stops_at_once(metric: Any, message: str, concurrency: int) -> None:
    lm = learner(from_demos)
    with pytest.raises(dm.MetricError, match=message):
        search(dm.Predict(Sort, lm=lm), metric=metric, concurrency=concurrency)
    assert len(lm.requests) <= 2 * concurrency


def test_the_metric_error_names_the_row_as_the_user_numbers_it() -> None:
    def metric(gold: Sort, got: Sort) -> bool:
        if gold == VAL[29]:
            raise ValueError("odd row")
        return correct(gold, got)

    with pytest.raises(dm.MetricError, match="odd row at row 29") as caught:
        search(dm.Predict(Sort, lm=learner(from_demos)), metric=metric)
    assert caught.value.row == 29


def test_a_metric_that_breaks_on_a_candidate_stops_the_search_and_cancels_the_rest() -> None:
    def reply(request: Request) -> str:
        return from_demos(request)

    lm = learner(reply)

    def metric(gold: Sort, got: Sort, run: dm.Prediction[Sort]) -> bool:
        messages = run.trace.exchanges[0][0].messages
        if len(messages) > 2:
            raise ValueError("did not expect demos")
        return correct(gold, got)

    with pytest.raises(dm.MetricError, match="did not expect demos"):
        search(dm.Predict(Sort, lm=lm), metric=metric, concurrency=4)
    with_demos = [request for request in lm.requests if shown(request)]
    assert len(with_demos) <= 8


# --- the provider is unusable from the start


@pytest.mark.parametrize("kind", [dm.AuthError, dm.UnknownModel, dm.QuotaExceeded])
def test_what_no_retry_can_help_is_raised_from_the_baseline(kind: type[dm.LMError]) -> None:
    def fails(request: Request) -> str:
        raise kind("no way")

    lm = FunctionLM(fails)
    with pytest.raises(kind, match="no way"):
        search(dm.Predict(Sort, lm=lm), concurrency=3)
    assert len(lm.requests) <= 6


def test_a_dead_endpoint_is_given_up_during_the_baseline() -> None:
    def fails(request: Request) -> str:
        raise dm.TransportError("connection refused")

    lm = FunctionLM(fails)
    with pytest.raises(dm.TooManyErrors, match="TransportError: connection refused"):
        search(dm.Predict(Sort, lm=lm), concurrency=4)
    assert len(lm.requests) <= 18


def test_a_program_that_crashes_is_given_up_during_the_baseline() -> None:
    class Broken(dm.Module):
        def __init__(self, lm: Any) -> None:
            self.sort = dm.Predict(Sort, lm=lm)

        def forward(self, text: str) -> str:
            return {}[self.sort(text=text).label]

    with pytest.raises(dm.TooManyErrors, match="KeyError"):
        search(Broken(learner(from_demos)))


# --- promise 21: outages during the search


def test_an_outage_during_trials_is_no_score_and_the_given_program_stays() -> None:
    def reply(request: Request) -> str:
        if shown(request):
            raise dm.ServerError("overloaded")
        return from_demos(request)

    program = dm.Predict(Sort, lm=learner(reply))
    best = search(program, trials=30, proposals=0)
    lost = [t for t in best.report.trials if t.fate != "baseline"]
    assert {t.fate for t in lost} <= {"outage", "repeated"}
    assert not any(t.score == 0.0 for t in lost)
    assert len([t for t in lost if t.fate == "outage"]) <= 12
    assert (best.score, best.report.accepted, best.program.state) == (best.baseline, False, program.state)
    assert any("ServerError: overloaded" in line for line in best.report.troubles)
    assert "Trouble: trial 1: " in str(best.report)
    assert all(t.value is None for t in best.study.trials[1:] if t.user_attrs["fate"] == "outage")


def test_an_outage_of_some_rows_leaves_them_unscored() -> None:
    """One row in ten fails for good: every trial is scored on the others."""

    def reply(request: Request) -> str:
        if not is_proposal(request) and sum(map(ord, asked(request))) % 10 == 0:
            raise dm.TimedOut("too slow")
        return from_demos(request)

    best = search(dm.Predict(Sort, lm=learner(reply)))
    healthy = search(dm.Predict(Sort, lm=learner(from_demos)))
    assert best.report.accepted
    assert best.score > 0.75
    assert abs(best.baseline - healthy.baseline) < 0.1


def test_a_trial_that_lost_a_large_part_of_its_rows_says_nothing() -> None:
    def reply(request: Request) -> str:
        if shown(request) and sum(map(ord, asked(request))) % 5 < 2:
            raise dm.TimedOut("too slow")
        return from_demos(request)

    best = search(dm.Predict(Sort, lm=learner(reply)), proposals=0, trials=3)
    assert {t.fate for t in best.report.trials} <= {"baseline", "outage", "repeated"}
    assert best.report.best_number == 0


@pytest.mark.parametrize(
    ("kind", "alive"), [(dm.ServerError, 40), (dm.AuthError, 60), (dm.QuotaExceeded, 140), (dm.RateLimited, 260)]
)
def test_a_provider_that_dies_on_the_way_leaves_the_best_so_far(kind: type[dm.LMError], alive: int) -> None:
    count, lock = 0, threading.Lock()

    def reply(request: Request) -> str:
        nonlocal count
        with lock:
            count += 1
            if count > alive:
                raise kind("gone")
        return from_demos(request)

    lm = FunctionLM(reply)
    best = search(dm.Predict(Sort, lm=lm), trials=12)
    assert best.report.troubles
    assert best.score >= best.baseline
    assert not any(t.score == 0.0 for t in best.report.trials)
    assert len(lm.requests) < alive + 400
    if alive == 260:
        assert best.report.accepted
        assert best.score > best.baseline + 0.3


def test_a_short_outage_costs_a_round_and_no_more() -> None:
    count, lock = 0, threading.Lock()

    def reply(request: Request) -> str:
        nonlocal count
        if shown(request):
            with lock:
                count += 1
                if count <= 30:
                    raise dm.ServerError("restarting")
        return from_demos(request)

    best = search(dm.Predict(Sort, lm=learner(reply)), trials=12, proposals=0)
    fates = [t.fate for t in best.report.trials]
    assert "outage" in fates
    assert "finished" in fates
    assert best.report.accepted


def test_replies_that_can_not_be_read_are_the_programs_own_failures() -> None:
    def reply(request: Request) -> str:
        if is_proposal(request) or shown(request):
            return from_demos(request)
        return "nonsense" if "fox" in asked(request) else sorted_with(40, asked(request))

    best = search(dm.Predict(Sort, lm=learner(reply), retries=0), train=rows(36))
    assert best.report.accepted
    assert best.report.troubles == ()


def test_trials_of_candidates_that_crash_the_program_score_zero_there() -> None:
    class Picky(dm.Module):
        def __init__(self, lm: Any) -> None:
            self.sort = dm.Predict(Sort, lm=lm)

        def forward(self, text: str) -> Sort:
            row = self.sort(text=text)
            if self.sort.predictor_state.demos:
                raise RuntimeError("can't cope with demos")
            return row

    best = search(Picky(learner(from_demos)), trials=4, proposals=0)
    tried = [t for t in best.report.trials if t.fate not in ("baseline", "repeated")]
    assert tried
    assert {t.score for t in tried} == {0.0}
    assert best.report.best_number == 0


def test_failures_do_not_make_the_search_a_matter_of_chance() -> None:
    def reply(request: Request) -> str:
        if shown(request) and "fig" in asked(request):
            raise dm.ServerError("flaky")
        return from_demos(request)

    assert told(search(dm.Predict(Sort, lm=learner(reply)))) == told(search(dm.Predict(Sort, lm=learner(reply))))
