"""Promise 13: of many callers in one process that ask the same at once, one sends."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import pytest
from fault_server import Answer, FaultServer, completion, failure, streamed

from declm import settings
from declm.errors import AuthError, DeadlineExceeded, ServerError
from declm.lm import LM
from declm.lm.cached import Cached
from declm.messages import Message, Request, Response
from declm.predictors.predict import Predict
from declm.testing import FunctionLM
from declm.usage import Budget, Usage

CALLERS = 20
ROUNDS = 50


def lm_of(server: FaultServer, **options: Any) -> LM:
    return LM("hosted_vllm/m", api_base=server.url, api_key="k", **options)


def ask(text: object) -> Request:
    return Request((Message("user", str(text)),))


def slowly(answer: Answer, seconds: float = 0.01) -> Callable[[Any], Answer]:
    """An answer that takes its time, so that the calls overlap."""

    def answering(_body: Any) -> Answer:
        time.sleep(seconds)
        return answer

    return answering


def at_once(work: Callable[[], Any], callers: int = CALLERS) -> list[Any]:
    """What the callers got, or raised, each in a thread of its own."""
    found, gate = list[Any](), threading.Barrier(callers)

    def call() -> None:
        gate.wait()
        try:
            found.append(work())
        except BaseException as error:  # noqa: BLE001  # it is what the test looks at
            found.append(error)

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def wait_for(server: FaultServer) -> None:
    """Return once the first request has arrived."""
    while server.count < 1:
        time.sleep(0.002)


async def reached(server: FaultServer) -> None:
    """The same for tasks."""
    await asyncio.to_thread(wait_for, server)


def test_threads_that_ask_the_same_send_once(server: FaultServer) -> None:
    server.answer = slowly(completion('{"answer": "yes"}'))
    ask_it = Predict("question -> answer", lm=lm_of(server))
    for index in range(ROUNDS):
        answers = at_once(lambda index=index: ask_it.run(question=str(index)))
        assert {run.value.answer for run in answers} == {"yes"}
        assert sum((run.usage for run in answers), Usage()).calls == 1
        assert server.count == index + 1


async def test_tasks_that_ask_the_same_send_once(server: FaultServer) -> None:
    server.answer = slowly(completion('{"answer": "yes"}'))
    ask_it = Predict("question -> answer", lm=lm_of(server))
    for index in range(ROUNDS):
        answers = await asyncio.gather(*(ask_it.arun(question=str(index)) for _ in range(CALLERS)))
        assert {run.value.answer for run in answers} == {"yes"}
        assert sum((run.usage for run in answers), Usage()).calls == 1
        assert server.count == index + 1


async def test_threads_tasks_and_streams_that_ask_the_same_send_once(server: FaultServer) -> None:
    def answer(body: Any) -> Answer:
        time.sleep(0.02)
        return streamed('{"answer": ', '"yes"}') if body.get("stream") else completion('{"answer": "yes"}')

    server.answer = answer
    ask_it = Predict("question -> answer", lm=lm_of(server))

    async def streaming(question: str) -> Any:
        return [value async for value in ask_it.astream(question=question)][-1]

    for index in range(5):
        question = str(index)
        answers = await asyncio.gather(
            *(ask_it.acall(question=question) for _ in range(5)),
            *(asyncio.to_thread(ask_it, question=question) for _ in range(5)),
            *(streaming(question) for _ in range(5)),
        )
        assert {answer.answer for answer in answers} == {"yes"}
        assert server.count == index + 1


def test_a_bad_reply_is_shared_and_asked_again_once(server: FaultServer) -> None:
    replies = [completion("no json"), completion('{"answer": "yes"}')]
    server.answer = lambda body: slowly(replies[len(body["messages"]) > 2])(body)
    ask_it = Predict("question -> answer", lm=lm_of(server))
    answers = at_once(lambda: ask_it(question="?").answer)
    assert (answers, server.count) == (["yes"] * CALLERS, 2)
    assert (ask_it(question="?").answer, server.count) == ("yes", 2)


def test_a_reply_that_nobody_kept_is_asked_for_again_at_once(server: FaultServer) -> None:
    lm = lm_of(server)
    for _ in range(5):
        assert not lm.complete(ask("?")).cached
    assert server.count == 5


def test_an_error_after_all_attempts_is_shared(server: FaultServer) -> None:
    server.answer = slowly(failure(500))
    lm = lm_of(server, attempts=2)
    errors = at_once(lambda: lm.complete(ask("?")))
    assert {type(error) for error in errors} == {ServerError}
    assert len({id(error) for error in errors}) == CALLERS  # each raises its own
    assert server.count == 2


def test_an_error_is_not_shared_with_an_lm_of_another_key(server: FaultServer) -> None:
    server.answer = slowly(failure(401), 0.2)
    errors = list[Any]()

    def refused() -> None:
        with pytest.raises(AuthError):
            LM("hosted_vllm/m", api_base=server.url, api_key="bad").complete(ask("?"))
        errors.append(1)

    leader = threading.Thread(target=refused)
    leader.start()
    wait_for(server)
    server.answer = lambda _body: completion("good")
    assert lm_of(server).complete(ask("?")).text == "good"
    leader.join()
    assert errors == [1]


async def test_when_a_leader_is_cancelled_one_other_sends(server: FaultServer) -> None:
    server.answer = slowly(completion("good"), 0.1)
    lm = lm_of(server)
    tasks = [asyncio.create_task(lm.acomplete(ask("?"))) for _ in range(CALLERS)]
    await reached(server)
    tasks[0].cancel()
    first, *others = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError)
    assert {r.text for r in others if isinstance(r, Response)} == {"good"}
    assert server.count == 2


async def test_a_follower_that_is_cancelled_disturbs_nobody(server: FaultServer) -> None:
    server.answer = slowly(completion("good"), 0.1)
    lm = lm_of(server)
    tasks = [asyncio.create_task(lm.acomplete(ask("?"))) for _ in range(CALLERS)]
    await reached(server)
    for task in tasks[1:10]:
        task.cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(r) for r in found[1:10]] == [asyncio.CancelledError] * 9
    assert [r.text for r in (found[0], *found[10:]) if isinstance(r, Response)] == ["good"] * 11
    assert server.count == 1


class Waiting(FunctionLM):
    """A double that takes its time in tasks as well."""

    async def acomplete(self, request: Request) -> Response:
        await asyncio.sleep(0.005)
        return self.complete(request)


async def test_tasks_that_are_cancelled_at_random_points_block_nobody() -> None:
    """500 tasks over 20 prompts, half of them cancelled, while 100 threads ask the same."""
    inner, draw = Waiting(lambda request: request.messages[-1].content), random.Random(1)
    lm = Cached(inner, None, 30.0)

    async def task(index: int) -> Response:
        response = await lm.acomplete(ask(index))
        lm.commit(ask(index), response)
        return response

    def thread(index: int) -> Response:
        response = lm.complete(ask(index))
        lm.commit(ask(index), response)
        return response

    async def cancelled(task: asyncio.Task[Response]) -> None:
        await asyncio.sleep(draw.uniform(0.0, 0.05))
        task.cancel()

    tasks = [asyncio.create_task(task(index % 20)) for index in range(500)]
    threads = [asyncio.create_task(asyncio.to_thread(thread, index % 20)) for index in range(100)]
    await asyncio.gather(*(cancelled(each) for each in tasks[::2]))
    found = await asyncio.wait_for(asyncio.gather(*tasks, *threads, return_exceptions=True), 20.0)
    for index, response in enumerate(found):
        if isinstance(response, Response):
            assert response.text == str(index % 20)
        else:
            assert isinstance(response, asyncio.CancelledError)
            assert index in range(0, 500, 2)
    assert all(lm.complete(ask(index)).cached for index in range(20))
    assert len(inner.requests) <= 40


def test_when_the_reader_of_a_leading_stream_leaves_one_other_sends(server: FaultServer) -> None:
    server.answer = lambda body: streamed("one", "two", drip_s=0.05) if body.get("stream") else completion("good")
    lm = lm_of(server)
    followers = list[Response]()
    with closing(lm.stream(ask("?"))) as chunks:
        next(chunks)
        threads = [threading.Thread(target=lambda: followers.append(lm.complete(ask("?")))) for _ in range(5)]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    assert [r.text for r in followers] == ["good"] * 5
    assert server.count == 2


def test_a_thread_does_not_wait_for_its_own_stream(server: FaultServer) -> None:
    server.answer = lambda body: streamed("one", "two") if body.get("stream") else completion("good")
    lm = lm_of(server)
    with closing(lm.stream(ask("?"))) as chunks:
        next(chunks)
        assert lm.complete(ask("?")).text == "good"


def test_nobody_waits_for_a_stream_that_its_reader_has_left_standing(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("declm.lm.flights.STALLED_S", 0.1)
    server.answer = lambda body: streamed("one", "two") if body.get("stream") else completion("good")
    lm = lm_of(server)
    with closing(lm.stream(ask("?"))) as chunks:
        next(chunks)
        assert [r.text for r in at_once(lambda: lm.complete(ask("?")), 3)] == ["good"] * 3


async def test_a_leader_that_takes_long_is_waited_for(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("declm.lm.flights.STALLED_S", 0.05)
    server.answer = slowly(completion("good"), 0.4)
    lm = lm_of(server)
    threads = [asyncio.to_thread(lm.complete, ask("?")) for _ in range(3)]
    found = await asyncio.gather(*(lm.acomplete(ask("?")) for _ in range(3)), *threads)
    assert [response.text for response in found] == ["good"] * 6
    assert server.count == 1


def test_the_deadline_holds_for_those_who_wait(server: FaultServer) -> None:
    server.answer = lambda _body: Answer(hang_s=20.0)
    patient, hurried = lm_of(server, deadline=1.2), lm_of(server, deadline=0.5)
    thread = threading.Thread(target=lambda: suppressed(lambda: patient.complete(ask("?"))))
    thread.start()
    wait_for(server)
    began_s = time.monotonic()
    found = at_once(lambda: hurried.complete(ask("?")))
    assert time.monotonic() - began_s < 1.0
    assert {type(error) for error in found} == {DeadlineExceeded}
    assert server.count == 1
    thread.join()


def suppressed(work: Callable[[], object]) -> None:
    with suppress(DeadlineExceeded):
        work()


def test_the_deadline_covers_the_waiting_and_the_send_after_it(server: FaultServer) -> None:
    """The leader gives up; the next one has only what is left."""
    server.answer = lambda _body: Answer(hang_s=20.0)
    first, second = lm_of(server, deadline=0.6), lm_of(server, deadline=1.0)
    thread = threading.Thread(target=lambda: suppressed(lambda: first.complete(ask("?"))))
    thread.start()
    wait_for(server)
    began_s = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        second.complete(ask("?"))
    assert 0.9 < time.monotonic() - began_s < 1.4
    assert server.count == 2
    thread.join()


def test_another_sample_is_another_flight(server: FaultServer) -> None:
    server.answer = slowly(completion("good"))
    lm, numbers = lm_of(server), iter(range(CALLERS))
    at_once(lambda: lm.complete(Request(ask("?").messages, sample=next(numbers))))
    assert server.count == CALLERS


def test_without_a_cache_every_call_is_sent(server: FaultServer) -> None:
    server.answer = slowly(completion("good"))
    lm = lm_of(server, cache=False)
    at_once(lambda: lm.complete(ask("?")), 5)
    assert server.count == 5


def test_a_leader_without_a_budget_leaves_the_call_to_another(server: FaultServer) -> None:
    server.answer = slowly(completion("good"))
    lm = lm_of(server)

    def poor() -> Any:
        with settings.context(budget=Budget(calls=0)):
            return lm.complete(ask("?"))

    turns = iter([poor] + [lambda: lm.complete(ask("?"))] * (CALLERS - 1))
    found = at_once(lambda: next(turns)())
    texts = [r.text for r in found if isinstance(r, Response)]
    assert len(texts) >= CALLERS - 1  # the poor one may have followed, which is free
    assert server.count == 1
