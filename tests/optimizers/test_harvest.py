"""Harvest and proposals: where demonstrations and instructions come from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from search_cases import (
    QUESTIONS,
    TRAIN,
    VAL,
    Answer,
    Ask,
    Sort,
    TwoSteps,
    asked,
    correct,
    from_demos,
    is_proposal,
    learner,
    rows,
    same_answer,
    search,
    sorted_with,
    two_steps,
)

import declm as dm
from declm.messages import Request
from declm.optimizers.base import Problem
from declm.optimizers.bench import Bench, without_row
from declm.optimizers.harvest import harvest, labeled, pools
from declm.optimizers.proposals import Brief, Example, leaks
from declm.optimizers.writing import proposed
from declm.testing import FunctionLM, ScriptedLM


@contextmanager
def bench_over(program: Any, train: Any = TRAIN, metric: Any = correct, **options: Any) -> Iterator[Bench]:
    problem = Problem(
        program=program,
        train=train,
        val=options.pop("val", VAL),
        metric=metric,
        budget=options.pop("budget", dm.Budget()),
        teacher=program,
        progress=False,
        **options,
    )
    with Bench.over(problem) as bench:
        yield bench


def right(request: Request) -> str:
    return sorted_with(100, asked(request))


# --- labels


def test_labels_make_demos_for_the_predictors_that_they_fit() -> None:
    made = labeled(dm.Predict(Sort), TRAIN)
    assert len(made) == len(TRAIN)
    assert (made[0].source, made[0].score, made[0].outputs) == ("labeled", 1.0, {"label": TRAIN[0].label})
    assert labeled(dm.Predict(Ask), QUESTIONS) == []  # nobody labelled the queries
    assert labeled(dm.ChainOfThought(Answer), QUESTIONS) == []  # the notes are unknown
    assert labeled(dm.Predict(Sort), [Sort(text="no label")]) == []


def test_labels_of_another_class_must_have_the_predictors_types() -> None:
    class Row(dm.Signature):
        text: str
        label: str = dm.Output()

    found = labeled(dm.Predict(Sort), [Row(text="a", label="fruit"), Row(text="b", label="vegetable")])
    assert [demo.outputs for demo in found] == [{"label": "fruit"}]


# --- traced runs


async def test_complete_labels_are_looked_at_only_for_what_goes_wrong() -> None:
    lm = learner(from_demos)
    with bench_over(dm.Predict(Sort, lm=lm)) as bench:
        found = await harvest(bench, 1.0, 0.3)
        pool = pools(bench, found)["self"]
    assert len(lm.requests) == 16
    assert len(bench.harvested) == 16
    assert len(found.solved["self"]) + len(found.failed["self"]) == 16
    failed = found.failed["self"][0]
    assert failed.expected["label"] != failed.outputs["label"]
    assert (len(pool.demos), pool.closed) == (len(TRAIN), ("label",))
    assert {demo.source for demo in pool.demos} == {"labeled"}


async def test_rows_that_fail_get_a_second_try_with_another_sample() -> None:
    lm = learner(two_steps)
    with dm.context(lm=lm), bench_over(TwoSteps(), QUESTIONS[:20], same_answer, val=QUESTIONS[20:]) as bench:
        found = await harvest(bench, 1.0, 1.0)
    second = [request for request in lm.requests if request.sample == 1]
    assert second
    assert all(request.options == {"temperature": 1.0} for request in second)
    assert all(request.options == {} for request in lm.requests if request.sample == 0)
    assert set(found.bootstrapped) == {"ask", "answer"}
    assert len(found.bootstrapped["ask"]) == len(found.bootstrapped["answer"])


async def test_harvesting_stops_at_its_share_of_the_budget() -> None:
    lm = learner(two_steps)
    budget = dm.Budget(calls=100)
    with (
        dm.context(lm=lm),
        bench_over(TwoSteps(), QUESTIONS[:40], same_answer, val=QUESTIONS[40:], budget=budget) as bench,
    ):
        await harvest(bench, 1.0, 0.5)
    assert 0 < len(lm.requests) <= 50


async def test_harvesting_stops_once_every_predictor_has_enough() -> None:
    lm = FunctionLM(lambda r: two_steps(r).replace('"?"', '"x"'))
    with (
        dm.context(lm=lm),
        bench_over(
            TwoSteps(), QUESTIONS[:40], lambda gold, got: True, val=QUESTIONS[40:], max_demos=5, concurrency=2
        ) as bench,
    ):
        found = await harvest(bench, 1.0, 1.0)
    assert len(bench.harvested) == 8
    assert len(found.bootstrapped["ask"]) == 8


async def test_an_outage_ends_the_harvest_and_is_reported() -> None:
    def fails(request: Request) -> str:
        raise dm.ServerError("down")

    with bench_over(dm.ChainOfThought(Sort, lm=FunctionLM(fails))) as bench:
        found = await harvest(bench, 1.0, 1.0)
    assert found.bootstrapped == {}
    assert any("ServerError: down" in line for line in bench.troubles)


async def test_failed_calls_inside_a_passing_run_make_no_demo() -> None:
    class Stubborn(dm.Module):
        def __init__(self) -> None:
            self.sort = dm.Predict(Sort, retries=0)

        def forward(self, text: str) -> Sort:
            try:
                return self.sort(text=text)
            except dm.ParseError:
                return self.sort(text=text + " again")

    def reply(request: Request) -> str:
        return right(request) if "again" in asked(request) else "nonsense"

    with dm.context(lm=FunctionLM(reply)), bench_over(Stubborn()) as bench:
        runs = await bench.traced(TRAIN[:3], 0)
    assert [len(run.steps) for run in runs if run] == [1, 1, 1]
    assert all("again" in run.steps[0].inputs["text"] for run in runs if run)


async def test_restored_runs_give_the_same_steps(tmp_path: Any) -> None:
    lm, name = learner(two_steps), str(tmp_path / "ledger.sqlite")
    found = []
    for _ in range(2):
        with (
            dm.context(lm=lm),
            bench_over(TwoSteps(), QUESTIONS[:9], same_answer, val=QUESTIONS[9:], name=name) as bench,
        ):
            found.append(await bench.traced(QUESTIONS[:9], 0))
    assert found[0] == found[1]
    assert len(lm.requests) == 18


def test_rows_that_were_harvested_do_not_confirm_the_winner() -> None:
    """What the given program got right became demos: on the rest it looks worse than it is."""

    def reply(request: Request) -> str:
        return json.dumps({"reasoning": "so", **json.loads(from_demos(request))})

    def run(count: int) -> Any:
        program = dm.ChainOfThought(Sort, lm=learner(reply))
        return search(program, train=rows(count), val=VAL, trials=3, proposals=0, max_demos=8)

    small, large = run(18).report.verdict, run(90).report.verdict
    assert small is not None
    assert large is not None
    assert (small.confirm_rows, small.confirm_p) == (0, None)
    assert large.confirm_rows > 20


def test_a_row_takes_its_own_demos_out_of_the_state() -> None:
    state = dm.Predict(Sort).with_demos(TRAIN[:3]).state
    kept = without_row(state, dm.spec(Sort).hash(TRAIN[1])).predictors["self"].demos
    assert [demo.inputs["text"] for demo in kept] == [TRAIN[0].text, TRAIN[2].text]
    assert without_row(state, "other") is state


# --- proposals


def brief(**changes: Any) -> Brief:
    state = dm.PredictorState()
    solved = [Example({"text": f"solved {i}"}, {"label": "fruit"}, {}) for i in range(9)]
    failed = [Example({"text": f"failed {i}"}, {"label": "tool"}, {"label": "fruit"}, "look again") for i in range(9)]
    given = {"path": "sort", "steps": ("sort", "judge"), "spec": dm.spec(Sort), "state": state}
    return Brief(**{**given, "solved": solved, "failed": failed, **changes})


async def proposals(lm: Any, count: int, seed: int, *, ledger: str | None = None, **changes: Any) -> list[str]:
    """What a proposer writes, as a search asks for it."""
    with bench_over(dm.Predict(Sort, lm=lm), seed=seed, name=ledger) as bench:
        return await proposed(bench, brief(**{"path": "self", **changes}), count)


async def test_the_proposer_is_told_the_task_its_data_and_its_failures() -> None:
    lm = FunctionLM(lambda request: json.dumps({"instructions": f"Sort with care, variant {request.sample}."}))
    found = await proposals(lm, 3, 2)
    assert found == [f"Sort with care, variant {2000 + i}." for i in range(3)]
    text = lm.requests[0].messages[-1].content
    for word in ("Sort the word.", "`text` (string)", "`label`", "solved ", "failed ", "look again", "`sort`, `judge`"):
        assert word in text
    assert text.count("text: solved") == text.count("text: failed") == 5
    hints = {request.messages[-1].content.splitlines()[-1] for request in lm.requests}
    assert len(hints) == 3
    again = FunctionLM(lambda request: json.dumps({"instructions": "The same for all of them."}))
    assert await proposals(again, 3, 2) == ["The same for all of them."]
    assert [r.messages for r in again.requests] == [r.messages for r in lm.requests]


async def test_instructions_in_force_are_what_is_improved() -> None:
    lm = FunctionLM(lambda request: json.dumps({"instructions": "Better than before, surely."}))
    await proposals(lm, 1, 0, state=dm.PredictorState(instructions="Do it my way."))
    assert "Do it my way." in lm.requests[0].messages[-1].content


async def test_unreadable_proposals_are_left_out() -> None:
    good = '{"instructions": "Read it twice and sort."}'
    found = await proposals(ScriptedLM(["?", good, "?", "?"]), 2, 0)
    assert found == ["Read it twice and sort."]
    assert await proposals(ScriptedLM(["?"] * 4), 2, 0) == []


async def test_a_proposer_that_fails_now_and_then_proposes_less() -> None:
    assert await proposals(ScriptedLM([dm.RateLimited("wait")] * 2), 2, 0) == []
    found = await proposals(ScriptedLM([dm.RateLimited("wait"), '{"instructions": "Good enough now."}']), 2, 0)
    assert found == ["Good enough now."]


async def test_a_bug_of_the_proposers_lm_is_no_silence() -> None:
    def broken(request: Request) -> str:
        raise RuntimeError("bug")

    with pytest.raises(RuntimeError, match="bug"):
        await proposals(FunctionLM(broken), 2, 0)


def test_eight_words_in_a_row_are_a_leak() -> None:
    row = Sort(text="One two three, four five six; seven EIGHT nine", label="tool")
    assert leaks("say: one two three four five six seven eight!", [row])
    assert not leaks("one two three four five six seven", [row])
    assert not leaks("", [row])
    assert not leaks("one two three four five six seven eight", [])


async def test_what_was_made_once_is_remembered_with_its_own_cost(tmp_path: Any) -> None:
    lm, name = learner(from_demos), str(tmp_path / "ledger.sqlite")

    usages = []
    for _ in range(2):
        with bench_over(dm.Predict(Sort, lm=lm), name=name) as bench:
            kept = await proposed(bench, brief(path="self"), 2)
            usages.append(bench.usage)
            assert kept == ["Sort it somehow, variant 0.", "Sort it somehow, variant 1."]
    assert usages[0] == usages[1]
    assert usages[0].calls == len(lm.requests) == 2
    assert all(is_proposal(request) for request in lm.requests)
