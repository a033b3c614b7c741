"""Promises 32, 33 and 34: budgets, cancellation, and whose LM answers, with many calls in flight."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fault_server import Answer, FaultServer, completion

import declm as dm
from declm.lm import LM
from declm.lm.replies import cache_at
from declm.lm.traffic import TRAFFIC
from declm.predictors.predict import Predict
from declm.testing import FunctionLM


def echo(body: Mapping[str, Any]) -> Answer:
    """Answer with the question, after a while that differs from call to call."""
    question = str(body["messages"][-1]["content"]).removeprefix("question: ")
    time.sleep(random.random() * 0.02)
    return completion(f'{{"answer": "about {question}"}}')


def asking(server: FaultServer, **arguments: Any) -> Predict[Any]:
    lm = LM("openai/gpt-4o-mini", **{"api_base": server.url, "api_key": "k", "cache": False, **arguments})
    return Predict("question -> answer", lm=lm, retries=0)


# --- 32: a budget refuses the call that would pass it

WIDTH = 4
TOKENS = 14  # of one call, as the server counts
USD = 11 * 0.15e-6 + 3 * 0.6e-6  # the price of gpt-4o-mini


def limits(seed: int) -> tuple[str, dm.Budget, int]:
    """A budget of a random kind and size, and the most calls that it allows, those in flight included."""
    draw = random.Random(seed)
    kind, calls = draw.choice(["calls", "tokens", "usd"]), draw.randint(0, 12)
    if kind == "calls":
        return kind, dm.Budget(calls=calls), calls
    in_flight = WIDTH - 1 if calls else 0
    if kind == "tokens":
        return kind, dm.Budget(tokens=calls * TOKENS), calls + in_flight
    return kind, dm.Budget(usd=max(0.0, calls - 0.5) * USD), calls + in_flight


@pytest.mark.parametrize("first", range(0, 100, 25))
async def test_a_budget_refuses_the_call_that_would_pass_it(server: FaultServer, first: int) -> None:
    server.answer = lambda _body: completion('{"answer": "yes"}')
    predict = asking(server)

    async def worker(refusals: list[str]) -> None:
        try:
            while not refusals:
                await predict.acall(question="?")
        except dm.BudgetExceeded as error:
            refusals.append(str(error.limit))

    for seed in range(first, first + 25):
        kind, budget, most = limits(seed)
        server.bodies.clear()
        refusals = list[str]()
        with dm.context(budget=budget):
            await asyncio.gather(*(worker(refusals) for _ in range(WIDTH)))
        assert set(refusals) == {kind}
        assert server.count <= most, seed
        assert server.count >= most - (WIDTH - 1), seed


# --- 33: cancelling at any moment leaves nothing behind


def sockets(server: FaultServer) -> int:
    """Open sockets of this process that are an end of a connection to the server."""
    handles = [str(handle.readlink()) for handle in Path("/proc/self/fd").iterdir() if handle.is_symlink()]
    open_here = {handle[8:-1] for handle in handles if handle.startswith("socket:[")}
    port = f":{urlsplit(server.url).port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[9] in open_here and port in (line[1][-5:], line[2][-5:]) for line in lines)


@pytest.mark.skipif(sys.platform != "linux", reason="counts sockets in /proc")
async def test_cancelling_at_any_moment_leaves_nothing_behind(server: FaultServer, tmp_path: Path) -> None:
    server.answer = echo
    predict = asking(server, cache=tmp_path / "replies.sqlite", deadline=20)
    tasks_before, width = len(asyncio.all_tasks()), 50
    others_before = await asyncio.wrap_future(TRAFFIC.start(_tasks()))  # of other tests
    await predict.acall(question="start")
    waves_s = list[float]()  # on this machine, as busy as it is
    for wave in range(3):
        began_s = time.monotonic()
        await asyncio.gather(*(predict.acall(question=f"before {wave} {n}") for n in range(width)))
        waves_s.append(time.monotonic() - began_s)
    wave_s = min(waves_s)
    draw, ends = random.Random(33), list[str]()

    async def cancelled(n: int) -> None:
        task = asyncio.create_task(predict.acall(question=f"{n}"))
        await asyncio.sleep(draw.random() * 1.5 * wave_s)
        task.cancel()
        try:
            assert (await task).answer == f"about {n}"
            ends.append("answered")
        except asyncio.CancelledError:
            ends.append("cancelled")

    for first in range(0, 500, width):
        await asyncio.gather(*(cancelled(n) for n in range(first, first + width)))
    assert len(ends) == 500
    assert min(ends.count("answered"), ends.count("cancelled")) > 10  # or the moments were not random

    assert len(asyncio.all_tasks()) == tasks_before
    assert await asyncio.wrap_future(TRAFFIC.start(_others(others_before))) == set()
    assert 0 < sockets(server) <= 2 * width + 20  # idle connections of one wave, at either end
    cache_at.cache_clear()  # what is on disk counts, not what is in memory
    again = await asyncio.gather(*(predict.acall(question=f"{n}") for n in range(500)))
    assert [one.answer for one in again] == [f"about {n}" for n in range(500)]
    with sqlite3.connect(tmp_path / "replies.sqlite") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def _tasks() -> set[asyncio.Task[Any]]:
    """Tasks in the event loop that carries the calls, this one left out."""
    return asyncio.all_tasks() - {task for task in [asyncio.current_task()] if task}


async def _others(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Tasks in that loop that have come since; those that are ending get a second."""
    end_s = time.monotonic() + 1.0
    while await _tasks() - before and time.monotonic() < end_s:  # noqa: ASYNC110  # they end by themselves
        await asyncio.sleep(0.01)
    return await _tasks() - before


