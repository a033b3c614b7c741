"""Promise 14: processes that ask the same prompts through one cache send each of them once."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fault_server import Answer, FaultServer
from redis_server import serving_redis

from declm.lm.store import Store

WORKER = Path(__file__).with_name("cache_worker.py")


def answering(server: FaultServer, seconds: float) -> None:
    """Answer each prompt with itself, after a while."""

    def answer(body: Mapping[str, Any]) -> Answer:
        time.sleep(seconds)
        return Answer(body={"reply": json.dumps({"answer": body["prompt"]})})

    server.answer = answer


def start(server: FaultServer, cache: object, *numbers: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), server.url, str(cache), *map(str, numbers)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def finish(workers: list[subprocess.Popen[str]]) -> None:
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert (worker.returncode, errors) == (0, "")


def run_six(server: FaultServer, cache: object) -> int:
    """Requests for 60 prompts that 6 processes ask in the same order."""
    before = server.count
    finish([start(server, cache, 60, 60, 0) for _ in range(6)])
    return server.count - before


def test_six_processes_send_sixty_prompts_once(server: FaultServer, tmp_path: Path) -> None:
    answering(server, 0.01)
    assert run_six(server, tmp_path / "replies.db") <= 63


def test_six_processes_that_share_a_redis_server_send_sixty_prompts_once(server: FaultServer, tmp_path: Path) -> None:
    answering(server, 0.01)
    with serving_redis(tmp_path) as address:
        assert run_six(server, address) <= 63


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_six_processes_send_sixty_prompts_once_in_ten_runs(server: FaultServer, tmp_path: Path) -> None:
    answering(server, 0.03)
    sent = [run_six(server, tmp_path / f"{index}.db") for index in range(10)]
    assert max(sent) <= 63, sent


def check_rows(path: Path) -> int:
    """How many replies a file holds; every one of them is whole."""
    Store(path).close()
    with sqlite3.connect(path) as raw:
        rows = raw.execute("SELECT body, crc FROM replies").fetchall()
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()
    assert all(crc == zlib.crc32(body.encode()) and json.loads(body) for body, crc in rows)
    return len(rows)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_processes_lose_no_reply_and_block_nobody(server: FaultServer, tmp_path: Path) -> None:
    """8 processes of 500 calls over 200 prompts; ten of them are killed at random times and started anew."""
    answering(server, 0.1)
    cache, draw = tmp_path / "replies.db", random.Random(7)
    workers = [start(server, cache, 500, 200, seed + 1) for seed in range(8)]
    for kill in range(10):
        time.sleep(draw.uniform(0.1, 0.8))
        chosen = draw.randrange(8)
        workers[chosen].kill()
        workers[chosen].communicate()
        workers[chosen] = start(server, cache, 500, 200, kill + 9)
    finish(workers)
    assert server.count <= 210
    assert check_rows(cache) == 200
