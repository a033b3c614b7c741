"""`benchmarks/prompt_scores.py` asks libraries the same rows through one server, and scores what they return."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from prompt_score_peers import type_of
from prompt_scores import main, typed
from prompt_server import Engine, Exchange, ModelServer, exchange
from publish import scores_table
from pydantic import BaseModel, TypeAdapter
from task_folders import build
from tasks import load

import declm as dm

# What the peers' script uses of DSPy, so that it runs without DSPy: the text of each input, one JSON object.
STUB = """
import json, sys, types, urllib.request


class AdapterParseError(Exception):
    pass


exceptions = types.ModuleType("dspy.utils.exceptions")
exceptions.AdapterParseError = AdapterParseError
sys.modules |= {"dspy.utils": types.ModuleType("dspy.utils"), "dspy.utils.exceptions": exceptions}
now = {}


class LM:
    def __init__(self, model, api_base, **options):
        self.model, self.url, self.options = model.split("/", 1)[1], api_base + "/chat/completions", options


class JSONAdapter:
    marks = "stub json"
    falls_back = False


class ChatAdapter:
    marks = "stub chat"

    def __init__(self, use_json_adapter_fallback=True):
        self.falls_back = use_json_adapter_fallback


def configure_cache(**_):
    pass


def configure(lm, adapter):
    now.update(lm=lm, adapter=adapter)


def InputField(**given):
    return given


OutputField = InputField


def make_signature(fields, instructions, name):
    return fields


class Predict:
    def __init__(self, signature):
        self.signature = signature

    def __call__(self, **inputs):
        marks = [now["adapter"].marks] + (["stub json"] if now["adapter"].falls_back else [])
        for mark in marks:
            text = mark + ": " + json.dumps(inputs)
            body = {"model": now["lm"].model, "messages": [{"role": "user", "content": text}],
                    "temperature": now["lm"].options["temperature"],
                    "max_completion_tokens": now["lm"].options["max_tokens"]}
            asked = urllib.request.Request(now["lm"].url, json.dumps(body).encode())
            with urllib.request.urlopen(asked) as reply:
                found = json.load(reply)["choices"][0]["message"]["content"]
            try:
                return json.loads(found)
            except ValueError:
                pass
        raise AdapterParseError("no JSON")
"""


@dataclass
class Scripted:
    """Answers by the last message; counts characters for tokens."""

    right: tuple[str, ...]
    bodies: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])

    def answer(self, body: Mapping[str, Any]) -> Exchange:
        self.bodies.append(body)
        shown = "".join(message["content"] for message in body["messages"])
        text = '{"label": "red"}' if any(mark in shown for mark in self.right) else "no idea"
        return Exchange(text, "stop", len(shown), len(text))


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command's, with this interpreter and a stub of DSPy for the peers'."""
    build(tmp_path, "colours", rows=6)
    (tmp_path / "dspy.py").write_text(STUB)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return ["--data", str(tmp_path), "--task", "colours", "--model", "folder/tiny.gguf", "--rows", "4"]


