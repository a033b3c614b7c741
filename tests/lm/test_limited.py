"""Limits of a real LM at a real server: what it sees at once, in threads and in tasks."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fault_server import Answer, FaultServer, completion, failure

from declm.errors import DeadlineExceeded, UsageError
from declm.lm import LM
from declm.lm.gates import forget
from declm.lm.library import load
from declm.messages import Message, Request


@pytest.fixture(autouse=True)
def own_gates() -> Iterator[None]:
    """No limit of one test holds in the next, and importing litellm takes no call's time."""
    load()
    forget()
    yield
    forget()


def ask(text: object) -> Request:
    return Request((Message("user", str(text)),))


def lm_at(server: FaultServer, **arguments: Any) -> LM:
    return LM("openai/gpt-4o-mini", **{"api_base": server.url, "api_key": "k", "cache": False, **arguments})


class Crowd:
    """A server's answer that counts how many it serves at once."""

    def __init__(self, takes_s: float = 0.01) -> None:
        self._takes_s = takes_s
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0

    def __call__(self, body: Mapping[str, Any]) -> Answer:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(self._takes_s)
        with self._lock:
            self._now -= 1
        return completion(str(body["messages"][-1]["content"]))


def in_threads(lm: LM, count: int) -> list[str]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda n: lm.complete(ask(n)).text, range(count)))


def in_tasks(lm: LM, count: int) -> list[str]:
    async def everything() -> list[str]:
        return [r.text for r in await asyncio.gather(*(lm.acomplete(ask(n)) for n in range(count)))]

    return asyncio.run(everything())


def streamed(lm: LM, count: int) -> list[str]:
    async def one(n: int) -> str:
        return "".join([chunk.text async for chunk in lm.astream(ask(n))])

    async def everything() -> list[str]:
        return await asyncio.gather(*(one(n) for n in range(count)))

    return asyncio.run(everything())


@pytest.mark.parametrize("way", [in_threads, in_tasks, streamed])
def test_no_more_calls_are_in_flight_than_allowed(server: FaultServer, way: Callable[[LM, int], list[str]]) -> None:
    server.answer = crowd = Crowd()
    assert way(lm_at(server, concurrency=3), 30) == [str(n) for n in range(30)]
    assert crowd.most == 3


def test_lms_that_share_an_account_share_its_limit(server: FaultServer) -> None:
    server.answer = crowd = Crowd()
    lms = [lm_at(server, concurrency=2, temperature=n / 10) for n in range(4)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: lms[n % 4].complete(ask(n)), range(32)))
    assert crowd.most == 2


def test_a_limit_of_calls_a_minute_holds_back_what_is_too_much(server: FaultServer) -> None:
    lm = lm_at(server, rpm=5, deadline=0.5)
    began_s = time.monotonic()
    ends = [_end(lm, n) for n in range(8)]
    assert ends == ["answered"] * 5 + ["DeadlineExceeded"] * 3
    assert server.count == 5
    assert time.monotonic() - began_s < 5.0


def _end(lm: LM, n: object) -> str:
    try:
        lm.complete(ask(n))
    except DeadlineExceeded as error:
        return type(error).__name__
    return "answered"


def test_waiting_for_a_place_counts_against_the_deadline(server: FaultServer) -> None:
    server.answer = Crowd(takes_s=1.5)
    lm = lm_at(server, concurrency=1, deadline=0.7)
    with ThreadPoolExecutor(4) as pool:
        began_s = time.monotonic()
        ends = list(pool.map(lambda n: _end(lm, n), range(4)))
        assert time.monotonic() - began_s < 1.4
    assert ends == ["DeadlineExceeded"] * 4


def test_a_hint_holds_the_calls_of_others_too(server: FaultServer) -> None:
    """One call is refused; nobody of its account sends anything until the provider's time has passed."""
    refused_s, sent_s = list[float](), list[float]()

    def answer(body: Mapping[str, Any]) -> Answer:
        if not refused_s:
            refused_s.append(time.monotonic())
            return failure(429, "slow down", headers={"Retry-After": "1"})
        sent_s.append(time.monotonic())
        return completion(str(body["messages"][-1]["content"]))

    server.answer = answer
    lm = lm_at(server, deadline=20)

    async def everything() -> list[str]:
        first = asyncio.create_task(lm.acomplete(ask("first")))
        while not refused_s:  # noqa: ASYNC110  # it happens in another thread
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.1)
        others = await asyncio.gather(*(lm.acomplete(ask(n)) for n in range(5)))
        return [response.text for response in (await first, *others)]

    assert asyncio.run(everything()) == ["first", "0", "1", "2", "3", "4"]
    assert min(sent_s) - refused_s[0] >= 1.0


