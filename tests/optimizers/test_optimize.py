"""`optimize()` end to end, with simulated LMs that learn."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from search_cases import (
    HINT,
    LABELS,
    QUESTIONS,
    TRAIN,
    VAL,
    Answer,
    Ask,
    Sort,
    TwoSteps,
    asked,
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
    shown,
    sorted_with,
    told,
    two_steps,
)

import declm as dm
from declm.messages import Request
from declm.optimizers import JointSearch, Optimized, Problem
from declm.testing import FunctionLM

# --- what it finds


def test_it_finds_demonstrations_that_help() -> None:
    program = dm.Predict(Sort, lm=learner(from_demos))
    before = program.state
    best = search(program)
    assert best.baseline < 0.6
    assert best.score > 0.85
    assert best.report.accepted
    assert best.report.verdict is not None
    assert best.report.verdict.p_value < 0.05
    assert best.report.verdict.confirm_rows > 0
    assert len(best.program.state.predictors["self"].demos) >= 8
    assert {d.source for d in best.program.state.predictors["self"].demos} == {"labeled"}
    assert type(best.program) is dm.Predict
    assert program.state == before
    fresh = rows(30, 500)
    assert dm.evaluate(best.program, fresh, correct).score > dm.evaluate(program, fresh, correct).score + 0.2


def test_it_finds_instructions_that_help() -> None:
    best = search(dm.Predict(Sort, lm=learner(from_instructions)), max_demos=0)
    assert best.report.accepted
    assert best.score > best.baseline + 0.3
    state = best.program.state.predictors["self"]
    assert state.instructions is not None
    assert HINT in state.instructions
    assert state.demos == ()


def test_two_steps_with_labels_for_the_last_one_only_get_demos_for_both() -> None:
    with dm.context(lm=learner(two_steps)):
        best = search(TwoSteps(), train=QUESTIONS[:26], val=QUESTIONS[26:], metric=same_answer, trials=4)
    assert best.report.accepted
    assert (best.score, best.baseline < 0.6) == (1.0, True)
    ask, answer = best.program.state.predictors["ask"], best.program.state.predictors["answer"]
    assert ask.demos
    assert answer.demos
    assert {demo.source for demo in (*ask.demos, *answer.demos)} == {"bootstrapped"}
    assert ask.demos[0].outputs.keys() == {"query"}
    assert answer.demos[0].outputs["reasoning"] == "as noted"
    assert answer.demos[0].inputs.keys() == {"question", "notes"}
    assert all(demo.score == 1.0 for demo in answer.demos)
    known = {dm.spec(type(row)).hash(row) for row in QUESTIONS[:26]}
    assert {demo.row for demo in (*ask.demos, *answer.demos)} <= known
    with dm.context(lm=learner(two_steps)):
        assert best.program(question="how is z written large").answer == "Z"


def test_a_module_that_reads_the_reasoning_by_run_gets_demos_too() -> None:
    class Careful(dm.Module):
        def __init__(self) -> None:
            self.think = dm.ChainOfThought(Answer)

        def forward(self, question: str) -> str:
            run = self.think.run(question=question, notes=question.split(" is ")[1][0].upper())
            return run.value.answer if run.reasoning else ""

    def metric(gold: Any, got: str) -> bool:
        return gold.answer == got

    with dm.context(lm=learner(two_steps)):
        best = search(Careful(), train=QUESTIONS[:26], val=QUESTIONS[26:], metric=metric, trials=3, proposals=0)
    assert best.report.accepted
    assert best.program.state.predictors["think"].demos


@pytest.mark.parametrize("seed", range(2))
def test_where_nothing_helps_the_given_program_comes_back(seed: int) -> None:
    program = dm.Predict(Sort, lm=learner(from_nothing))
    best = search(program, seed=seed, trials=8)
    assert not best.report.accepted
    assert best.program.state == program.state
    assert best.score == best.baseline
    assert "given program" in best.report.conclusion


def test_the_best_is_returned_without_a_test_if_asked() -> None:
    program = dm.Predict(Sort, lm=learner(from_nothing))
    best = search(program, trials=8, accept="best")
    assert best.report.verdict is not None
    assert not best.report.verdict.significant
    assert best.score == best.report.best > best.baseline
    (winner,) = (trial for trial in best.report.trials if trial.number == best.report.best_number)
    assert best.program.state == winner.state


def test_a_perfect_program_stays_as_it_is() -> None:
    lm = learner(lambda r: from_demos(r) if is_proposal(r) else sorted_with(100, asked(r)))
    best = search(dm.Predict(Sort, lm=lm), trials=3)
    assert (best.baseline, best.score, best.report.verdict) == (1.0, 1.0, None)
    assert best.report.conclusion == "No candidate scored above the given program, which is returned unchanged."


def test_at_equal_scores_the_shorter_prompt_wins() -> None:
    def reply(request: Request) -> str:
        return (
            from_demos(request) if is_proposal(request) else sorted_with(100 if shown(request) else 30, asked(request))
        )

    best = search(dm.Predict(Sort, lm=learner(reply)), trials=12)
    finished = [t for t in best.report.trials if t.fate == "finished" and t.score == 1.0]
    sizes = [len(t.state.predictors["self"].model_dump_json()) for t in finished]
    assert len(best.program.state.predictors["self"].model_dump_json()) == min(sizes)
    assert len(finished) > 1


def test_val_is_split_off_where_none_is_given() -> None:
    best = search(dm.Predict(Sort, lm=learner(from_demos)), train=rows(60), val=None)
    assert best.report.rows == 30
    assert best.report.accepted
    shown_rows = {demo.row for demo in best.program.state.predictors["self"].demos}
    assert shown_rows


def test_repeated_rows_count_once() -> None:
    lm = learner(from_demos)
    best = search(dm.Predict(Sort, lm=lm), train=[*TRAIN, *TRAIN], val=[*VAL, *VAL], trials=1, proposals=0)
    assert best.report.rows == len(VAL)


# --- metrics


def test_feedback_of_the_metric_reaches_the_proposer() -> None:
    def metric(gold: Sort, got: Sort) -> dm.Score:
        return dm.Score(float(correct(gold, got)), "" if correct(gold, got) else "think of the kitchen")

    lm = learner(from_demos)
    search(dm.Predict(Sort, lm=lm), metric=metric, trials=1)
    asked_for = [request.messages[-1].content for request in lm.requests if is_proposal(request)]
    assert asked_for
    assert all("feedback: think of the kitchen" in text for text in asked_for)
    assert all("label should be:" in text for text in asked_for)


def test_metrics_may_be_async_graded_and_look_at_the_run() -> None:
    async def metric(gold: Sort, got: Sort, run: dm.Prediction[Sort]) -> float:
        await asyncio.sleep(0)
        assert run.trace.path == "self"
        return 0.9 if correct(gold, got) else 0.1

    best = search(dm.Predict(Sort, lm=learner(from_demos)), metric=metric)
    assert best.report.accepted
    assert 0.1 < best.baseline < best.score <= 0.9


# --- seeds


def test_the_same_seed_gives_the_same_search() -> None:
    runs = [search(dm.Predict(Sort, lm=learner(from_demos)), seed=seed) for seed in (0, 0, 7, 7)]
    default = search(dm.Predict(Sort, lm=learner(from_demos)))
    assert told(runs[0]) == told(runs[1]) == told(default)
    assert told(runs[2]) == told(runs[3])
    assert [t[1] for t in told(runs[0])] != [t[1] for t in told(runs[2])]
    assert runs[0].report.verdict == runs[1].report.verdict
    assert runs[0].program.state == runs[1].program.state


def test_the_number_of_trials_in_flight_is_no_source_of_chance() -> None:
    def run(concurrency: int) -> list[tuple[Any, ...]]:
        options = JointSearch(trials=6, proposals=2, parallel=4)
        lm = learner(from_demos)
        return told(search(dm.Predict(Sort, lm=lm), optimizer=options, concurrency=concurrency))

    assert run(1) == run(16)


# --- the space


def test_tiny_spaces_are_tried_whole_and_nothing_is_paid_twice() -> None:
    lm = learner(from_instructions)
    best = search(dm.Predict(Sort, lm=lm), max_demos=0, proposals=3, trials=20)
    tried = [t for t in best.report.trials if t.fate != "repeated"]
    assert len({t.state.hash for t in tried}) == len(tried) == 4
    assert len({(r.messages, r.sample) for r in lm.requests}) == len(lm.requests)


def test_without_proposals_and_demos_there_is_nothing_to_try() -> None:
    best = search(dm.Predict(Sort, lm=learner(from_demos)), max_demos=0, proposals=0)
    assert [t.fate for t in best.report.trials] == ["baseline"]


def test_repeated_points_cost_nothing_and_do_not_count_as_trials() -> None:
    lm = learner(from_demos)
    best = search(dm.Predict(Sort, lm=lm), max_demos=2, proposals=0, trials=9)
    tried = [t for t in best.report.trials if t.fate not in ("baseline", "repeated")]
    assert len(tried) == len({t.state.hash for t in tried}) <= 9
    keys = [(request.messages, request.sample) for request in lm.requests]
    assert len(keys) - len(set(keys)) <= 16  # the look at train, which val rows do not share


def test_the_context_window_limits_the_demonstrations() -> None:
    best = search(dm.Predict(Sort, lm=learner(from_demos, context_tokens=200)), trials=4)
    assert max(len(t.state.predictors["self"].demos) for t in best.report.trials) <= 4


def test_demos_of_the_given_program_are_a_choice_and_never_shown_to_their_own_row() -> None:
    lm = learner(from_demos)
    program = dm.Predict(Sort, lm=lm).with_demos(TRAIN[:6])
    search(program, trials=2, proposals=0)
    texts = {row.text for row in TRAIN[:6]}
    for request in lm.requests:
        if asked(request) in texts and len(shown(request)) in (5, 6):
            assert asked(request) not in shown(request)


# --- teachers and proposers


def test_a_teacher_lm_makes_the_demonstrations() -> None:
    def teacher_reply(request: Request) -> str:
        return (
            json.dumps({"reasoning": "taught", "answer": request.messages[-1].content.split("notes: ")[1]})
            if ("query" not in request.messages[0].content)
            else two_steps(request)
        )

    student, teacher = learner(two_steps), learner(teacher_reply)
    with dm.context(lm=student):
        best = search(
            TwoSteps(),
            train=QUESTIONS[:26],
            val=QUESTIONS[26:],
            metric=same_answer,
            teacher=teacher,
            trials=2,
            proposals=0,
        )
    assert teacher.requests
    assert {demo.outputs["reasoning"] for demo in best.program.state.predictors["answer"].demos} == {"taught"}
    trained = {row.question for row in QUESTIONS[:26]}
    assert all(any(q in r.messages[-1].content for q in trained) for r in teacher.requests)


def test_a_teacher_lm_beats_the_predictors_own() -> None:
    student, teacher = learner(from_demos), learner(from_demos)
    search(dm.Predict(Sort, lm=student), teacher=teacher, trials=1, proposals=0)
    assert teacher.requests
    assert {asked(r) for r in teacher.requests} <= {row.text for row in TRAIN}


def test_a_teacher_program_makes_the_demonstrations() -> None:
    lm = learner(two_steps)
    teacher = TwoSteps()
    teacher.answer = dm.ChainOfThought(Answer, lm=learner(lambda r: two_steps(r).replace("as noted", "taught")))
    with dm.context(lm=lm):
        best = search(
            TwoSteps(),
            train=QUESTIONS[:26],
            val=QUESTIONS[26:],
            metric=same_answer,
            teacher=teacher,
            trials=2,
            proposals=0,
        )
    assert {demo.outputs["reasoning"] for demo in best.program.state.predictors["answer"].demos} == {"taught"}


def test_a_teacher_with_other_predictors_is_refused() -> None:
    class Other(dm.Module):
        def __init__(self) -> None:
            self.ask = dm.Predict(Ask)
            self.answer = dm.Predict(Ask)

        def forward(self, question: str) -> str:
            return self.ask(question=question).query

    lm = learner(two_steps)
    with dm.context(lm=lm):
        for teacher in (Other(), dm.Predict(Ask)):
            with pytest.raises(dm.UsageError, match="the teacher has no predictor '(ask|answer)' with the program's"):
                search(TwoSteps(), train=QUESTIONS, val=None, metric=same_answer, teacher=teacher)
    assert lm.requests == []


def test_a_proposer_writes_the_instructions() -> None:
    student, proposer = learner(from_instructions), learner(from_instructions)
    best = search(dm.Predict(Sort, lm=student), proposer=proposer, max_demos=0)
    assert best.report.accepted
    assert len(proposer.requests) == 2
    assert all(is_proposal(request) for request in proposer.requests)
    assert not any(is_proposal(request) for request in student.requests)


@pytest.mark.parametrize("reply", ["nonsense", '{"instructions": "short"}', dm.ServerError("down"), dm.AuthError("no")])
def test_a_proposer_that_fails_costs_its_proposals_only(reply: Any) -> None:
    def fails(request: Request) -> str:
        if isinstance(reply, Exception):
            raise reply
        return reply

    proposer = FunctionLM(fails)
    best = search(dm.Predict(Sort, lm=learner(from_demos)), proposer=proposer)
    assert proposer.requests
    assert best.report.accepted
    assert all(t.state.predictors["self"].instructions is None for t in best.report.trials)
    if isinstance(reply, Exception):
        said = [line for line in best.report.troubles if "the proposer wrote nothing for 'self'" in line]
        assert len(said) == 1, best.report.troubles  # once, however often it was asked


def test_proposals_that_quote_val_are_dropped_and_reported() -> None:
    secret = "the quick brown fox jumps over the lazy dog today"
    val = [*VAL, Sort(text=f"fox {secret}", label="animal")]

    def reply(request: Request) -> str:
        if not is_proposal(request):
            return sorted_with(40, asked(request))
        return json.dumps(
            {"instructions": f"Remember: {secret.upper()}" if request.sample else "Sort with care, please."}
        )

    best = search(dm.Predict(Sort, lm=learner(reply)), val=val, trials=4)
    told_ = {t.state.predictors["self"].instructions for t in best.report.trials}
    assert told_ <= {None, "Sort with care, please."}
    assert "a text proposed for 'self' quoted rows of val and was dropped" in best.report.troubles


# --- sensitive data


def test_a_predictor_with_a_sensitive_field_gets_no_demonstrations() -> None:
    class Secret(dm.Signature):
        """Sort the word."""

        text: str = dm.Input(sensitive=True)
        label: str = dm.Output()

    lm = learner(from_demos)
    data = [Secret(text=row.text, label=row.label) for row in TRAIN]
    best = search(dm.Predict(Secret, lm=lm), train=data[:15], val=data[15:])
    assert all(not t.state.predictors["self"].demos for t in best.report.trials)
    assert not any(is_proposal(request) for request in lm.requests)


# --- other ways to call it


async def test_it_works_under_a_running_loop_and_as_a_coroutine() -> None:
    best = search(dm.Predict(Sort, lm=learner(from_demos)))
    options = JointSearch(trials=6, proposals=2)
    again = await dm.aoptimize(
        dm.Predict(Sort, lm=learner(from_demos)),
        train=TRAIN,
        val=VAL,
        metric=correct,
        optimizer=options,
        progress=False,
    )
    assert told(best) == told(again)


def test_any_optimizer_gets_the_checked_problem() -> None:
    class Keep:
        async def run(self, problem: Problem[Any]) -> Optimized[Any]:
            assert (len(problem.train), len(problem.val), problem.seed) == (len(TRAIN), len(VAL), 5)
            return await JointSearch(trials=0).run(problem)

    best = search(dm.Predict(Sort, lm=learner(from_demos)), optimizer=Keep(), seed=5)
    assert [t.fate for t in best.report.trials] == ["baseline"]


def test_a_program_with_a_plain_function_as_metric_of_text_works() -> None:
    class Labels(dm.Module):
        def __init__(self) -> None:
            self.sort = dm.Predict(Sort)

        def forward(self, text: str) -> str:
            return self.sort(text=text).label

    with dm.context(lm=learner(from_demos)):
        best = search(Labels(), metric=lambda gold, got: gold.label == got)
        assert best.report.accepted
        assert best.program(text="fox 1") in LABELS


def test_the_learner_is_what_the_tests_believe() -> None:
    assert 0 <= chance("x") < 100
    assert json.loads(sorted_with(100, "fox 3")) == {"label": "animal"}
    assert json.loads(sorted_with(0, "fox 3")) != {"label": "animal"}
