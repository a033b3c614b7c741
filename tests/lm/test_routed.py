"""Several LMs as one: who is asked, who rests, and what is said when all fail."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_server import FaultServer, failure

import declm as dm
from declm.errors import (
    AuthError,
    BadRequest,
    ContextTooLong,
    LMError,
    QuotaExceeded,
    RateLimited,
    ServerError,
    TimedOut,
    TransportError,
    UsageError,
)
from declm.lm import LM, Cached, Cascaded, Retried, RetryPolicy, Routed
from declm.messages import Capabilities, Message, Request, Response
from declm.testing import FunctionLM
from declm.usage import Usage

HI = Request((Message("user", "hi"),))


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def saying(text: str, name: str = "good") -> FunctionLM:
    return FunctionLM(lambda _request: text, name=name)


def failing(error: LMError, name: str = "bad") -> FunctionLM:
    def fail(_request: Request) -> str:
        raise error

    return FunctionLM(fail, name=name)


DOWN = ServerError("down", status=500)


@pytest.mark.parametrize(
    "error", [AuthError("a"), QuotaExceeded("q"), RateLimited("r"), DOWN, TimedOut("t"), TransportError("c")], ids=repr
)
def test_the_next_lm_answers_where_one_fails(error: LMError) -> None:
    response = Routed([failing(error), saying("yes")]).complete(HI)
    assert (response.text, response.usage.calls) == ("yes", 2)


@pytest.mark.parametrize("error", [BadRequest("wrong"), ContextTooLong("long")], ids=repr)
def test_what_is_wrong_with_the_request_is_not_asked_of_others(error: LMError) -> None:
    other = saying("yes")
    with pytest.raises(type(error)):
        Routed([failing(error), other]).complete(HI)
    assert not other.requests


def test_the_kinds_of_failures_can_be_chosen() -> None:
    lm = Routed([failing(ContextTooLong("long")), saying("yes")], failures=(ContextTooLong,))
    assert lm.complete(HI).text == "yes"


async def test_it_works_in_all_four_ways() -> None:
    def lm() -> Routed:
        return Routed([failing(DOWN), saying("a long answer")])

    assert lm().complete(HI).text == "a long answer"
    assert (await lm().acomplete(HI)).text == "a long answer"
    assert "".join(chunk.text for chunk in lm().stream(HI)) == "a long answer"
    assert "".join([chunk.text async for chunk in lm().astream(HI)]) == "a long answer"


def test_one_that_failed_rests_and_is_then_tried_by_one_call() -> None:
    clock, first, second = Clock(), failing(DOWN), saying("yes")
    lm = Routed([first, second], cooldown=30, clock=clock)
    for _ in range(10):
        lm.complete(HI)
    assert (len(first.requests), len(second.requests)) == (1, 10)
    clock.now_s = 30.0
    for _ in range(10):
        lm.complete(HI)
    assert (len(first.requests), len(second.requests)) == (2, 20)


async def test_only_one_of_many_calls_tries_it_again() -> None:
    clock, tried = Clock(), asyncio.Event()

    class Dead(FunctionLM):
        async def acomplete(self, request: Request) -> Response:
            self.requests.append(request)
            await tried.wait()
            raise DOWN

    first = Dead(str)
    tried.set()
    lm = Routed([first, saying("yes")], cooldown=5, clock=clock)
    await lm.acomplete(HI)
    tried.clear()
    clock.now_s = 5.0
    trying = asyncio.create_task(lm.acomplete(HI))
    await asyncio.sleep(0)
    others = await asyncio.gather(*(lm.acomplete(HI) for _ in range(8)))
    assert [other.text for other in others] == ["yes"] * 8
    tried.set()
    assert (await trying).text == "yes"
    assert len(first.requests) == 2


def test_one_that_works_again_is_preferred_again() -> None:
    clock, healthy = Clock(), [False]

    def answer(_request: Request) -> str:
        if not healthy[0]:
            raise DOWN
        return "first"

    lm = Routed([FunctionLM(answer), saying("second")], cooldown=30, clock=clock)
    assert lm.complete(HI).text == "second"
    healthy[0] = True
    assert lm.complete(HI).text == "second"
    clock.now_s = 31.0
    assert [lm.complete(HI).text for _ in range(3)] == ["first"] * 3


def test_a_hint_lengthens_the_rest() -> None:
    clock, first = Clock(), failing(RateLimited("slow down", retry_after_s=100.0))
    lm = Routed([first, saying("yes")], cooldown=10, clock=clock)
    for clock.now_s in (0.0, 50.0, 99.0):
        lm.complete(HI)
    assert len(first.requests) == 1
    clock.now_s = 101.0
    lm.complete(HI)
    assert len(first.requests) == 2


def test_where_all_rest_they_are_asked_all_the_same() -> None:
    clock, ends = Clock(), [DOWN, None]

    def flaky(_request: Request) -> str:
        end = ends.pop(0) if ends else None
        if end is not None:
            raise end
        return "back"

    lm = Routed([FunctionLM(flaky)], cooldown=1000, clock=clock)
    with pytest.raises(ServerError):
        lm.complete(HI)
    assert lm.complete(HI).text == "back"


def test_the_error_names_all_that_failed() -> None:
    lm = Routed([failing(RateLimited("too many", retry_after_s=3.0), "one"), failing(AuthError("no key"), "two")])
    with pytest.raises(
        RateLimited, match=r"none of 2 LMs.*one: RateLimited: too many; two: AuthError: no key"
    ) as caught:
        lm.complete(HI)
    assert caught.value.retry_after_s == 3.0


def test_nothing_is_asked_anew_once_a_reader_has_seen_something() -> None:
    class Breaking(FunctionLM):
        def stream(self, request: Request):  # type: ignore[no-untyped-def]  # as its parent's
            yield next(iter(super().stream(request)))
            raise DOWN

    other = saying("yes")
    chunks = Routed([Breaking(lambda _request: "a long answer"), other]).stream(HI)
    next(chunks)
    with pytest.raises(ServerError):
        next(chunks)
    assert not other.requests


async def test_balance_begins_with_the_one_that_has_least_to_do() -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    seen = [0, 0]

    class Slow(FunctionLM):
        def __init__(self, index: int) -> None:
            super().__init__(lambda _request: str(index))
            self._index = index

        async def acomplete(self, request: Request) -> Response:
            seen[self._index] += 1
            await gates[self._index].wait()
            return await super().acomplete(request)

    lm = Routed([Slow(0), Slow(1)], strategy="balance")
    first = [asyncio.create_task(lm.acomplete(HI)) for _ in range(6)]
    await asyncio.sleep(0)
    assert seen == [3, 3]
    gates[1].set()
    await asyncio.gather(*first[1::2])
    more = [asyncio.create_task(lm.acomplete(HI)) for _ in range(3)]
    await asyncio.gather(*more)
    assert seen == [3, 6]
    gates[0].set()
    await asyncio.gather(*first)


def test_each_reply_is_kept_by_the_lm_that_gave_it(tmp_path: Path) -> None:
    broken = [True]

    def first(_request: Request) -> str:
        if broken[0]:
            raise DOWN
        return '{"answer": "first"}'

    one = Cached(FunctionLM(first, name="one"), tmp_path / "replies.db")
    two = Cached(FunctionLM(lambda _request: '{"answer": "second"}', name="two"), tmp_path / "replies.db")
    predict = dm.Predict("question -> answer", lm=Routed([one, two], cooldown=0))
    assert predict(question="who?").answer == "second"
    broken[0] = False
    assert predict(question="who?").answer == "first"
    again = predict.run(question="who?")
    assert (again.value.answer, again.usage.cached) == ("first", 1)


def test_what_it_can_do_is_what_all_can() -> None:
    wide = Capabilities(structured=True, tools=True, context_tokens=100, concurrency=8, logprobs=5)
    narrow = Capabilities(structured=True, context_tokens=50, concurrency=2)
    lms = [FunctionLM(str, capabilities=one) for one in (wide, narrow)]
    assert Routed(lms).capabilities == narrow
    assert Routed(lms, strategy="balance").capabilities.concurrency == 10
    other = FunctionLM(str, capabilities=Capabilities(structured=True, schemas="openai"))
    assert not Routed([lms[0], other]).capabilities.structured


def test_its_identity_is_that_of_all() -> None:
    one, two = saying("x", "one"), saying("x", "two")
    assert len({Routed([one, two]).identity, Routed([two, one]).identity, Cascaded([one, two]).identity}) == 3


@pytest.mark.parametrize(
    "build",
    [
        lambda: Routed([]),
        lambda: Routed("openai/gpt-5-mini"),
        lambda: Routed([saying("x")], cooldown=-1),
        lambda: Routed([saying("x")], strategy="random"),  # type: ignore[arg-type]  # that is the point
        lambda: Cascaded([]),
    ],
)
def test_arguments_that_make_no_sense_are_refused(build: Callable[[], object]) -> None:
    with pytest.raises(UsageError):
        build()


# --- cascades


def test_a_reply_that_the_predictor_accepts_costs_the_cheap_lm_alone() -> None:
    cheap, strong = saying('{"answer": "4"}', "cheap"), saying('{"answer": "5"}', "strong")
    predict = dm.Predict("question -> answer: int", lm=Cascaded([cheap, strong]))
    assert predict(question="2 + 2?").answer == 4
    assert not strong.requests


def test_a_reply_that_it_can_not_accept_is_asked_of_the_next() -> None:
    cheap, strong = saying('{"answer": "many"}', "cheap"), saying('{"answer": "5"}', "strong")
    run = dm.Predict("question -> answer: int", lm=Cascaded([cheap, strong])).run(question="2 + 2?")
    assert run.value.answer == 5
    assert (len(cheap.requests), len(strong.requests)) == (1, 1)
    assert "many" in strong.requests[0].messages[-2].content  # it sees what was wrong


@pytest.mark.parametrize("stream", [False, True])
def test_accept_decides_and_a_reader_sees_the_last_reply_alone(stream: bool) -> None:
    cheap, strong = saying("short", "cheap"), saying("a much longer reply", "strong")
    lm = Cascaded([cheap, strong], accept=lambda _request, response: len(response.text) > 10)
    if stream:
        chunks = list(lm.stream(HI))
        assert "".join(chunk.text for chunk in chunks) == "a much longer reply"
        response = chunks[-1].response
    else:
        response = lm.complete(HI)
    assert response is not None
    assert (response.text, response.model, response.usage.calls) == ("a much longer reply", "strong", 2)


def test_an_accepted_reply_is_streamed_in_one_piece() -> None:
    lm = Cascaded([saying("long enough to be good"), saying("x")], accept=lambda _request, _response: True)
    assert [chunk.text for chunk in lm.stream(HI)] == ["long enough to be good", ""]


def test_a_cut_reply_and_a_failed_call_go_on_to_the_next() -> None:
    cut = FunctionLM(lambda _request: Response("half", finish="length", usage=Usage(calls=1)), name="cut")
    assert Cascaded([cut, failing(DOWN), saying("whole")]).complete(HI).text == "whole"


def test_all_failures_of_a_cascade_are_named() -> None:
    with pytest.raises(ServerError, match="none of 2 LMs.*no key"):
        Cascaded([failing(DOWN, "one"), failing(AuthError("no key"), "two")]).complete(HI)


def test_a_cascade_in_a_cache_pays_once(tmp_path: Path) -> None:
    cheap, strong = saying('{"answer": "many"}', "cheap"), saying('{"answer": "5"}', "strong")
    predict = dm.Predict("question -> answer: int", lm=Cached(Cascaded([cheap, strong]), tmp_path / "replies.db"))
    assert [predict(question="2 + 2?").answer for _ in range(3)] == [5, 5, 5]
    assert (len(cheap.requests), len(strong.requests)) == (1, 1)


def test_a_cascade_with_another_judge_is_another_lm() -> None:
    lms = [saying("x", "one"), saying("x", "two")]
    judged = [Cascaded(lms, accept=lambda _request, _response: True) for _ in range(2)]
    assert len({Cascaded(lms).identity, *(lm.identity for lm in judged)}) == 3


def test_members_of_one_name_are_all_named() -> None:
    for made in (Routed, Cascaded):
        with pytest.raises(ServerError, match=r"m: .*first down; m \(2\): .*second down"):
            made([failing(ServerError("first down"), "m"), failing(ServerError("second down"), "m")]).complete(HI)


def test_a_routed_lm_can_be_pickled() -> None:
    lm = Routed([dm.LM("openai/gpt-5-mini"), dm.LM("openai/gpt-5-nano")], cooldown=5)
    assert pickle.loads(pickle.dumps(lm)).identity == lm.identity


def test_every_send_of_those_that_failed_is_counted(server: FaultServer) -> None:
    server.answer = lambda _body: failure(500)
    alone = LM("openai/gpt-4o-mini", api_base=server.url, api_key="k", cache=False, attempts=1)
    first = Retried(alone, RetryPolicy(attempts=3, base_s=0.0))
    routed = Routed([first, FunctionLM(lambda _request: "yes")])
    assert routed.complete(Request((Message("user", "?"),))).usage.calls == 3 + 1
    assert server.count == 3


def test_how_they_are_chosen_is_part_of_what_they_are() -> None:
    lms = [FunctionLM(lambda _request: "yes", name=name) for name in ("one", "two")]
    assert Routed(lms).identity == Routed(lms).identity
    assert Routed(lms).identity != Routed(lms[::-1]).identity
    assert Routed(lms).identity != Routed(lms, strategy="balance").identity
