"""`ChainOfThought`: reasoning before the outputs, beside them and never among them."""

from __future__ import annotations

import json
from typing import Any

import pytest

import declm as dm
from declm.messages import Capabilities, Response
from declm.testing import FunctionLM, ScriptedLM


class QA(dm.Signature):
    """Answer."""

    question: str
    answer: str = dm.Output()


class Explained(dm.Signature):
    question: str
    reasoning: str = dm.Output("a field of the user")
    answer: str = dm.Output()


def test_the_reasoning_is_beside_the_value() -> None:
    run = dm.ChainOfThought(QA, lm=ScriptedLM(['{"reasoning": "because", "answer": "a"}'])).run(question="q")
    assert run.value == QA(question="q", answer="a")
    assert run.reasoning == run.trace.reasoning == "because"
    assert not hasattr(run.value, "reasoning")


def test_the_reasoning_is_asked_for_first() -> None:
    lm = FunctionLM(lambda r: '{"reasoning": "b", "answer": "a"}', capabilities=Capabilities(structured=True))
    dm.ChainOfThought(QA, lm=lm)(question="q")
    schema = lm.requests[0].schema
    assert schema is not None
    assert list(schema["properties"]) == schema["required"] == ["reasoning", "answer"]


@pytest.mark.parametrize("taken", [[], ["reasoning"], ["reasoning", "rationale"]])
@pytest.mark.parametrize("role", [dm.Input, dm.Output])
def test_the_reasoning_never_shadows_a_field_of_that_name(taken: list[str], role: Any) -> None:
    signature: Any = QA
    for name in taken:
        signature = dm.spec(signature).with_field(name, str, role())
    key = dm.ChainOfThought(signature).reasoning_key
    assert key == ["reasoning", "rationale", "thoughts"][len(taken)]
    mine = {name: f"my {name}" for name in taken}
    lm = ScriptedLM([json.dumps({key: "the thought", "answer": "a", **(mine if role is dm.Output else {})})])
    run = dm.ChainOfThought(signature, lm=lm).run(question="q", **(mine if role is dm.Input else {}))
    assert run.reasoning == "the thought"
    assert {name: getattr(run.value, name) for name in taken} == mine


def test_a_name_is_found_where_all_usual_ones_are_taken() -> None:
    signature: Any = dm.define("reasoning, rationale, thoughts, step_by_step -> answer")
    assert dm.ChainOfThought(signature).reasoning_key not in {"reasoning", "rationale", "thoughts", "step_by_step"}


def test_a_field_called_reasoning_keeps_its_value() -> None:
    lm = ScriptedLM(['{"rationale": "hidden", "reasoning": "shown", "answer": "a"}'])
    run = dm.ChainOfThought(Explained, lm=lm).run(question="q")
    assert (run.value.reasoning, run.reasoning) == ("shown", "hidden")


def test_a_reply_without_reasoning_is_accepted() -> None:
    run = dm.ChainOfThought(QA, lm=ScriptedLM(['{"answer": "a"}'])).run(question="q")
    assert (run.value.answer, run.reasoning) == ("a", None)


def test_reasoning_that_is_no_text_is_kept_as_json() -> None:
    run = dm.ChainOfThought(QA, lm=ScriptedLM(['{"reasoning": ["one", 2], "answer": "a"}'])).run(question="q")
    assert run.reasoning == '["one", 2]'


def test_native_thinking_of_the_lm_is_taken_where_there_is_no_other() -> None:
    reply = Response(text='{"answer": "a"}', reasoning="thought natively")
    assert dm.Predict(QA, lm=ScriptedLM([reply])).run(question="q").reasoning == "thought natively"
    assert dm.ChainOfThought(QA, lm=ScriptedLM([reply])).run(question="q").reasoning == "thought natively"


def test_demos_show_the_reasoning_under_its_name() -> None:
    demo = dm.Demo(inputs={"question": "p"}, outputs={"reasoning": "since", "answer": "b"})
    think = dm.ChainOfThought(QA, lm=ScriptedLM([])).with_demos([demo, QA(question="o", answer="c")])
    said = [m.content for m in think.render(question="q") if m.role == "assistant"]
    assert [json.loads(text) for text in said] == [{"reasoning": "since", "answer": "b"}, {"answer": "c"}]
    plain = dm.Predict(QA, lm=ScriptedLM([])).with_demos([demo])
    assert json.loads(plain.render(question="q")[2].content) == {"answer": "b"}
