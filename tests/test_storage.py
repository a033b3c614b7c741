"""Saved programs: atomic, private, checked; never code, never keys."""

from __future__ import annotations

import json
import pickle
import random
import stat
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

import declm as dm
from declm.storage import SCHEMA, dump
from declm.testing import ScriptedLM
from declm.text import digest


class QA(dm.Signature):
    """Answer."""

    question: str = dm.Input("what to answer")
    answer: str = dm.Output("a few words")


class Two(dm.Module):
    def __init__(self, first: Any = QA, second: Any = QA) -> None:
        self.first, self.second = dm.Predict(first), dm.ChainOfThought(second)

    def forward(self, question: str) -> QA:
        return self.second(question=self.first(question=question).answer)


def tuned() -> Two:
    program = Two()
    demos = [QA(question=f"q{i} \N{SNOWMAN}", answer='quotes " and\nlines') for i in range(5)]
    program.first = program.first.with_demos(demos).with_instructions("Be \N{LATIN SMALL LETTER E WITH ACUTE}xact.")
    state = dm.PredictorState(options={"temperature": 0.5}, descriptions={"answer": "one word"}, format="chat")
    return program.with_state(program.state.with_predictor("second", state))


def saved(tmp_path: Path) -> Path:
    path = tmp_path / "program.json"
    tuned().save(path)
    return path


def rewrite(path: Path, **changes: Any) -> None:
    """Edit a file and give it a checksum that fits."""
    content = json.loads(path.read_text("utf-8")) | changes
    content.pop("checksum", None)
    path.write_text(json.dumps({**content, "checksum": digest(content)}))


# --- round trip


def test_a_saved_state_comes_back_whole(tmp_path: Path) -> None:
    path, plain = saved(tmp_path), Two()
    loaded = plain.load(path)
    assert loaded.state == tuned().state
    assert loaded is not plain
    assert plain.state == Two().state
    with dm.context(lm=ScriptedLM([])):
        assert loaded.first.render(question="q") == tuned().first.render(question="q")


def test_a_lone_predictor_is_saved_too(tmp_path: Path) -> None:
    path = tmp_path / "ask.json"
    dm.Predict(QA).with_instructions("Go.").save(path)
    assert dm.Predict(QA).load(str(path)).state.predictors["self"].instructions == "Go."


def test_saving_again_gives_the_same_bytes(tmp_path: Path) -> None:
    path = saved(tmp_path)
    before = path.read_bytes()
    Two().load(path).save(path)
    assert path.read_bytes() == before


def test_the_file_is_readable_json_without_code_keys_or_defaults(tmp_path: Path) -> None:
    program = tuned()
    program.first = program.first.with_lm(dm.LM("openai/gpt-5-mini", api_key="sk-canary-0123456789abcdef"))
    path = tmp_path / "program.json"
    program.save(path)
    text = path.read_text("utf-8")
    content = json.loads(text)
    assert content["declm"] == SCHEMA
    assert content["program"] == "Two"
    assert content["signatures"]["first"]["inputs"] == {"question": "string"}
    assert content["predictors"]["second"] == {
        "descriptions": {"answer": "one word"},
        "format": "chat",
        "options": {"temperature": 0.5},
    }
    assert "\N{SNOWMAN}" in text
    for word in ("canary", "gpt-5-mini", "pickle", "lambda", "Answer."):
        assert word not in text


@pytest.mark.skipif(sys.platform == "win32", reason="file modes of POSIX")
def test_the_file_is_its_owners_only(tmp_path: Path) -> None:
    assert stat.S_IMODE(saved(tmp_path).stat().st_mode) == 0o600


# --- writing fails


def test_a_failed_save_is_a_state_error_and_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path)
    before = path.read_bytes()

    def full(self: Path, target: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(dm.StateError, match=r"can't write '.*program\.json': No space left on device"):
        Two().save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["program.json"]


@pytest.mark.parametrize("path", ["missing/program.json", "."])
def test_a_place_that_can_not_be_written_is_a_state_error(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(dm.StateError, match="can't write"):
        Two().save(path)


def test_what_json_can_not_hold_is_a_state_error(tmp_path: Path) -> None:
    program = Two()
    odd = dm.PredictorState(options={"seed": object()})
    with pytest.raises(dm.StateError, match="can't write"):
        program.with_state(program.state.with_predictor("first", odd)).save(tmp_path / "program.json")


# --- reading fails


def test_two_hundred_torn_files_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    whole = path.read_bytes()
    complete = len(whole.rstrip())
    offsets = [0, 1, complete - 1, *random.Random(0).sample(range(complete), 197)]
    for offset in offsets:
        path.write_bytes(whole[:offset])
        with pytest.raises(dm.StateError):
            Two().load(path)


def test_two_hundred_flipped_bytes_are_refused_or_change_nothing(tmp_path: Path) -> None:
    path = saved(tmp_path)
    whole, expected = path.read_bytes(), tuned().state
    rng = random.Random(1)
    for offset in rng.sample(range(len(whole)), 200):
        broken = bytearray(whole)
        broken[offset] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(broken))
        try:
            loaded = Two().load(path)
        except dm.StateError:
            continue
        assert loaded.state == expected  # white space, or the word "checksum" itself


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b'"text"', b"{}", b"\xff\xfe", b'{"declm": true}', b'{"declm": "1"}', b"[" * 100_000]
    + [pickle.dumps({"declm": 1})],
    ids=range(10),
)
def test_what_is_no_saved_program_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "program.json"
    path.write_bytes(content)
    with pytest.raises(dm.StateError, match=r"program\.json"):
        Two().load(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(dm.StateError, match=r"there is no file '.*nowhere\.json'"):
        Two().load(tmp_path / "nowhere.json")
    with pytest.raises(dm.StateError, match="can't read"):
        Two().load(tmp_path)


def test_an_edited_file_is_refused_until_its_checksum_is_deleted(tmp_path: Path) -> None:
    path = saved(tmp_path)
    path.write_text(path.read_text("utf-8").replace("one word", "two words"), "utf-8")
    with pytest.raises(dm.StateError, match='delete its "checksum" line'):
        Two().load(path)
    lines = path.read_text("utf-8").splitlines()
    content = json.loads("\n".join(line for line in lines if '"checksum"' not in line).replace("},\n}", "}\n}"))
    path.write_text(json.dumps(content))
    assert Two().load(path).state.predictors["second"].descriptions == {"answer": "two words"}


def test_a_newer_layout_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    rewrite(path, declm=SCHEMA + 1, invention={})
    with pytest.raises(dm.StateError, match=rf"newer declm \(layout {SCHEMA + 1}\); upgrade declm"):
        Two().load(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"predictors": []},
        {"predictors": {"first": {"demos": "none"}, "second": {}}},
        {"predictors": {"first": {"surprise": 1}, "second": {}}},
        {"predictors": {"first": {}}},
        {"signatures": {"first": "hash", "second": {}}},
        {"signatures": None},
    ],
)
def test_a_file_of_the_wrong_shape_is_a_state_error(changes: dict[str, Any], tmp_path: Path) -> None:
    path = saved(tmp_path)
    rewrite(path, **changes)
    with pytest.raises(dm.StateError):
        Two().load(path)


