"""The simulated learner: it reads the prompts of other frameworks, and answers by what stands in them alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from learner import REGIMES, Mind, Prompt, Question, Shown
from learner_wire import Learner
from task_folders import COLOURS, build
from tasks import Task, load

LABELS = tuple(COLOURS)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """A small task of three labels."""
    build(tmp_path, "colours")
    return load(tmp_path, "colours")


def in_declm(instruction: str, text: str, **more: Any) -> dict[str, Any]:
    """A request as declm writes it."""
    schema = {"type": "object", "properties": {"label": {"enum": list(LABELS), "type": "string"}}}
    return {
        "messages": [
            {"role": "system", "content": f"{instruction}\n\nReply with one JSON object:\n- label: ..."},
            {"role": "user", "content": f"text: {text}"},
        ],
        "response_format": {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}},
        **more,
    }


def in_dspy(instruction: str, text: str, *, as_json: bool = False) -> dict[str, Any]:
    """A request as DSPy's adapters write it."""
    fields = (
        "a JSON object in the following order of fields: `label`"
        if as_json
        else (
            "the corresponding output fields, starting with the field `[[ ## label ## ]]`, "
            "and then ending with the marker for `[[ ## completed ## ]]`"
        )
    )
    return {
        "messages": [
            {"role": "system", "content": f"Fields...\nyour objective is: \n        {instruction}"},
            {"role": "user", "content": f"[[ ## text ## ]]\n{text}\n\nRespond with {fields}."},
        ]
    }


def test_frameworks_that_say_the_same_get_the_same_answer(task: Task) -> None:
    learner = Learner.of([task], "docile")
    for row in task.test:
        asked = str(row.model_dump()["text"])
        said = json.loads(learner.answer(in_declm("Sort it.", asked)).text)["label"]
        assert said in LABELS
        assert learner.answer(in_dspy("Sort it.", asked)).text == (
            f"[[ ## label ## ]]\n{said}\n\n[[ ## completed ## ]]"
        )
        assert json.loads(learner.answer(in_dspy("Sort it.", asked, as_json=True)).text) == {"label": said}


def test_an_answer_changes_at_a_temperature_alone(task: Task) -> None:
    learner = Learner.of([task], "fitted20")
    text = str(task.test[0].model_dump()["text"])
    assert len({learner.answer(in_declm("Sort it.", text)).text for _ in range(20)}) == 1
    assert len({learner.answer(in_declm("Sort it.", text, temperature=1.0)).text for _ in range(40)}) > 1


def test_other_requests_get_texts_that_name_values_of_the_rows_they_quote(task: Task) -> None:
    learner = Learner.of([task], "docile")
    schema = {"type": "object", "properties": {"instructions": {"type": "string"}}}
    shown = "\n".join(f"text: {row.model_dump()['text']}\nlabel: {row.model_dump()['label']}" for row in task.train[:6])
    body: Mapping[str, Any] = {
        "messages": [{"role": "user", "content": f"Write instructions.\n{shown}"}],
        "response_format": {"json_schema": {"schema": schema}},
        "temperature": 1.0,
    }
    texts = {json.loads(learner.answer(body).text)["instructions"] for _ in range(10)}
    assert len(texts) > 1
    assert all("Look out for" in text and any(label in text for label in LABELS) for text in texts)
    bare = learner.answer({"messages": [{"role": "user", "content": "Write instructions."}]})
    assert bare.text.startswith("```\n")
    assert "Look out for" not in bare.text


def accuracy(regime: str, *, demos: int = 0, instruction: str = "Sort it.") -> float:
    """Share of right answers to made questions, with demos like them."""
    questions = [Question("made", "label", f"word{n % 40} word{n % 7} {n}", LABELS[n % 3], LABELS) for n in range(600)]
    shown = tuple(Shown(q.text, q.right) for q in questions[:demos])
    prompt = Prompt(instruction, shown, f"{instruction} {demos}")
    return sum(Mind(REGIMES[regime]).answer(q, prompt) == q.right for q in questions[100:]) / 500


def test_regimes_differ_in_what_helps() -> None:
    assert accuracy("deaf", demos=32) > accuracy("deaf") + 0.1
    assert accuracy("burdened", demos=32) < accuracy("burdened")
    told = [accuracy("docile", instruction=f"Sort it, way {n}.") for n in range(8)]
    assert max(told) - min(told) > 0.15


def test_naming_a_value_helps_the_docile_one_to_find_it() -> None:
    question = [Question("made", "label", f"text {n}", "green", LABELS) for n in range(300)]

    def found(instruction: str) -> int:
        # The same noise and wording, so that the clue alone differs.
        mind, prompt = Mind(REGIMES["docile"]), Prompt(instruction, salt="same")
        return sum(mind.answer(q, prompt) == "green" for q in question)

    scores = [found(f"Look out for green, way {n}.") - found(f"Look out for fruit, way {n}.") for n in range(12)]
    assert sum(scores) / len(scores) > 0
