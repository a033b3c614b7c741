"""Promise 11: nothing that is planted in a file which declm reads is ever run."""

from __future__ import annotations

import csv
import json
import os
import pickle
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

import declm as dm
from declm.evaluation.ledger import Ledger
from declm.lm.cached import Cached
from declm.lm.replies import cache_at
from declm.messages import Message, Request
from declm.predictors.predict import Predict
from declm.testing import FunctionLM


class QA(dm.Signature):
    """Answer the question."""

    question: str = dm.Input()
    answer: str = dm.Output()


def exact(gold: QA, got: QA) -> bool:
    """Whether the answer is the gold one."""
    return gold.answer == got.answer


class _Planted:
    """What a pickle runs when it is read."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self._command,)


def payloads(command: str) -> dict[str, bytes]:
    """Files and texts that run a command in a reader which trusts them."""
    call = f"__import__('os').system({command!r})"
    return {
        "pickle": pickle.dumps(_Planted(command)),
        "old pickle": pickle.dumps(_Planted(command), protocol=0),
        "yaml": f'!!python/object/apply:os.system ["{command}"]'.encode(),
        "jsonpickle": json.dumps({"py/reduce": [{"py/function": "os.system"}, {"py/tuple": [command]}]}).encode(),
        "template": f"{{{{ cycler.__init__.__globals__.os.system({command!r}) }}}}".encode(),
        "python": call.encode(),
    }


# --- the files; each gets a payload in every place that may hold one


def cache(folder: Path, payload: bytes) -> None:
    lm = Cached(FunctionLM(lambda _request: "fresh"), folder / "replies.db")
    asked = Request((Message("user", "hi"),))
    lm.commit(asked, lm.complete(asked))
    text = payload.decode("latin-1")
    bodies = [payload, text, json.dumps({"text": text, "finish": "stop"}), json.dumps({"response": text})]
    for body in bodies:
        with closing(sqlite3.connect(folder / "replies.db")) as database, database:
            crc = zlib.crc32(body if isinstance(body, bytes) else body.encode())
            database.execute("UPDATE replies SET body = ?, crc = ?", (body, crc))
        cache_at.cache_clear()
        assert lm.complete(asked).text in {"fresh", text}


def ledger(folder: Path, payload: bytes) -> None:
    text = payload.decode("latin-1")
    lm = FunctionLM(lambda _request: '{"answer": "yes"}')
    rows = [QA(question="is it?", answer="yes")]
    predict = Predict(QA, lm=lm)
    dm.evaluate(predict, rows, metric=exact, name=str(folder / "ledger.sqlite"))
    for body in (payload, text, json.dumps(text), json.dumps({"outputs": text})):
        with closing(sqlite3.connect(folder / "ledger.sqlite")) as database, database:
            assert database.execute("UPDATE outcomes SET body = ?", (body,)).rowcount == 1
            database.execute("INSERT OR REPLACE INTO notes VALUES ('note', ?)", (body,))
        with pytest.raises(dm.StateError, match="damaged entry"):
            dm.evaluate(predict, rows, metric=exact, name=str(folder / "ledger.sqlite"))
    (folder / "other.db").write_bytes(payload)
    with pytest.raises(dm.StateError):
        Ledger(folder / "other.db")


def program(folder: Path, payload: bytes) -> None:
    text, path = payload.decode("latin-1"), folder / "program.json"
    lm = FunctionLM(lambda _request: '{"answer": "yes"}')
    predict = Predict(QA, lm=lm)
    demo = QA(question=text, answer=text)
    predict.with_instructions(text).with_demos([demo]).save(path)
    restored = predict.load(path)
    shown = str(restored.render(question=text))
    assert shown.count(text.strip()[:20]) >= 3  # the instruction, the demonstration and the question, as they are
    assert restored(question=text).answer == "yes"
    path.write_bytes(payload)
    with pytest.raises(dm.StateError):
        predict.load(path)


def data(folder: Path, payload: bytes) -> None:
    text = payload.decode("latin-1")
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["question", "answer"], [text, "=cmd|'/C calc'!A0"]])
    (folder / "rows.jsonl").write_text(json.dumps({"question": text, "answer": text}) + "\n", "utf-8")
    assert dm.data.read(QA, folder / "rows.csv")[0].answer == "=cmd|'/C calc'!A0"
    assert dm.data.read(QA, folder / "rows.jsonl")[0].question == text
    for suffix in ("csv", "json", "jsonl", "parquet"):
        path = folder / f"planted.{suffix}"
        path.write_bytes(payload)
        with pytest.raises(dm.DeclmError):
            dm.data.read(QA, path)


def templates(folder: Path, payload: bytes) -> None:
    for part in ("system", "user", "assistant", "reask"):
        own = folder / part / "json"
        own.mkdir(parents=True)
        (own / f"{part}.jinja").write_bytes(payload)
        lm = FunctionLM(lambda _request: '{"answer": "yes"}')
        with dm.context(templates=folder / part), suppress(dm.DeclmError):
            Predict(QA, lm=lm, format="json").with_demos([QA(question="a", answer="b")])(question="is it?")


FILES: list[Callable[[Path, bytes], None]] = [cache, ledger, program, data, templates]
KINDS = tuple(payloads(""))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("read", FILES)
def test_what_is_planted_in_a_file_is_never_run(tmp_path: Path, read: Callable[[Path, bytes], None], kind: str) -> None:
    canary, folder = tmp_path / "canary", tmp_path / "files"
    folder.mkdir()
    read(folder, payloads(f"touch {canary}")[kind])
    assert not canary.exists()


def test_the_payloads_are_live(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    pickle.loads(payloads(f"touch {canary}")["pickle"])
    assert canary.exists()
    assert len(FILES) * len(KINDS) == 30
