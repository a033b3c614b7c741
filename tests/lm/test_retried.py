"""The retry loop, driven by hand: no clock, no sleep, no server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from declm.errors import (
    AuthError,
    BadRequest,
    ContextTooLong,
    DeadlineExceeded,
    LMError,
    QuotaExceeded,
    RateLimited,
    ServerError,
    TimedOut,
    TransportError,
)
from declm.lm.base import Send, Sleep
from declm.lm.retried import Retried, RetryPolicy
from declm.messages import Chunk, Message, Request, Response
from declm.testing import FunctionLM
from declm.usage import Usage

HI = Request((Message("user", "hi"),))
Outcome = Response | LMError


@dataclass
class Run:
    """What the loop did: sends, waits, and how it ended."""

    sends: list[Request] = field(default_factory=list[Request])
    waits: list[float] = field(default_factory=list[float])
    response: Response | None = None
    error: BaseException | None = None


def run(
    outcomes: list[Outcome], *, took_s: float = 0.0, jitter: float = 0.5, request: Request = HI, **policy: float | None
) -> Run:
    """Drive the loop: each send takes `took_s` and has the next outcome; the last one repeats."""
    now = [0.0]
    done = Run()
    chosen = RetryPolicy(clock=lambda: now[0], jitter=lambda: jitter, **policy)  # type: ignore[arg-type]  # by name
    steps = Retried(FunctionLM(lambda _request: ""), chosen).steps(request)
    left = list(outcomes)
    try:
        step = next(steps)
        while True:
            if isinstance(step, Sleep):
                done.waits.append(step.seconds)
                now[0] += step.seconds
                step = steps.send(None)
                continue
            assert isinstance(step, Send)
            done.sends.append(step.request)
            now[0] += took_s
            outcome = left.pop(0) if len(left) > 1 else left[0]
            step = steps.throw(outcome) if isinstance(outcome, LMError) else steps.send(outcome)
    except StopIteration as stop:
        done.response = stop.value
    except LMError as error:
        done.error = error
    return done


GOOD = Response("fine", usage=Usage(calls=1, input_tokens=5))


def test_an_answer_is_returned_at_once() -> None:
    done = run([GOOD])
    assert (done.response, len(done.sends), done.waits) == (GOOD, 1, [])


@pytest.mark.parametrize("error", [RateLimited("x"), TimedOut("x"), ServerError("x"), TransportError("x")])
def test_what_may_pass_is_tried_again_exactly_as_often_as_asked(error: LMError) -> None:
    for attempts in (1, 2, 4):
        done = run([error], attempts=attempts)
        assert (len(done.sends), done.error) == (attempts, error)


@pytest.mark.parametrize("error", [AuthError("x"), QuotaExceeded("x"), ContextTooLong("x"), BadRequest("x")])
def test_what_will_not_pass_is_sent_once(error: LMError) -> None:
    assert (len(run([error]).sends), run([error]).error) == (1, error)


def test_failed_attempts_are_counted_in_the_usage_of_the_answer() -> None:
    done = run([ServerError("x"), ServerError("x"), GOOD], took_s=2.0)
    assert done.response is not None
    assert done.response.usage == Usage(calls=3, input_tokens=5, seconds=4.0)


def test_waits_grow_with_full_jitter() -> None:
    assert run([ServerError("x")], attempts=4, jitter=0.999).waits == pytest.approx([0.999, 1.998, 3.996])
    assert run([ServerError("x")], attempts=4, jitter=0.0).waits == [0, 0, 0]


def test_waits_are_capped() -> None:
    assert max(run([ServerError("x")], attempts=12, jitter=0.999, deadline_s=None).waits) < 20


@given(hint=st.floats(1, 30), jitter=st.floats(0, 0.999))
def test_a_hint_is_a_lower_bound_of_the_wait(hint: float, jitter: float) -> None:
    done = run([RateLimited("x", retry_after_s=hint), GOOD], jitter=jitter)
    assert done.response is not None
    assert done.waits[0] >= hint


def test_a_hint_beyond_the_deadline_ends_the_call_now() -> None:
    done = run([RateLimited("slow down", retry_after_s=3600)], deadline_s=3)
    assert isinstance(done.error, DeadlineExceeded)
    assert isinstance(done.error.__cause__, RateLimited)
    assert (done.waits, len(done.sends)) == ([], 1)


def test_each_send_gets_the_time_that_is_left() -> None:
    done = run([TimedOut("x")], took_s=2.0, deadline_s=5.0, jitter=0.0)
    assert [s.options["timeout"] for s in done.sends] == pytest.approx([5.0, 3.0, 1.0])
    assert isinstance(done.error, DeadlineExceeded)


def test_a_shorter_timeout_of_the_request_is_kept() -> None:
    done = run([GOOD], request=Request(HI.messages, options={"timeout": 1.5}))
    assert done.sends[0].options["timeout"] == 1.5


def test_without_a_deadline_requests_are_sent_as_they_are() -> None:
    assert run([GOOD], deadline_s=None).sends == [HI]


def test_the_deadline_error_says_what_failed_last() -> None:
    done = run([ServerError("the server is down", status=503)], took_s=10, deadline_s=3)
    assert isinstance(done.error, DeadlineExceeded)
    assert "3 s" in done.error.message
    assert "the server is down" in done.error.message
    assert done.error.status == 503


@given(st.lists(st.sampled_from(["good", "server", "limit", "auth"]), min_size=1, max_size=8), st.integers(1, 6))
def test_no_schedule_of_faults_sends_more_than_the_attempts(faults: list[str], attempts: int) -> None:
    kinds: dict[str, Outcome] = {
        "good": GOOD,
        "server": ServerError("x"),
        "limit": RateLimited("x"),
        "auth": AuthError("x"),
    }
    done = run([kinds[f] for f in faults], attempts=attempts)
    assert len(done.sends) <= attempts
    assert (done.response is None) != (done.error is None)


def failing(after: int) -> FunctionLM:
    """An LM whose first stream breaks after so many pieces."""
    broken = ServerError("it broke")

    class Failing(FunctionLM):
        def stream(self, request: Request) -> Generator[Chunk]:
            first = not self.requests
            for index, chunk in enumerate(super().stream(request)):
                if first and index == after:
                    raise broken
                yield chunk

        async def astream(self, request: Request) -> AsyncGenerator[Chunk]:
            for chunk in self.stream(request):
                yield chunk

    return Failing(lambda _request: "hello", chunk=2)


EAGER = RetryPolicy(jitter=lambda: 0.0)


async def test_a_stream_is_tried_again_until_its_reader_has_seen_a_piece() -> None:
    for chunks in (list(Retried(failing(0), EAGER).stream(HI)), await alist(Retried(failing(0), EAGER).astream(HI))):
        assert [chunk.text for chunk in chunks] == ["he", "ll", "o", ""]
        assert chunks[-1].response is not None
        assert (chunks[-1].response.text, chunks[-1].response.usage.calls) == ("hello", 2)


async def alist(chunks: AsyncGenerator[Chunk]) -> list[Chunk]:
    """All chunks of an async stream."""
    return [chunk async for chunk in chunks]


async def test_a_stream_that_breaks_later_is_not_tried_again() -> None:
    for inner in (failing(1), failing(3)):
        with pytest.raises(ServerError, match="it broke"):
            list(Retried(inner, EAGER).stream(HI))
        assert len(inner.requests) == 1
    inner = failing(1)
    with pytest.raises(ServerError, match="it broke"):
        await alist(Retried(inner, EAGER).astream(HI))
    assert len(inner.requests) == 1


def test_a_deadline_that_passes_in_a_stream_is_its_own_error() -> None:
    now = [0.0]
    steps = Retried(FunctionLM(lambda _request: ""), RetryPolicy(clock=lambda: now[0], deadline_s=5.0)).steps(HI)
    send = next(steps)
    assert isinstance(send, Send)
    send.shown.append(Chunk("half"))
    now[0] = 6.0
    with pytest.raises(DeadlineExceeded, match="after 1 attempt;"):
        steps.throw(TimedOut("late"))
