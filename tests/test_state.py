"""Program state: finding predictors, binding candidates, rebuilding programs."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
from pydantic import ValidationError

import declm as dm
from declm.state import bind, exchange, match, nodes, predictors, rebuild, snapshot
from declm.testing import FunctionLM

Step = "question -> answer"


def said(request: dm.Request) -> str:
    """Replies with the instruction in force."""
    return '{"answer": "%s"}' % request.messages[0].content.splitlines()[0]


class Pair(NamedTuple):
    first: Any
    second: Any


class Inner(dm.Module):
    def __init__(self) -> None:
        self.ask = dm.Predict(Step)

    def forward(self, question: str) -> str:
        return self.ask(question=question).answer


class Outer(dm.Module):
    """Predictors in every place where they are looked for."""

    def __init__(self) -> None:
        self.plain = dm.Predict(Step)
        self.nested = Inner()
        self.listed = [dm.Predict(Step), Inner()]
        self.paired = (dm.Predict(Step), "text")
        self.named = Pair(dm.ChainOfThought(Step), 3)
        self.keyed = OrderedDict(b=dm.Predict(Step), a={"deep": [dm.Predict(Step)]})
        self.shared = self.plain
        self.corpus = [{"text": "a"}, {"text": "b"}]

    def forward(self, question: str) -> str:
        return self.plain(question=question).answer


PATHS = [
    "plain",
    "nested.ask",
    "listed.0",
    "listed.1.ask",
    "paired.0",
    "named.0",
    "keyed.b",
    "keyed.a.deep.0",
]


def told(program: dm.Module, **instructions: str) -> dm.ProgramState:
    return dm.ProgramState(
        predictors={path.replace("__", "."): dm.PredictorState(instructions=i) for path, i in instructions.items()}
    )


# --- finding


def test_predictors_are_found_in_order_of_declaration_each_once() -> None:
    program = Outer()
    assert list(program.predictors()) == PATHS
    assert program.predictors()["plain"] is program.plain
    assert list(nodes(program)) == ["self", "plain", "nested", "nested.ask", "listed.0", "listed.1", *PATHS[3:]]


def test_a_predictor_is_a_program_called_self() -> None:
    ask = dm.Predict(Step)
    assert ask.predictors() == {"self": ask}
    assert list(ask.state.predictors) == ["self"]


def test_cycles_end() -> None:
    program = Inner()
    program.me = program  # type: ignore[attr-defined]
    program.ring = [program]  # type: ignore[attr-defined]
    program.ring.append(program.ring)  # type: ignore[attr-defined]
    assert list(program.predictors()) == ["ask"]
    made = program.with_state(told(program, ask="new"))
    assert made.me is made  # type: ignore[attr-defined]
    assert made.ring[0] is made  # type: ignore[attr-defined]
    assert made.ring[1] is made.ring  # type: ignore[attr-defined]
    assert program.me is program  # type: ignore[attr-defined]


def test_two_parts_of_one_path_are_refused() -> None:
    program = Inner()
    program.parts = {"a.b": dm.Predict(Step), "a": {"b": dm.Predict(Step)}}  # type: ignore[attr-defined]
    with pytest.raises(dm.UsageError, match=r"two parts of the program have the path 'parts\.a\.b'"):
        program.predictors()
    program.parts = {1: dm.Predict(Step), "1": dm.Predict(Step)}  # type: ignore[attr-defined]
    with pytest.raises(dm.UsageError, match=r"path 'parts\.1'"):
        program.state


# --- states as data


def test_states_are_frozen_and_closed() -> None:
    state = dm.PredictorState(instructions="x")
    with pytest.raises(ValidationError):
        state.instructions = "y"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        dm.PredictorState(instruction="x")  # type: ignore[call-arg]


def test_hashes_follow_the_content() -> None:
    one, same, other = (dm.PredictorState(instructions=i) for i in ("x", "x", "y"))
    assert one.hash == same.hash != other.hash
    assert one.model_copy(update={"instructions": "y"}).hash == other.hash
    a = dm.ProgramState(predictors={"p": one})
    assert a.hash == dm.ProgramState(predictors={"p": same}).hash != a.with_predictor("p", other).hash


def test_a_difference_is_one_readable_line() -> None:
    demo = dm.Demo(inputs={"question": "q"}, outputs={"answer": "a"})
    swapped = dm.Demo(inputs={"question": "p"}, outputs={"answer": "a"})
    before = dm.ProgramState(predictors={"a": dm.PredictorState(), "b": dm.PredictorState(demos=(demo,))})
    after = dm.ProgramState(
        predictors={
            "a": dm.PredictorState(instructions="Be brief.", demos=(demo,)),
            "b": dm.PredictorState(demos=(swapped,)),
            "c": dm.PredictorState(),
        }
    )
    assert before.diff(after) == [
        "a.instructions: None -> 'Be brief.'",
        "a.demos: 0 -> 1",
        "b.demos: 1 -> 1 (1 new)",
        "c: added",
    ]
    assert after.diff(before)[-1] == "c: removed"
    assert before.diff(before) == []


# --- with_state


def test_with_state_makes_new_objects_and_leaves_the_old_ones_alone() -> None:
    program, before = Outer(), Outer().state
    made = program.with_state(told(program, plain="new", listed__1__ask="deep"))
    assert made is not program
    assert program.state == before
    assert made.plain is not program.plain
    assert made.shared is made.plain
    assert made.listed[1] is not program.listed[1]
    assert made.state.predictors["plain"].instructions == "new"
    assert made.state.predictors["listed.1.ask"].instructions == "deep"
    assert made.state.predictors["nested.ask"] == dm.PredictorState()


def test_with_state_shares_what_leads_to_no_change() -> None:
    program = Outer()
    made = program.with_state(told(program, listed__0="new"))
    assert made.corpus is program.corpus
    assert made.keyed is program.keyed
    assert made.nested is program.nested
    assert made.plain is program.plain
    assert made.with_state(dm.ProgramState(predictors={})) is not made


def test_with_state_keeps_the_kinds_of_containers() -> None:
    made = Outer().with_state(Outer().state)
    assert isinstance(made.keyed, OrderedDict)
    assert isinstance(made.named, Pair)
    assert isinstance(made.paired, tuple)
    assert list(made.predictors()) == PATHS


def test_a_part_of_the_new_program_speaks_with_the_new_state_when_it_is_called_directly() -> None:
    with dm.context(lm=FunctionLM(said)):
        program = Outer()
        made = program.with_state(told(program, nested__ask="Be new."))
        assert made.nested(question="q") == made.nested.ask(question="q").answer == "Be new."
        assert program.nested(question="q") != "Be new."


def test_a_state_of_another_program_is_refused_with_a_hint() -> None:
    program = Outer()
    with pytest.raises(dm.UsageError, match="has no predictor 'plian'; did you mean 'plain'"):
        program.with_state(told(program, plian="x"))
    with pytest.raises(dm.UsageError, match="has no predictor 'zzz'; it has ask"):
        match(Inner(), dm.ProgramState(predictors={"zzz": dm.PredictorState()}))


def test_exchange_puts_other_predictors_in_every_place() -> None:
    program, other = Outer(), dm.ChainOfThought(Step)
    made = exchange(program, {program.plain: other})
    assert made.plain is made.shared is other
    assert program.plain is not other


def test_rebuilding_a_lone_predictor_is_a_new_object() -> None:
    ask = dm.Predict(Step)
    made = rebuild(ask, {ask: dm.PredictorState(instructions="x")})
    assert (made.state.predictors["self"].instructions, ask.state.predictors["self"].instructions) == ("x", None)


# --- binding


def test_a_bound_candidate_is_in_force_inside_only() -> None:
    program = Outer()
    candidate = told(program, plain="Bound.")
    with dm.context(lm=FunctionLM(said)):
        with bind(match(program, candidate)):
            assert program(question="q") == "Bound."
            assert snapshot(program).predictors["plain"].instructions == "Bound."
            assert program.plain.with_demos([]).predictor_state.instructions == "Bound."
        assert program(question="q") != "Bound."


async def test_many_candidates_run_at_once_over_one_program() -> None:
    program = Inner()

    async def run(number: int) -> str:
        with bind(match(program, told(program, ask=f"Candidate {number}."))):
            await asyncio.sleep(0)
            answer = (await program.ask.acall(question="q")).answer
            await asyncio.sleep(0)
            return answer + await program.acall(question="q")  # in a thread

    with dm.context(lm=FunctionLM(said)):
        found = await asyncio.gather(*map(run, range(40)))
    assert found == [f"Candidate {i}." * 2 for i in range(40)]
    assert predictors(program)["ask"].predictor_state == dm.PredictorState()
