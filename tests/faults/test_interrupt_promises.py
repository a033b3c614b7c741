"""Promise 18: Ctrl-C ends a program whose server hangs, at once and with what is done."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import pytest
from fault_server import Answer, FaultServer, completion

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")

LIMIT_S = 1.0

PROGRAM = """
import asyncio, json, sys, threading, time
sys.modules["litellm"] = None  # it takes seconds to import, and our own wire needs none
import declm as dm

url, way = sys.argv[1:]
lm = dm.LM("openai/gpt-4o-mini", api_base=url, api_key="k", cache=False, deadline=None)
ask = dm.Predict("question -> answer", lm=lm)


class QA(dm.Signature):
    '''Answer.'''

    question: str
    answer: str = dm.Output()


def run():
    if way == "call":
        ask(question="hang")
    elif way == "task":
        asyncio.run(ask.acall(question="hang"))
    elif way == "map":
        ask.map([{"question": "hang"}] * 8)
    elif way == "stream":
        list(ask.stream(question="hang"))
    else:
        rows = [QA(question=q, answer="yes") for q in ["quick"] * 4 + ["hang"] * 4]
        dm.evaluate(dm.Predict(QA, lm=lm), rows, metric=lambda gold, got: True, concurrency=2)


print("ready", flush=True)
try:
    run()
except KeyboardInterrupt as stop:
    report = getattr(stop, "report", None)
    done = sum(row.output is not None for row in report.rows) if report else None
    print(json.dumps({"at_s": time.monotonic(), "done": done}), flush=True)
    print(sorted(t.name for t in threading.enumerate() if not t.daemon), flush=True)
"""

WAYS = ["call", "task", "map", "stream", "evaluate"]


def hang_or_answer(body: Mapping[str, Any]) -> Answer:
    if "hang" in str(body["messages"][-1]["content"]):
        return Answer(hang_s=60)
    return completion('{"answer": "yes"}')


def interrupted(server: FaultServer, way: str) -> tuple[float, int | None]:
    """Seconds from Ctrl-C to the program's own code, and the rows that it still has."""
    server.bodies.clear()
    hung = 2 if way == "evaluate" else 1
    with subprocess.Popen([sys.executable, "-c", PROGRAM, server.url, way], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        while sum("hang" in str(body["messages"][-1]["content"]) for body in server.bodies) < hung:
            time.sleep(0.01)
        sent_s = time.monotonic()
        child.send_signal(signal.SIGINT)
        told = json.loads(child.stdout.readline())
        assert child.stdout.readline() == "['MainThread']\n"  # nothing else keeps the interpreter from ending
        assert child.wait(30) == 0
    return told["at_s"] - sent_s, told["done"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", WAYS)
def test_ctrl_c_ends_a_program_whose_server_hangs(server: FaultServer, way: str) -> None:
    server.answer = hang_or_answer
    for _ in range(20 // len(WAYS)):
        seconds, done = interrupted(server, way)
        assert seconds <= LIMIT_S
        assert done == (4 if way == "evaluate" else None)
