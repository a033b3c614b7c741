"""Task folders become typed signatures and labelled rows, or one clear error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from task_folders import SAMPLES, build, write_card, write_rows
from tasks import load

import declm as dm


def outputs(row: dm.Signature) -> dict[str, Any]:
    return dm.spec(type(row)).dump(row)[1]


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("colours", {"label": '"red" | "green" | "blue"'}),
        ("letters", {"target": "string"}),
        ("people", {"entities": '{"text": string, "type": "person" | "place"}[]'}),
        ("mail", {"urgency": '"high" | "low"', "categories": '("red" | "green" | "blue")[] (<= 3 items)'}),
        ("sums", {"answer": "string"}),
        ("trivia", {"answer": "string"}),
        ("queries", {"sql": "string"}),
    ],
)
def test_outputs_are_typed_by_labels_and_rows(name: str, types: dict[str, str], tmp_path: Path) -> None:
    build(tmp_path, name)
    task = load(tmp_path, name)
    assert dm.spec(task.signature).card["outputs"] == types
    assert [len(task.train), len(task.dev), len(task.test)] == [6, 6, 6]


def test_the_instruction_is_the_cards_task_and_other_columns_are_notes(tmp_path: Path) -> None:
    build(tmp_path, "colours")
    known = dm.spec(load(tmp_path, "colours").signature)
    assert known.instructions == "Colour of a thing."
    assert list(known.inputs) == ["text"]
    assert list(known.notes) == ["id"]


def test_numbers_stay_text(tmp_path: Path) -> None:
    build(tmp_path, "sums")
    assert [outputs(row)["answer"] for row in load(tmp_path, "sums").train] == ["0", "2", "4", "6", "8", "10"]


def test_a_query_is_told_the_tables(tmp_path: Path) -> None:
    build(tmp_path, "queries")
    assert "item(name, price)" in dm.spec(load(tmp_path, "queries").signature).outputs["sql"].description


def test_columns_with_names_that_python_or_pydantic_reserve_keep_them_in_prompts(tmp_path: Path) -> None:
    task = build(
        tmp_path, "colours", card={"inputs": ["class", "the text", "json"], "outputs": ["schema"], "labels": []}
    )
    rows = [{"class": "a", "the text": f"{i}", "json": 1, "schema": "x", "model_id": 3, "_x": i} for i in range(3)]
    for split in ("train", "dev", "test"):
        write_rows(task / f"{split}.jsonl", rows)
    known = dm.spec(load(tmp_path, "colours").signature)
    assert list(known.inputs) == ["class", "the text", "json"]
    assert list(known.outputs) == ["schema"]
    assert list(known.notes) == ["model_id", "_x"]


def test_values_that_may_be_missing_and_nested_inputs_are_typed(tmp_path: Path) -> None:
    task = build(tmp_path, "colours", card={"inputs": ["context"], "outputs": ["answer", "sure"], "labels": []})
    rows = [
        {"context": [["title", ["one", "two"]]], "answer": None if i == 0 else {"x": 1, "y": None}, "sure": i > 0}
        for i in range(4)
    ]
    for split in ("train", "dev", "test"):
        write_rows(task / f"{split}.jsonl", rows)
    card = dm.spec(load(tmp_path, "colours").signature).card
    assert card["outputs"] == {"answer": '{"x": string, "y": string | null} | null', "sure": "boolean"}
    assert card["inputs"] == {"context": "any[][]"}


def test_one_list_of_labels_belongs_to_the_outputs_that_it_fits(tmp_path: Path) -> None:
    task = build(tmp_path, "colours", card={"outputs": ["label", "why"]})
    for split in ("train", "dev", "test"):
        write_rows(task / f"{split}.jsonl", [{"text": f"{split} {i}", "label": "red", "why": "so"} for i in range(3)])
    assert dm.spec(load(tmp_path, "colours").signature).card["outputs"]["why"] == "string"


def test_the_same_random_rows_are_taken_every_time(tmp_path: Path) -> None:
    build(tmp_path, "colours", rows=20)
    first, second = (load(tmp_path, "colours", rows=5).test for _ in range(2))
    every = load(tmp_path, "colours").test
    assert repr(first) == repr(second)
    assert len(first) == 5
    assert repr(first) != repr(every[:5])


# --- what is wrong


def test_an_unknown_task_names_those_that_exist(tmp_path: Path) -> None:
    build(tmp_path, "colours")
    build(tmp_path, "sums")
    with pytest.raises(dm.UsageError, match="no task 'color'; its tasks are colours, sums"):
        load(tmp_path, "color")


@pytest.mark.parametrize("name", ["task.json", "dev.jsonl"])
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    (build(tmp_path, "colours") / name).unlink()
    with pytest.raises(dm.DataError, match=name):
        load(tmp_path, "colours")


@pytest.mark.parametrize(
    ("card", "told"),
    [
        ({"outputs": []}, "outputs: Tuple should have at least 1 item"),
        ({"inputs": "text"}, "inputs: Input should be a valid"),
        ({"outputs": ["text"]}, "`text` can't be input and output"),
        ({"labels": {"colour": ["red"]}}, "`colour` is no output, the outputs are `label`"),
        ({"outputs": ["colour"]}, "no row has the output 'colour'; the rows have `id`, `text`, `label`"),
        ({"inputs": ["words"]}, "no row has the input 'words'"),
    ],
)
def test_a_card_that_does_not_fit_says_how(card: dict[str, Any], told: str, tmp_path: Path) -> None:
    build(tmp_path, "colours", card=card)
    with pytest.raises(dm.DataError, match=told):
        load(tmp_path, "colours")


def test_a_card_that_is_no_json_is_an_error(tmp_path: Path) -> None:
    (build(tmp_path, "colours") / "task.json").write_text("{")
    with pytest.raises(dm.DataError, match="is no card of a task"):
        load(tmp_path, "colours")


def test_bad_rows_are_named_by_line(tmp_path: Path) -> None:
    path = build(tmp_path, "colours") / "dev.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "{torn", json.dumps({"text": "x", "label": "pink"}), *lines[1:]]))
    with pytest.raises(dm.DataError, match=r"(?s)2 of 8 rows.*line 2.*line 3.*label.*pink"):
        load(tmp_path, "colours")


def test_a_row_of_another_type_does_not_change_the_type_but_is_named(tmp_path: Path) -> None:
    path = build(tmp_path, "people") / "test.jsonl"
    path.write_text(path.read_text() + json.dumps({"text": "x", "entities": "Ann"}) + "\n")
    with pytest.raises(dm.DataError, match=r"(?s)line 7: entities: Input should be a valid array"):
        load(tmp_path, "people")


def test_labels_that_fit_no_member_of_an_object_are_an_error(tmp_path: Path) -> None:
    build(tmp_path, "people", card={"labels": ["ship"]})
    with pytest.raises(dm.DataError, match="labels fit none of the members of 'entities', which are `text`, `type`"):
        load(tmp_path, "people")


def test_rows_without_labels_are_an_error(tmp_path: Path) -> None:
    path = build(tmp_path, "colours") / "test.jsonl"
    write_rows(path, [{"text": "a", "label": "red"}, {"text": "b"}, {"text": "c"}])
    with pytest.raises(dm.DataError, match="2 of 3 rows have no labels; the first is row 2, without label"):
        load(tmp_path, "colours")


def test_a_gold_query_that_fails_is_an_error(tmp_path: Path) -> None:
    path = build(tmp_path, "queries") / "test.jsonl"
    write_rows(path, [{"question": "?", "sql": "SELECT weight FROM item"}])
    with pytest.raises(dm.DataError, match=r"a gold query of test\.jsonl fails: no such column: weight"):
        load(tmp_path, "queries")


def test_a_card_may_leave_out_all_that_is_for_people(tmp_path: Path) -> None:
    write_card(build(tmp_path, "sums"), {"inputs": ["question"], "outputs": ["answer"], "metric": "number match"})
    assert load(tmp_path, "sums").scoring.by == {"answer": "number_match"}


def test_every_sample_stands_for_a_kind_of_its_own() -> None:
    assert len({json.dumps(sample.card, sort_keys=True) for sample in SAMPLES.values()}) == len(SAMPLES)
