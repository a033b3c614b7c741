"""The front of the reply cache: what it holds, and that it agrees with the file behind it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from declm.lm.replies import Cache, Front
from declm.lm.store import Store
from declm.messages import Response, Token


def test_the_front_holds_the_latest_replies_within_its_bytes() -> None:
    front = Front(10_000)
    for index in range(100):
        front.put(str(index), Response("x" * 1000))
    held = [index for index in range(100) if front.get(str(index))]
    assert held == list(range(94, 100))
    front.put("big", Response("x" * 20_000))
    assert front.get("big") is None


def test_a_reply_that_is_put_again_is_counted_once() -> None:
    front = Front(10_000)
    front.put("first", Response("x"))
    for _ in range(100):
        front.put("k", Response("x" * 1000, tokens=(Token("x", 0.0, (("y", -1.0),)),)))
    assert front.get("first")


def test_a_hit_of_the_front_reads_no_file(tmp_path: Path) -> None:
    cache = Cache(Store(tmp_path / "replies.db"))
    cache.keep("k", Response("text", "why", tokens=(Token("x", -0.5, (("y", -1.0),)),)))
    with sqlite3.connect(tmp_path / "replies.db") as raw:
        raw.execute("DELETE FROM replies")
    raw.close()
    found = cache.find("k")
    assert found is not None
    assert (found.text, found.reasoning, found.cached, found.usage.cached) == ("text", "why", True, 1)


def test_the_front_and_the_file_give_the_same(tmp_path: Path) -> None:
    first, second = (Cache(Store(tmp_path / "replies.db")) for _ in range(2))
    first.keep("k", Response("text", "why", tokens=(Token("x", -0.5, (("y", -1.0),)),)))
    assert first.find("k") == second.find("k") == second.find("k")


def test_another_process_s_replies_are_found(tmp_path: Path) -> None:
    first, second = (Cache(Store(tmp_path / "replies.db")) for _ in range(2))
    assert first.find("k") is None
    second.keep("k", Response("text"))
    assert first.find("k") is not None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_finds_and_keeps_and_waits_for_none_of_its_parent_s_calls(tmp_path: Path) -> None:
    cache = Cache(Store(tmp_path / "replies.db"))
    cache.keep("parent", Response("text"))
    flight, leads = cache.board("f" * 32, None)
    assert leads
    child = os.fork()
    if not child:
        status = 1
        try:
            found, (_, leads) = cache.find("parent"), cache.board("f" * 32, None)
            cache.keep("child", Response("text"))
            status = int(found is None or not leads)
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert cache.find("child") is not None
    cache.land("f" * 32, flight, Response("landed"))
