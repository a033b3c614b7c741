"""Promises 4, 5 and 6: what an outage, a hint to wait and a dead primary make of many calls."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from fault_server import Answer, FaultServer, completion, failure, serving

from declm.errors import DeadlineExceeded, RateLimited
from declm.lm import LM, Retried, RetryPolicy, Routed
from declm.lm.base import Sleep
from declm.lm.gates import forget
from declm.messages import Message, Request
from declm.testing import FunctionLM


def ask(text: object) -> Request:
    return Request((Message("user", str(text)),))


def lm_at(server: FaultServer, **arguments: Any) -> LM:
    return LM("openai/gpt-4o-mini", **{"api_base": server.url, "api_key": "k", "cache": False, **arguments})


# --- 4: after an outage nobody comes back in a wave

CLIENTS = 100
BIN_S = 0.1
SHARE = 0.25


@pytest.mark.parametrize("run", [0, *(pytest.param(run, marks=pytest.mark.slow) for run in range(1, 5))])
async def test_no_wave_follows_an_outage(server: FaultServer, run: int) -> None:
    retries_s, seen = list[float](), set[str]()

    def answer(body: Mapping[str, Any]) -> Answer:
        client = str(body["messages"][-1]["content"])
        if client in seen:
            retries_s.append(time.monotonic())
            return completion(client)
        seen.add(client)
        # Some servers fail, some say that there are too many, some say for how long.
        hints = {"Retry-After": "1"} if run % 2 else None
        return failure(429 if run else 500, "too many", headers=hints)

    server.answer = answer
    forget()
    lms = [lm_at(server, deadline=30, attempts=20) for _ in range(CLIENTS)]
    responses = await asyncio.gather(*(lm.acomplete(ask(n)) for n, lm in enumerate(lms)))
    assert [response.text for response in responses] == [str(n) for n in range(CLIENTS)]
    first_s = min(retries_s)
    bins = Counter(int((at_s - first_s) / BIN_S) for at_s in retries_s)
    assert max(bins.values()) <= SHARE * len(retries_s), sorted(bins.items())


# --- 5: a provider's hint is kept to, as far as the deadline goes


@pytest.mark.parametrize("hint", [1, 2, 3, 5, 8, 10, 15, 20, 25, 30])
def test_a_hint_is_waited_for_as_far_as_the_deadline_goes(hint: int) -> None:
    for deadline_s in (hint * 0.9, hint * 3.0):
        now = [0.0]
        policy = RetryPolicy(deadline_s=deadline_s, clock=lambda now=now: now[0])
        steps = Retried(FunctionLM(str), policy).steps(ask("hi"))
        next(steps)
        try:
            step = steps.throw(RateLimited("slow down", retry_after_s=float(hint)))
        except DeadlineExceeded:
            assert deadline_s < hint + policy.base_s
            continue
        assert isinstance(step, Sleep)
        assert hint <= step.seconds < deadline_s


def test_a_hint_is_waited_for_at_a_real_server(server: FaultServer) -> None:
    server.script(failure(429, "slow down", headers={"Retry-After": "1"}), completion())
    began_s = time.monotonic()
    assert lm_at(server, deadline=20).complete(ask("hi")).text == "hello"
    assert time.monotonic() - began_s >= 1.0
    server.script(failure(429, "slow down", headers={"Retry-After": "30"}))
    began_s = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        lm_at(server, deadline=2).complete(ask("hi"))
    assert time.monotonic() - began_s <= 2.5


# --- 6: a dead primary costs one call per cooldown

CALLS = 1000
COOLDOWN_S = 0.5


async def test_a_dead_primary_is_tried_once_per_cooldown(server: FaultServer) -> None:
    server.script(failure(500, "down"))
    with serving() as other:
        other.answer = lambda body: completion(str(body["messages"][-1]["content"]))
        lms = [lm_at(server, attempts=1), lm_at(other)]
        lm = Routed(lms, cooldown=COOLDOWN_S)
        gate, began_s = asyncio.Semaphore(16), time.monotonic()
        first = await lm.acomplete(ask("first"))

        async def one(n: int) -> str:
            async with gate:
                return (await lm.acomplete(replace(ask(n), sample=n))).text

        texts = await asyncio.gather(*(one(n) for n in range(1, CALLS)))
        seconds = time.monotonic() - began_s
    assert [first.text, *texts] == ["first", *map(str, range(1, CALLS))]
    assert 1 <= server.count <= 1 + seconds / COOLDOWN_S
    assert other.count == CALLS