def test_a_hint_beyond_the_deadline_ends_the_calls_of_others_at_once(server: FaultServer) -> None:
    server.script(failure(429, "slow down", headers={"Retry-After": "3600"}))
    lm = lm_at(server, deadline=2)
    assert _end(lm, "first") == "DeadlineExceeded"
    began_s = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="asked to wait for another"):
        lm.complete(ask("second"))
    assert time.monotonic() - began_s < 1.0
    assert server.count == 1


async def test_a_task_that_is_cancelled_in_the_queue_leaves_no_gap(server: FaultServer) -> None:
    server.answer = Crowd(takes_s=0.05)
    lm = lm_at(server, concurrency=1, deadline=20)
    tasks = [asyncio.create_task(lm.acomplete(ask(n))) for n in range(9)]
    await asyncio.sleep(0.02)
    for task in tasks[1::2]:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(end, asyncio.CancelledError) for end in ends] == [False, True] * 4 + [False]
    assert (await lm.acomplete(ask("after"))).text == "after"


def test_a_reader_that_leaves_a_stream_makes_room(server: FaultServer) -> None:
    lm = lm_at(server, concurrency=1, deadline=5)
    for _ in range(3):
        chunks = lm.stream(ask("hi"))
        next(chunks)
        chunks.close()
    assert lm.complete(ask("hi")).text == "hello"


def test_it_says_what_serves_it_best(server: FaultServer) -> None:
    assert lm_at(server, concurrency=3).capabilities.concurrency == 3
    assert lm_at(server).capabilities.concurrency == 16


@pytest.mark.parametrize("limit", ["concurrency", "rpm", "tpm"])
@pytest.mark.parametrize("value", [0, -1, True, 1.5, "many"])
def test_a_limit_is_a_whole_number_from_1(limit: str, value: object) -> None:
    with pytest.raises(UsageError, match=limit):
        LM("openai/gpt-4o-mini", **{limit: value})  # type: ignore[arg-type]  # that is the point


def test_a_local_model_has_slots_instead() -> None:
    with pytest.raises(UsageError, match="slots="):
        LM("local/smollm2", concurrency=2)


def test_a_hint_holds_the_calls_under_other_limits_of_the_account_too(server: FaultServer) -> None:
    server.script(failure(429, "slow down", headers={"Retry-After": "60"}), completion())
    with pytest.raises(DeadlineExceeded):
        lm_at(server, deadline=5).complete(ask("first"))
    with pytest.raises(DeadlineExceeded, match="wait for another"):
        lm_at(server, deadline=5, rpm=100).complete(ask("second"))
    assert server.count == 1


def test_the_hint_of_an_overloaded_server_is_kept(server: FaultServer) -> None:
    server.script(failure(503, "overloaded", headers={"Retry-After": "1"}), completion("back"))
    began_s = time.monotonic()
    assert lm_at(server).complete(ask("?")).text == "back"
    assert time.monotonic() - began_s >= 1.0


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_tokens_of_a_reply_are_reserved_before_it_is_written(server: FaultServer, name: str) -> None:
    server.answer = lambda _body: completion(tokens=(1, 90))
    lm = lm_at(server, tpm=200, deadline=0.5, **{name: 90})
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(lm.complete, ask(n)) for n in range(6)]
    assert sum(call.exception() is None for call in calls) == 2
    assert server.count == 2


def test_tokens_of_usual_replies_are_reserved_where_no_limit_is_known(server: FaultServer) -> None:
    server.answer = lambda _body: completion(tokens=(1, 99))
    lm = lm_at(server, tpm=1000, deadline=0.5)
    for n in range(8):  # it learns what replies have
        lm.complete(ask(n))
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(lm.complete, ask(f"then {n}")) for n in range(8)]
    assert sum(call.exception() is None for call in calls) == server.count - 8 <= 2