# --- another signature


class Renamed(dm.Signature):
    prompt: str
    answer: str = dm.Output()


class TypedInput(dm.Signature):
    question: int
    answer: str = dm.Output()


class TypedOutput(dm.Signature):
    question: str
    answer: int = dm.Output()


class MoreInputs(dm.Signature):
    question: str
    context: list[str]
    answer: str = dm.Output()


class MoreOutputs(dm.Signature):
    question: str
    answer: str = dm.Output()
    sure: bool = dm.Output()


class RenamedOutput(dm.Signature):
    question: str
    reply: str = dm.Output()


class Closed(dm.Signature):
    question: str
    answer: Literal["yes", "no"] = dm.Output()


class Bounded(dm.Signature):
    question: str
    answer: str = dm.Output(max_length=5)


class Optional(dm.Signature):
    question: str | None
    answer: str = dm.Output()


class Listed(dm.Signature):
    question: str
    answer: list[str] = dm.Output()


class Nested(dm.Signature):
    question: str
    answer: Renamed = dm.Output()


class Swapped(dm.Signature):
    answer: str
    question: str = dm.Output()


class Aliased(dm.Signature):
    question: str
    answer: str = dm.Output(alias="reply")


DIFFERENCES: list[tuple[Any, str]] = [
    (Renamed, "first: input 'question' (string) is in the file only"),
    (Renamed, "first: input 'prompt' (string) is in the program only"),
    (TypedInput, "first: input 'question' was string and is integer"),
    (TypedOutput, "first: output 'answer' was string and is integer"),
    (MoreInputs, "first: input 'context' (string[]) is in the program only"),
    (MoreOutputs, "first: output 'sure' (boolean) is in the program only"),
    (RenamedOutput, "first: output 'answer' (string) is in the file only"),
    (RenamedOutput, "first: output 'reply' (string) is in the program only"),
    (Closed, "first: output 'answer' was string and is "),
    (Bounded, "first: output 'answer' was string and is string"),
    (Optional, "first: input 'question' was string and is "),
    (Listed, "first: output 'answer' was string and is "),
    (Nested, "first: output 'answer' was string and is "),
    (Swapped, "first: output 'question' (string) is in the program only"),
    (Swapped, "first: input 'answer' (string) is in the program only"),
    (Aliased, "first: output 'reply' (string) is in the program only"),
]


@pytest.mark.parametrize(("signature", "line"), DIFFERENCES)
def test_another_signature_is_refused_with_a_readable_difference(signature: Any, line: str, tmp_path: Path) -> None:
    path = saved(tmp_path)
    with pytest.raises(dm.SignatureMismatch) as caught:
        Two(first=signature).load(path)
    assert any(found.startswith(line) for found in caught.value.differences), caught.value.differences
    assert f"  {caught.value.differences[0]}\n" in str(caught.value)
    assert "was saved for another program than this Two" in str(caught.value)
    assert all(found.startswith("first: ") for found in caught.value.differences)


def test_wording_may_change_and_notes_do_not_count(tmp_path: Path) -> None:
    class Reworded(dm.Signature):
        """Another instruction."""

        question: str = dm.Input("in other words")
        answer: str = dm.Output()
        source: str = dm.Note()

    assert Two(first=Reworded).load(saved(tmp_path)).state == tuned().state


def test_another_order_of_fields_is_named(tmp_path: Path) -> None:
    ordered, swapped = dm.define("question -> a, b"), dm.define("question -> b, a")
    path = tmp_path / "program.json"
    dm.Predict(ordered).save(path)
    with pytest.raises(dm.SignatureMismatch, match="self: the order or a detail of its fields differs"):
        dm.Predict(swapped).load(path)


def test_other_predictors_are_named(tmp_path: Path) -> None:
    class Third(Two):
        def __init__(self) -> None:
            super().__init__()
            self.frist = self.first
            del self.first
            self.third = dm.Predict(QA)

    with pytest.raises(dm.SignatureMismatch) as caught:
        Third().load(saved(tmp_path))
    assert caught.value.differences == (
        "predictor 'first' is in the file only (the program has 'frist')",
        "predictor 'frist' is in the program only",
        "predictor 'third' is in the program only",
    )


def test_the_text_does_not_depend_on_who_writes_it() -> None:
    assert dump(tuned()) == dump(tuned())