def test_both_libraries_are_asked_the_same_rows(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, model = tmp_path / "out.jsonl", Scripted(("stub json", "JSON"))
    given = [*arguments, "--peers", __import__("sys").executable, "--formats", "json", "chat", "--out", str(out)]
    assert main(given, model) == 0
    line = json.loads(out.read_text())
    cells = {(one["run"], one["library"]): one for one in line["cells"]}
    plain = cells["plain", "DSPy ChatAdapter"]
    assert (plain["score"], plain["parsed"], plain["calls"], plain["p"]) == (0.0, 0, 4, None)
    # The stub falls back; declm asks twice more.
    assert (cells["default", "DSPy ChatAdapter"]["parsed"], cells["default", "DSPy ChatAdapter"]["calls"]) == (4, 8)
    assert (cells["plain", "declm json"]["parsed"], cells["default", "declm json"]["calls"]) == (4, 4)
    assert (cells["plain", "declm chat"]["calls"], cells["default", "declm chat"]["calls"]) == (4, 12)
    assert cells["plain", "declm json"]["score"] == cells["plain", "DSPy JSONAdapter"]["score"] == 0.5
    assert cells["plain", "declm json"]["difference"] == 0.5
    assert {key for body in model.bodies for key in body} == {"model", "messages", "temperature", "max_tokens"}
    assert {(body["model"], body["temperature"], body["max_tokens"]) for body in model.bodies} == {("tiny", 0.0, 256)}
    assert "| colours | tiny | declm json | plain | 0.500 (0.150 to 0.850) | +0.500, 0.5000 | 4 of 4 |" in (
        capsys.readouterr().out
    )
    assert str(tmp_path) not in out.read_text()


def test_without_peers_declm_is_measured_alone(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--runs", "plain", "--formats", "json"], Scripted(("JSON",))) == 0
    assert capsys.readouterr().out.count("| colours |") == 1


def test_a_peer_that_ends_stops_the_command(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dspy.py").write_text("raise SystemExit(3)")
    assert main([*arguments, "--peers", __import__("sys").executable], Scripted(())) == 1
    assert "its process ended" in capsys.readouterr().err


def test_an_answer_counts_only_if_the_signature_takes_it(tmp_path: Path) -> None:
    build(tmp_path, "colours")
    cls = load(tmp_path, "colours").signature
    got = typed(cls, {"text": "x"}, {"outputs": {"label": "red"}})
    assert got is not None
    assert dm.spec(cls).dump(got)[1] == {"label": "red"}
    assert typed(cls, {"text": "x"}, {"outputs": {"label": "pink"}}) is None
    assert typed(cls, {"text": "x"}, {"error": "no JSON"}) is None


class Thing(BaseModel):
    name: str
    kind: Literal["a", "b"]
    size: int | None = None


@pytest.mark.parametrize("wanted", [Literal["x", "y"], list[Literal["x", "y"]], list[Thing], str, bool, float])
def test_peers_get_the_types_that_the_schema_was_made_from(wanted: Any) -> None:
    schema = TypeAdapter(wanted).json_schema()
    made = TypeAdapter(type_of(schema, schema.get("$defs", {}))).json_schema()
    assert made == schema or "Thing" in str(schema)
    if "Thing" in str(schema):
        value = [{"name": "n", "kind": "b"}]
        (thing,) = TypeAdapter(type_of(schema, schema["$defs"])).validate_python(value)
        assert (thing.name, thing.kind, thing.size) == ("n", "b", None)


def test_the_server_refuses_what_it_would_ignore() -> None:
    model = Scripted(("hello",))
    with ModelServer(model) as server:
        body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
        asked = urllib.request.Request(f"{server.url}/chat/completions", json.dumps(body).encode())
        with urllib.request.urlopen(asked) as reply:
            assert json.load(reply)["usage"] == {"prompt_tokens": 5, "completion_tokens": 16, "total_tokens": 21}
        constrained = {**body, "response_format": {"type": "json_object"}}
        refused = urllib.request.Request(f"{server.url}/chat/completions", json.dumps(constrained).encode())
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(refused)
        assert [one.text for one in server.taken()] == ['{"label": "red"}']
        assert server.taken() == []


def test_a_streamed_reply_becomes_one_exchange() -> None:
    chunks: list[dict[str, Any]] = [
        {"choices": [{"delta": {"role": "assistant", "content": None}}]},
        {"choices": [{"delta": {"content": "a"}}]},
        {"choices": [{"delta": {"content": "b"}}]},
        {"choices": [{"delta": {}, "finish_reason": "length"}]},
        {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}},
    ]
    assert exchange(chunks) == Exchange("ab", "length", 7, 2)
    with pytest.raises(ValueError, match="too long"):
        exchange([{"error": {"message": "too long"}}])
    with pytest.raises(ValueError, match="broke off"):
        exchange(chunks[:2])


def test_kept_replies_are_not_asked_for_again(tmp_path: Path) -> None:
    path, replies = tmp_path / "tiny.gguf", tmp_path / "replies.jsonl"
    path.write_bytes(b"no model")
    body = {"model": "m", "messages": [], "max_tokens": 3}
    with pytest.raises(dm.DeclmError):
        Engine(path, replies=replies).answer(body)
    key = Engine(path).key(body)
    replies.write_text(json.dumps({key: {"text": "a", "finish": "stop", "prompt_tokens": 1, "reply_tokens": 1}}))
    assert Engine(path, replies=replies).answer({**body, "model": "other"}) == Exchange("a", "stop", 1, 1)


def test_the_table_shows_every_cell() -> None:
    one = {"library": "declm json", "run": "plain", "score": 0.25, "interval": (0.1, 0.5), "also": {"micro_f1": 0.2}}
    counts = {"parsed": 3, "calls": 4, "cut": 1, "prompt_tokens": 99.6, "reply_tokens": 20.2}
    place = {"date": "2000-01-01", "declm": "1.0", "python": "3.12.0", "system": "Linux", "cores": "2"}
    line = {"task": "t", "model": "m", "rows": 4, "surroundings": place}
    cells = [{**one, **counts, "difference": p and -0.1, "p": p} for p in (None, 0.03)]
    shown = scores_table([{**line, "cells": cells}])
    assert "| 0.250 (0.100 to 0.500); micro_f1 0.200 |  | 3 of 4 | 100 | 20 | 4 | 1 |" in shown
    assert "| -0.100, 0.0300 |" in shown
