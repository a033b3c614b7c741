"""Streams over a real loopback server, and through every layer: pieces, ends, early closing, faults."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from contextlib import aclosing, closing
from typing import Any

import pytest
from fault_server import Answer, FaultServer, completion, failure, streamed

from declm import settings
from declm.errors import (
    AuthError,
    BudgetExceeded,
    DeadlineExceeded,
    LMError,
    RateLimited,
    ServerError,
    TimedOut,
    TransportError,
    UsageError,
)
from declm.lm import LM
from declm.lm.gateway import Gateway
from declm.lm.library import load
from declm.lm.metered import Metered
from declm.lm.retried import Retried, RetryPolicy
from declm.messages import Chunk, Message, Request, Response
from declm.usage import Budget, Meter, Usage

# pytest undoes the filter that `load` sets, after each test.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:litellm.litellm_core_utils.model_response_utils")

KEY = "canary-key-0123456789"
SLACK_S = 3.0  # for a busy machine
HI = Request((Message("system", "be brief"), Message("user", "hi")))
ENDLESS = [f"word{i} " for i in range(3000)]
MODELS = ["openai/gpt-4o-mini", "hosted_vllm/mine", "deepseek/deepseek-chat", "xai/grok-3"]  # by each of the three ways


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    load()


def gateway(server: FaultServer, model: str = "openai/gpt-4o-mini", **options: Any) -> Gateway:
    return Gateway(model, options, server.url, KEY)


def eager(server: FaultServer, attempts: int = 4, deadline_s: float | None = 120.0) -> Retried:
    """The layers of an LM, without waits."""
    transport = gateway(server)
    return Retried(Metered(transport, transport.estimate), RetryPolicy(attempts, deadline_s, jitter=lambda: 0.0))


def split(chunks: list[Chunk]) -> tuple[str, str, Response]:
    """Joined text, joined reasoning, and the response, which only the last chunk has."""
    *pieces, last = chunks
    assert last.response is not None
    assert (last.text, last.reasoning) == ("", "")
    assert all(piece.response is None for piece in pieces)
    assert all(piece.text or piece.reasoning for piece in pieces)
    return "".join(p.text for p in pieces), "".join(p.reasoning for p in pieces), last.response


@pytest.mark.parametrize("model", MODELS)
def test_the_pieces_join_to_the_whole_reply(server: FaultServer, model: str) -> None:
    server.script(streamed("hel", "lo", " world", tokens=(1000, 100)))
    chunks = list(gateway(server, model).stream(HI))
    text, reasoning, response = split(chunks)
    assert [c.text for c in chunks] == ["hel", "lo", " world", ""]
    assert (text, reasoning, response.text, response.finish, response.model) == (
        "hello world",
        "",
        "hello world",
        "stop",
        model,
    )
    assert (response.usage.calls, response.usage.input_tokens, response.usage.output_tokens) == (1, 1000, 100)
    assert response.usage.seconds > 0


def test_the_response_is_what_complete_would_have_returned(server: FaultServer) -> None:
    server.script(completion("hello", tokens=(1000, 100)), streamed("hel", "lo", tokens=(1000, 100)))
    whole = gateway(server).complete(HI)
    *_, last = gateway(server).stream(HI)
    assert last.response is not None
    for response in (whole, last.response):
        assert response.usage.usd == pytest.approx(1000 * 0.15e-6 + 100 * 0.6e-6)
        assert response.usage.unpriced == 0
    for name in ("text", "reasoning", "finish", "model", "cached", "tokens"):
        assert getattr(last.response, name) == getattr(whole, name)
    sent, asked = server.bodies
    assert asked == {**sent, "stream": True, "stream_options": {"include_usage": True}}


async def test_pieces_come_while_the_server_is_still_writing(server: FaultServer) -> None:
    server.script(streamed("first", hang_s=30, finish=None))
    for stream in (gateway(server), LM("openai/gpt-4o-mini", api_base=server.url, api_key=KEY)):
        with closing(stream.stream(HI)) as chunks:
            assert next(chunks) == Chunk("first")
        async with aclosing(stream.astream(HI)) as later:
            assert await anext(later) == Chunk("first")


async def test_async_streams_give_the_same(server: FaultServer) -> None:
    server.script(streamed("hel", "lo"))
    lm = LM("openai/gpt-4o-mini", api_base=server.url, api_key=KEY)
    text, _, response = split([chunk async for chunk in lm.astream(HI)])
    assert (text, response.text, server.count) == ("hello", "hello", 1)


@pytest.mark.parametrize(("wire", "finish"), [("stop", "stop"), ("length", "length"), ("content_filter", "filter")])
def test_the_reason_to_stop_is_kept(server: FaultServer, wire: str, finish: str) -> None:
    server.script(streamed("half a", finish=wire))
    assert split(list(gateway(server).stream(HI)))[2].finish == finish


def test_reasoning_comes_apart_from_the_text(server: FaultServer) -> None:
    server.script(streamed({"reasoning_content": "two "}, {"reasoning_content": "and two"}, "4"))
    text, reasoning, response = split(list(gateway(server, "deepseek/deepseek-reasoner").stream(HI)))
    assert (text, reasoning) == (response.text, response.reasoning) == ("4", "two and two")


def test_a_refusal_is_a_withheld_reply(server: FaultServer) -> None:
    server.script(streamed({"refusal": "I can't "}, {"refusal": "help"}))
    text, _, response = split(list(gateway(server).stream(HI)))
    assert (text, response.text, response.finish) == ("I can't help", "I can't help", "filter")


def test_a_refusal_comes_empty_through_litellm(server: FaultServer) -> None:
    server.script(streamed({"refusal": "I can't "}, {"refusal": "help"}))  # it drops these deltas
    text, _, response = split(list(gateway(server, "xai/grok-3").stream(HI)))
    assert (text, response.text) == ("", "")


def _call(arguments: str, index: int = 0) -> dict[str, Any]:
    head = {"index": index, "id": f"call{index}", "type": "function"}
    return {"tool_calls": [{**head, "function": {"name": "reply", "arguments": arguments}}]}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([_call(""), _call('{"a": '), _call('"b"}')], '{"a": "b"}'),
        (["Let me", " see.", _call('{"a": '), _call('"b"}')], '{"a": "b"}'),
        ([_call('{"a": "b"}'), _call('{"a": "c"}', 1)], '{"a": "b"}'),
        (["I have", " no idea"], "I have no idea"),
    ],
)
def test_the_arguments_of_a_tool_call_are_the_text(
    server: FaultServer, model: str, pieces: list[Any], text: str
) -> None:
    server.script(streamed(*pieces, finish="tool_calls"))
    tool = {"type": "function", "function": {"name": "reply", "parameters": {"type": "object", "properties": {}}}}
    shown, _, response = split(list(gateway(server, model).stream(Request(HI.messages, options={"tools": [tool]}))))
    assert (shown, response.text, response.finish) == (text, text, "stop")


@pytest.mark.parametrize("model", MODELS)
def test_tokens_are_counted_where_the_server_does_not(server: FaultServer, model: str) -> None:
    server.script(streamed("hel", "lo", tokens=None))
    usage = split(list(gateway(server, model).stream(HI)))[2].usage
    assert usage.calls == 1
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0


@pytest.mark.parametrize("model", MODELS)
def test_closing_closes_the_connection(server: FaultServer, model: str) -> None:
    server.script(streamed("first", hang_s=30, finish=None))
    chunks = gateway(server, model).stream(HI)
    assert next(chunks) == Chunk("first")
    chunks.close()
    assert server.abandoned.wait(SLACK_S)


def test_leaving_the_loop_closes_the_connection(server: FaultServer) -> None:
    server.script(streamed(*ENDLESS, drip_s=0.01))
    for chunk in LM("openai/gpt-4o-mini", api_base=server.url, api_key=KEY).stream(HI):
        assert chunk.text == ENDLESS[0]
        break
    assert server.abandoned.wait(SLACK_S)


async def test_leaving_an_async_loop_closes_the_connection(server: FaultServer) -> None:
    server.script(streamed(*ENDLESS, drip_s=0.01))
    async for chunk in LM("openai/gpt-4o-mini", api_base=server.url, api_key=KEY).astream(HI):
        assert chunk.text == ENDLESS[0]
        break
    assert await asyncio.to_thread(server.abandoned.wait, SLACK_S)


async def test_closing_an_async_stream_closes_the_connection(server: FaultServer) -> None:
    server.script(streamed("first", hang_s=30, finish=None))
    chunks = LM("openai/gpt-4o-mini", api_base=server.url, api_key=KEY).astream(HI)
    assert await anext(chunks) == Chunk("first")
    await chunks.aclose()
    assert await asyncio.to_thread(server.abandoned.wait, SLACK_S)


@pytest.mark.parametrize("shown", [0, 1])
async def test_cancelling_closes_the_connection(server: FaultServer, shown: int) -> None:
    server.script(streamed(*ENDLESS[:shown], hang_s=30, finish=None))
    lm = LM("openai/gpt-4o-mini", api_base=server.url, api_key=KEY)
    seen = list[Chunk]()
    meter = Meter(Budget())

    async def read() -> None:
        with settings.metered(meter):
            async for chunk in lm.astream(HI):
                seen.append(chunk)

    task = asyncio.create_task(read())
    while server.count < 1 or len(seen) < shown:  # noqa: ASYNC110  # the server lives in another thread
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(server.abandoned.wait, SLACK_S)
    assert len(asyncio.all_tasks()) == 1
    assert meter.spent.calls == 1


def test_a_loop_that_ends_in_the_middle_leaves_nothing_behind(server: FaultServer) -> None:
    server.script(streamed(*ENDLESS, drip_s=0.01))
    threads = threading.active_count()

    async def first() -> Chunk:
        return await anext(gateway(server).astream(HI))

    assert asyncio.run(first()) == Chunk(ENDLESS[0])
    gc.collect()
    assert server.abandoned.wait(SLACK_S)
    until_s = time.monotonic() + SLACK_S
    while threading.active_count() > threads + 1 and time.monotonic() < until_s:
        time.sleep(0.01)
    assert threading.active_count() <= threads + 1  # the one that carries all traffic


def test_a_stream_that_nobody_reads_is_never_sent(server: FaultServer) -> None:
    gateway(server).stream(HI).close()
    LM("openai/gpt-4o-mini", api_base=server.url, api_key=KEY).stream(HI).close()
    assert server.count == 0


@pytest.mark.parametrize(
    "fault", [failure(500), Answer(drop=True), streamed(finish=None), streamed(finish=None, drop=True)]
)
def test_a_failure_before_the_first_piece_is_tried_again(server: FaultServer, fault: Answer) -> None:
    server.script(fault, streamed("back"))
    text, _, response = split(list(eager(server).stream(HI)))
    assert (text, response.text, response.usage.calls, server.count) == ("back", "back", 2, 2)


BROKEN: list[tuple[Answer, type[LMError]]] = [
    (streamed("half", finish=None), TransportError),
    (streamed("half", finish=None, drop=True), TransportError),
    (streamed("half", finish=None, error="overloaded"), ServerError),
]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("fault", "kind"), BROKEN)
def test_each_fault_in_the_middle_has_its_error(
    server: FaultServer, model: str, fault: Answer, kind: type[LMError]
) -> None:
    server.script(fault)
    chunks = gateway(server, model).stream(HI)
    assert next(chunks) == Chunk("half")
    with pytest.raises(LMError) as caught:
        next(chunks)
    assert type(caught.value) is kind
    assert model in caught.value.message


@pytest.mark.parametrize(("fault", "kind"), BROKEN)
def test_a_failure_after_the_first_piece_is_not_tried_again(
    server: FaultServer, fault: Answer, kind: type[LMError]
) -> None:
    server.script(fault, streamed("back"))
    chunks = eager(server).stream(HI)
    assert next(chunks) == Chunk("half")
    with pytest.raises(kind):
        next(chunks)
    assert server.count == 1


async def test_a_failure_after_the_first_piece_is_not_tried_again_in_async_code(server: FaultServer) -> None:
    server.script(streamed("half", finish=None), streamed("back"))
    chunks = eager(server).astream(HI)
    assert await anext(chunks) == Chunk("half")
    with pytest.raises(TransportError):
        await anext(chunks)
    assert server.count == 1


@pytest.mark.parametrize(("answer", "kind"), [(failure(401), AuthError), (failure(429), RateLimited)])
def test_errors_are_the_same_as_those_of_complete(server: FaultServer, answer: Answer, kind: type[LMError]) -> None:
    server.script(answer)
    with pytest.raises(kind) as caught:
        list(gateway(server).stream(HI))
    assert KEY not in str(caught.value)


def test_a_key_that_a_broken_stream_echoes_is_not_shown(server: FaultServer) -> None:
    server.script(streamed("half", finish=None, error=f"bad key {KEY}"))
    with pytest.raises(LMError) as caught:
        list(gateway(server).stream(HI))
    assert "bad key" in caught.value.message
    assert KEY not in caught.value.message
    assert caught.value.__cause__ is None


def test_the_deadline_holds_in_the_middle_of_a_stream(server: FaultServer) -> None:
    server.script(streamed(*ENDLESS, drip_s=0.05))
    seen = list[Chunk]()
    began_s = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        seen.extend(LM("openai/gpt-4o-mini", api_base=server.url, api_key=KEY, deadline=0.6).stream(HI))
    assert time.monotonic() - began_s < 0.6 + SLACK_S
    assert server.count == 1


def test_a_timeout_of_the_request_is_its_own_error(server: FaultServer) -> None:
    server.script(streamed("first", hang_s=30, finish=None))
    with pytest.raises(TimedOut):
        list(gateway(server).stream(Request(HI.messages, options={"timeout": 0.3})))


def test_a_slow_reader_does_not_use_up_the_time_of_the_server(server: FaultServer) -> None:
    server.script(streamed("a", "b", "c"))
    chunks = gateway(server).stream(Request(HI.messages, options={"timeout": 1.0}))
    first = next(chunks)
    time.sleep(1.2)
    assert split([first, *chunks])[0] == "abc"


def test_a_stream_is_charged_once_with_its_usage(server: FaultServer) -> None:
    server.script(streamed("hel", "lo", tokens=(1000, 100)))
    meter = Meter(Budget())
    with settings.metered(meter):
        response = split(list(LM("openai/gpt-4o-mini", api_base=server.url, api_key=KEY).stream(HI)))[2]
    assert meter.spent == response.usage
    assert (meter.spent.calls, meter.spent.tokens) == (1, 1100)


@pytest.mark.parametrize("model", MODELS[:2])
def test_what_was_read_before_closing_is_charged(server: FaultServer, model: str) -> None:
    server.script(streamed("x" * 400, hang_s=30, finish=None))
    meter = Meter(Budget())
    with settings.metered(meter):
        chunks = LM(model, api_base=server.url, api_key=KEY).stream(Request((Message("user", "y" * 800),)))
        next(chunks)
        assert meter.spent == Usage()
        chunks.close()
    assert (meter.spent.calls, meter.spent.input_tokens, meter.spent.output_tokens) == (1, 200, 100)
    priced = model.startswith("openai")
    assert meter.spent.usd == (pytest.approx(200 * 0.15e-6 + 100 * 0.6e-6) if priced else 0.0)
    assert meter.spent.unpriced == int(not priced)


def test_failed_streams_are_charged(server: FaultServer) -> None:
    server.script(failure(500), streamed("x" * 400, finish=None))
    meter = Meter(Budget())
    with settings.metered(meter), pytest.raises(TransportError):
        list(eager(server).stream(HI))
    assert (meter.spent.calls, meter.spent.output_tokens) == (2, 100)


def test_a_stream_that_would_pass_the_budget_is_not_sent(server: FaultServer) -> None:
    server.script(streamed("hello"))
    lm = LM("openai/gpt-4o-mini", api_base=server.url, api_key=KEY)
    with settings.context(budget=Budget(calls=1)):
        list(lm.stream(HI))
        with pytest.raises(BudgetExceeded):
            list(lm.stream(HI))
    with settings.context(budget=Budget(usd=1.0)), pytest.raises(UsageError, match="price"):
        list(LM("hosted_vllm/mine", api_base=server.url).stream(HI))
    assert server.count == 1


async def test_a_committed_reply_comes_from_the_cache_in_one_piece(server: FaultServer) -> None:
    server.script(streamed({"reasoning_content": "hm"}, "hel", "lo"))
    lm = LM("xai/grok-3", api_base=server.url, api_key=KEY)
    response = split(list(lm.stream(HI)))[2]
    assert not split(list(lm.stream(HI)))[2].cached  # nobody has committed it
    lm.commit(HI, response)
    with settings.context(budget=Budget(calls=0)):
        for chunks in (list(lm.stream(HI)), [chunk async for chunk in lm.astream(HI)]):
            assert chunks[0] == Chunk("hello", "hm")
            text, _, hit = split(chunks)
            assert (len(chunks), text, hit.text, hit.cached, hit.usage) == (2, "hello", "hello", True, Usage(cached=1))
    assert lm.complete(HI).cached
    assert server.count == 2


async def test_many_streams_at_once(server: FaultServer) -> None:
    server.script(streamed(*"abcdefgh", drip_s=0.01))
    lm = gateway(server)

    async def read() -> str:
        return split([chunk async for chunk in lm.astream(HI)])[0]

    assert await asyncio.gather(*(read() for _ in range(20))) == ["abcdefgh"] * 20
