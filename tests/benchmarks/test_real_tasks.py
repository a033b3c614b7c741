"""`benchmarks/real_tasks.py` runs any task folder, and says what came out."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from publish import tasks_table
from real_tasks import Options, _shown, main, run, told
from records import keep
from task_folders import SAMPLES, build
from tasks import load

from declm.messages import Capabilities, Request
from declm.testing import FunctionLM

QUICK = Options(calls=60, progress=False)


def always_wrong(request: Request) -> str:
    """A valid reply: the first choice of everything, and no items."""
    assert request.schema is not None
    return json.dumps(_first(request.schema, request.schema.get("$defs", {})))


def _first(schema: Any, definitions: Any) -> Any:
    if "$ref" in schema:
        return _first(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    if "enum" in schema:
        return schema["enum"][0]
    if schema["type"] == "object":
        return {name: _first(member, definitions) for name, member in schema["properties"].items()}
    return [] if schema["type"] == "array" else "none"


def learns_from_demos(request: Request) -> str:
    """Answers right only where the prompt shows demonstrations."""
    number = request.messages[-1].content.rsplit(" ", 1)[-1]
    if len(request.messages) < 3 or not number.isdecimal():  # a request for instructions ends otherwise
        return always_wrong(request)
    return json.dumps({"label": ["red", "green", "blue"][int(number) % 3]})


@pytest.mark.parametrize("name", list(SAMPLES))
def test_a_task_of_every_kind_runs_to_the_end(name: str, tmp_path: Path) -> None:
    build(tmp_path, name, rows=8)
    task = load(tmp_path, name)
    lm = FunctionLM(always_wrong, capabilities=Capabilities(structured=True))
    result = run(task, lm, QUICK)
    assert len(lm.requests) == result.plain.calls + result.search.calls + result.optimized.calls
    assert result.search.calls <= QUICK.calls
    assert result.plain.failures == result.plain.errors == 0
    assert 0.0 <= result.plain.interval[0] <= result.plain.score <= result.plain.interval[1] <= 1.0
    assert result.plain.also.keys() == {metric for metrics in task.scoring.also.values() for metric in metrics}
    assert task.card.metric in told(result, task)


def test_a_gain_is_reported_with_its_test_and_its_cost(tmp_path: Path) -> None:
    build(tmp_path, "colours", rows=24)
    task = load(tmp_path, "colours")
    lm = FunctionLM(learns_from_demos, capabilities=Capabilities(structured=True))
    result = run(task, lm, Options(calls=400, progress=False))
    assert result.plain.score == pytest.approx(1 / 3)
    assert result.optimized.score == 1.0
    assert result.search.accepted
    assert result.search.demos
    assert result.wins == 16
    assert result.p < 0.001
    text = told(result, task)
    assert "difference +0.667" in text
    assert "accepted" in text


def test_replies_that_cannot_be_read_are_counted_and_score_nothing(tmp_path: Path) -> None:
    build(tmp_path, "people")
    result = run(load(tmp_path, "people"), FunctionLM(lambda _: "no idea"), QUICK)
    assert result.plain.failures == 6
    assert result.plain.score == 0.0
    assert result.plain.also == {"micro_f1": 0.0}


def test_the_table_is_made_of_what_is_kept(tmp_path: Path) -> None:
    build(tmp_path, "trivia")
    lm = FunctionLM(always_wrong, capabilities=Capabilities(structured=True))
    out = tmp_path / "results" / "real_tasks.jsonl"
    for _ in range(2):
        keep(asdict(run(load(tmp_path, "trivia"), lm, QUICK)), out)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    table = tasks_table(lines)
    assert table.count("| trivia | 6 | exact_match | function | 0 | 0.000 (0.000 to 0.390); f1 0.000") == 2
    assert str(tmp_path) not in out.read_text()


def test_the_name_of_a_model_file_holds_no_folder() -> None:
    assert _shown("local//home/someone/tiny.gguf") == "local/tiny.gguf"
    assert _shown("openai/gpt-5-mini") == "openai/gpt-5-mini"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--task", "nothing", "--lm", "local/smollm2"], "UsageError: .* has no task 'nothing'; its tasks are colours"),
        (["--task", "colours", "--lm", "gpt"], "UnknownModel: 'gpt' does not say which provider"),
        (["--task", "colours", "--lm", "local/x", "--metric", "bleu"], "UsageError: .*'bleu'.*exact_match"),
    ],
)
def test_mistakes_end_the_command_with_one_line(
    arguments: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(tmp_path, "colours")
    out = tmp_path / "out.jsonl"
    assert main(["--data", str(tmp_path), "--out", str(out), *arguments]) == 1
    shown = capsys.readouterr().err.strip()
    assert not out.exists()
    assert len(shown.splitlines()) == 1
    assert shown.startswith("real_tasks: ")
    assert re.search(expected, shown)
