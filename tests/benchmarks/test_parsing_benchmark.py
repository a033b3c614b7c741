"""The benchmark of reading broken replies: what it makes, what it counts, what it keeps."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from parsing import main, read_by_declm
from parsing_cases import Case, Outcome, agrees, load_types, read_cases
from parsing_holdout import BREAKS, holdout
from parsing_peers import PEERS, run
from parsing_speed import growth, usual
from publish import parsing_table

REGISTRY = """
from typing import Literal

from pydantic import BaseModel


class Pet(BaseModel):
    name: str
    kind: Literal["cat", "dog"]
    age: int
    tags: list[str]


def resolve(expression: str):
    return eval(expression, globals())
"""
VALUE = {"name": "Old Tom", "kind": "cat", "age": 3, "tags": ["soft", "a\nb"]}
CASES: list[dict[str, Any]] = [
    {"raw": json.dumps(VALUE), "expected": VALUE},
    {"raw": "{'name': 'Old Tom', 'kind': 'cat', 'age': 3, 'tags': ['soft', 'a\\nb'],}", "expected": VALUE},
    {"raw": "I can't say.", "expected": {"error": True}},
    {"raw": '["a", "b', "expected": ["a", "b"], "streaming": True, "python_type": "list[str]"},
    {"raw": "x", "expected": "y", "tags": ["disputed"]},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "types_registry.py").write_text(REGISTRY, "utf-8")
    plain = {"python_type": "Pet", "streaming": False, "tags": []}
    lines = [json.dumps({**plain, "id": f"case {at}", **case}) for at, case in enumerate(CASES)]
    (tmp_path / "cases.jsonl").write_text("\n".join(lines), "utf-8")
    return tmp_path


def test_all_figures_are_printed_and_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "results" / "parsing.jsonl"
    assert main(["--cases", str(folder), "--holdout", "50", "--out", str(out)]) == 0
    line = json.loads(out.read_text("utf-8"))
    (declm,) = line["parsers"]
    assert (declm["final"], declm["refusals"], declm["streaming"]) == ([3, 3], [1, 1], [1, 1])
    assert sum(declm[f"holdout {group}"][1] for group in ("final", "streaming")) == line["holdout"]["size"] == 50
    assert "100.0 % (3 of 3)" in capsys.readouterr().out


def test_a_command_that_would_do_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "--cases" in capsys.readouterr().err


def test_the_holdout_is_the_same_for_the_same_seed(folder: Path) -> None:
    cases, resolve = read_cases(folder), load_types(folder)
    assert holdout(cases, resolve, 40, seed=1) == holdout(cases, resolve, 40, seed=1)
    assert holdout(cases, resolve, 40, seed=1) != holdout(cases, resolve, 40, seed=2)


def test_the_holdout_has_values_refusals_and_beginnings(folder: Path) -> None:
    made = holdout(read_cases(folder), load_types(folder), 60, seed=0)
    assert {(case.is_refusal, case.streaming) for case in made} == {(False, False), (True, False), (False, True)}
    assert len({(case.raw, case.type) for case in made}) == len(made) == 60


@pytest.mark.parametrize("name", BREAKS)
def test_a_break_changes_the_text_or_is_not_for_the_value(name: str) -> None:
    text = BREAKS[name](random.Random(0), VALUE)
    assert text is None or text != json.dumps(VALUE)
    for value in ([1, 2], {"x": None}, [[]]):
        BREAKS[name](random.Random(0), value)


@pytest.mark.parametrize(
    ("expected", "found", "right"),
    [
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ({"a": "x"}, {"a": " x\n"}, False),
        ([1, 2], [1], False),
        ({"error": True}, {"error": True}, False),
    ],
)
def test_a_value_counts_if_it_equals_the_expected_one(expected: Any, found: Any, right: bool) -> None:
    assert agrees(Case("", "", "", expected), Outcome(found)) is right


def test_tags_and_streaming_widen_what_counts() -> None:
    assert agrees(Case("", "", "", {"a": ["x "]}, tags=("ws",)), Outcome({"a": [" x"]}))
    assert agrees(Case("", "", "", {"a": {}}, streaming=True), Outcome({"a": {"c": None}, "b": None}))
    assert agrees(Case("", "", "", {"error": True}), Outcome(error="no"))
    assert not agrees(Case("", "", "", {"a": 1}), Outcome(error="no"))


def test_peers_are_asked_for_what_they_read(folder: Path) -> None:
    cases, resolve = read_cases(folder), load_types(folder)
    plain = run(PEERS[0], cases, resolve)
    assert plain["version"].startswith("pydantic ")
    found = {id: Outcome(**one) for id, one in plain["outcomes"].items()}
    assert [agrees(case, found[case.id]) for case in cases] == [True, False, True, True]
    assert read_by_declm(cases[1], resolve("Pet")).value == VALUE


def test_times_are_measured_and_shown() -> None:
    timed = {"growth": growth(4_000), "usual": usual(times=10)}
    assert all(len(one["ms"]) == 3 for one in timed["growth"])
    place = {"date": "2000-01-01", "declm": "1.0", "python": "3.12.0", "system": "Linux", "cores": "2"}
    shown = parsing_table([{"parsers": [], "speed": timed, "surroundings": place}])
    assert "µs" in shown
