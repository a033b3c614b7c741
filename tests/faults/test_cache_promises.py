"""Promises 8, 9, 10, 12 and 15: what the reply cache never gives, and what no fault of its file may do."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fault_server import Answer, FaultServer, completion, serving

from declm.errors import DeclmError
from declm.lm import LM
from declm.lm.cached import Cached
from declm.lm.replies import cache_at
from declm.messages import Message, Request, Response
from declm.predictors.predict import Predict
from declm.testing import FunctionLM

HI = Request((Message("user", "hi"),))


def ask(text: object) -> Request:
    return Request((Message("user", str(text)),))


def echoing(path: Path) -> Cached:
    """An LM that repeats the prompt, with a cache that holds nothing in memory yet."""
    cache_at.cache_clear()
    return Cached(FunctionLM(lambda request: request.messages[-1].content), path)


def call(lm: Cached, text: object) -> Response:
    """Ask and commit, as the flow does after validation."""
    response = lm.complete(ask(text))
    assert response.text == str(text)
    lm.commit(ask(text), response)
    return response


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "declm" and r.levelno >= logging.WARNING]


# --- 8: a bad reply is never stuck

BAD = [
    completion("no json"),
    completion(""),
    completion('{"answer": "many"}'),
    completion('{"answer": null}'),
    completion("[" * 3000),
    completion('{"answer": 4', finish="length"),
    completion("", finish="content_filter"),
]


@pytest.mark.parametrize("bad", BAD)
def test_after_a_bad_reply_the_next_call_is_sent(server: FaultServer, bad: Answer) -> None:
    server.script(bad, completion('{"answer": 42}'))
    lm = LM("hosted_vllm/m", api_base=server.url, api_key="k")
    predict = Predict("question -> answer: int", lm=lm, retries=0)
    with pytest.raises(DeclmError):
        predict(question="?")
    assert predict(question="?").answer == 42
    assert server.count == 2
    assert predict(question="?").answer == 42
    assert server.count == 2


# --- 9: endpoints stay apart


def test_no_reply_crosses_between_endpoints_of_one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as one, serving() as two:
        one.answer, two.answer = lambda _b: completion("one"), lambda _b: completion("two")
        lms = [LM("hosted_vllm/m", api_base=s.url) for s in (one, two)]
        for index in range(25):
            request = Request((Message("user", str(index)),))
            for _ in range(2):
                for lm, text in zip(lms, ("one", "two"), strict=True):
                    response = lm.complete(request)
                    lm.commit(request, response)
                    assert response.text == text
        assert (one.count, two.count) == (25, 25)
        same = LM("hosted_vllm/m")
        for server, text in ((one, "one"), (two, "two")):
            monkeypatch.setenv("HOSTED_VLLM_API_BASE", server.url)
            assert same.complete(HI).text == text
            same.commit(HI, Response(text))
        assert same.complete(HI).text == "two"


# --- 10: damaged rows

DAMAGE: list[tuple[str, object]] = [
    ("body", "{not json"),
    ("body", '{"text": "0", "model": "m"}'),
    ("body", "null"),
    ("body", b"\x80\x04\x95"),
    ("body", ""),
    ("crc", 0),
]


@pytest.mark.parametrize(("column", "value"), DAMAGE)
def test_damaged_rows_are_misses_with_one_warning_and_heal(
    tmp_path: Path, column: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "replies.db"
    lm = echoing(path)
    for index in range(20):
        call(lm, index)
    with sqlite3.connect(path) as raw:
        raw.execute(f"UPDATE replies SET {column} = ?", (value,))
    raw.close()
    lm = echoing(path)
    assert not any(call(lm, index).cached for index in range(20))
    assert len(warnings_of(caplog)) == 1
    lm = echoing(path)
    assert all(call(lm, index).cached for index in range(20))


# --- 12: modes


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_folders_and_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = tmp_path / "deep" / "cache" / "replies.db"
        call(echoing(path), "hi")
        assert {stat.S_IMODE(folder.stat().st_mode) for folder in path.parents[:2]} == {0o700}
        files = list(path.parent.iterdir())
        assert {f.name for f in files} == {"replies.db", "replies.db-wal", "replies.db-shm", "replies.db.asking"}
        assert {stat.S_IMODE(f.stat().st_mode) for f in files} == {0o600}
    finally:
        os.umask(before)


# --- 15: disks that are full or can't be written


def unusable(kind: str, folder: Path) -> Path:
    """A path where no cache can be kept, also by root."""
    path = folder / "replies.db"
    if kind == "full":
        path.symlink_to("/dev/full")
    elif kind == "read-only":
        path = Path("/sys/declm/replies.db")
    else:
        (folder / "file").write_text("in the way")
        path = folder / "file" / "replies.db"
    return path


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's special files")
@pytest.mark.parametrize("kind", ["full", "read-only", "no folder"])
def test_300_calls_go_on_without_a_cache_and_with_one_warning(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    lm = echoing(unusable(kind, tmp_path))
    began_s = time.monotonic()
    for index in range(300):
        call(lm, index)
    assert time.monotonic() - began_s < 30.0  # on a busy machine too; waits for SQLite would make it 600
    assert len(warnings_of(caplog)) == 1


FULL_DISK = """
import logging, resource, signal, sys, time
from pathlib import Path
from declm.lm.cached import Cached
from declm.messages import Message, Request
from declm.testing import FunctionLM

logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s")
lm = Cached(FunctionLM(lambda request: "x" * 2000), Path(sys.argv[1]))

def call(text):
    request = Request((Message("user", text),))
    response = lm.complete(request)
    lm.commit(request, response)
    return response.cached

call("before")
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for index in range(300):
    assert not call(str(index))
print(call("before"))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_disk_that_fills_up_costs_one_warning_and_no_call(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "replies.db")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    warning, hit = done.stdout.splitlines()
    assert "can't be used" in warning
    assert hit == "True"