# --- 34: the LM that was given answers, in every thread, task and child


def named(name: str) -> FunctionLM:
    """An LM that answers with its name."""
    return FunctionLM(lambda _request: f'{{"answer": "{name}"}}', name=name)


async def test_every_task_is_answered_by_its_own_lm() -> None:
    predict = Predict("question -> answer")

    async def own(n: int) -> None:
        with dm.context(lm=named(f"task {n}")):
            for _ in range(3):
                await asyncio.sleep(0)
                assert (await predict.acall(question="who?")).answer == f"task {n}"
            inner = named(f"inner {n}")
            with dm.context(lm=inner):
                await asyncio.sleep(0)
                assert (await predict.acall(question="who?")).answer == f"inner {n}"
            assert (await predict.acall(question="who?")).answer == f"task {n}"

    with dm.context(lm=named("around")):
        await asyncio.gather(*(own(n) for n in range(100)))
        assert predict(question="who?").answer == "around"


def test_every_thread_is_answered_by_the_lm_that_was_carried_into_it() -> None:
    predict, answers = Predict("question -> answer"), dict[int, str]()
    started = threading.Barrier(80)

    def own(n: int) -> None:
        started.wait(30)
        answers[n] = predict(question="who?").answer

    threads = list[threading.Thread]()
    for n in range(80):
        with dm.context(lm=named(f"thread {n}")):
            threads.append(threading.Thread(target=dm.carry(own), args=(n,)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == {n: f"thread {n}" for n in range(80)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_every_child_is_answered_by_the_lm_of_its_parent(server: FaultServer) -> None:
    server.answer = lambda body: completion(f'{{"answer": "{body["model"]}"}}')
    children = list[int]()
    for n in range(20):
        lm = LM(f"openai/model-{n}", api_base=server.url, api_key="k", cache=False, deadline=20)
        with dm.context(lm=lm):
            predict = Predict("question -> answer")
            assert predict(question="who?").answer == f"model-{n}"
            child = os.fork()
            if not child:
                try:
                    os._exit(0 if predict(question="who?").answer == f"model-{n}" else 1)
                finally:
                    os._exit(2)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 20
