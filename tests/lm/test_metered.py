"""Budgets: counted at the server, never passed."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import closing

import pytest
from fault_server import FaultServer, completion, failure

from declm import settings
from declm.errors import BudgetExceeded, ServerError, UsageError
from declm.lm import LM
from declm.lm.gateway import Gateway
from declm.lm.metered import Metered
from declm.lm.retried import Retried, RetryPolicy
from declm.messages import Chunk, Message, Request
from declm.testing import FunctionLM
from declm.usage import Budget, Meter, Usage


def ask(text: str) -> Request:
    return Request((Message("user", text),))


def build(server: FaultServer, model: str = "openai/gpt-4o-mini", **options: object) -> LM:
    return LM(model, api_base=server.url, api_key="k", **options)  # type: ignore[arg-type]  # passed by name


def test_the_call_that_would_pass_the_budget_is_not_sent(server: FaultServer) -> None:
    lm = build(server)
    with settings.context(budget=Budget(calls=2)):
        lm.complete(ask("1"))
        lm.complete(ask("2"))
        with pytest.raises(BudgetExceeded) as caught:
            lm.complete(ask("3"))
    assert (caught.value.limit, server.count) == ("calls", 2)


def test_failed_attempts_count_against_the_budget(server: FaultServer) -> None:
    server.script(failure(500))
    transport = Gateway("openai/gpt-4o-mini", {}, server.url, "k")
    lm = Retried(Metered(transport), RetryPolicy(jitter=lambda: 0.0))
    meter = Meter(Budget(calls=10))
    with settings.metered(meter), pytest.raises(ServerError):
        lm.complete(ask("1"))
    assert (meter.spent.calls, server.count) == (4, 4)


def test_a_budget_ends_the_retries(server: FaultServer) -> None:
    server.script(failure(500))
    transport = Gateway("openai/gpt-4o-mini", {}, server.url, "k")
    lm = Retried(Metered(transport), RetryPolicy(jitter=lambda: 0.0))
    with settings.context(budget=Budget(calls=2)), pytest.raises(BudgetExceeded):
        lm.complete(ask("1"))
    assert server.count == 2


def test_cache_hits_are_free(server: FaultServer) -> None:
    lm = build(server)
    lm.commit(ask("1"), lm.complete(ask("1")))
    with settings.context(budget=Budget(calls=0)):
        assert lm.complete(ask("1")).usage == Usage(cached=1)


def test_every_budget_in_force_is_charged(server: FaultServer) -> None:
    server.script(completion(tokens=(100, 10)))
    outer, inner = Meter(Budget()), Meter(Budget())
    with settings.metered(outer):
        build(server).complete(ask("1"))
        with settings.metered(inner):
            build(server).complete(ask("2"))
    assert (outer.spent.calls, outer.spent.tokens, inner.spent.calls, inner.spent.tokens) == (2, 220, 1, 110)
    assert outer.spent.usd > 0


def test_a_usd_budget_refuses_a_model_of_unknown_price_before_the_first_call(server: FaultServer) -> None:
    with settings.context(budget=Budget(usd=1.0)), pytest.raises(UsageError, match="price of 'hosted_vllm/mine'"):
        build(server, "hosted_vllm/mine").complete(ask("1"))
    assert server.count == 0


async def test_budgets_hold_in_async_code(server: FaultServer) -> None:
    with settings.context(budget=Budget(calls=1)):
        await build(server).acomplete(ask("1"))
        with pytest.raises(BudgetExceeded):
            await build(server).acomplete(ask("2"))
    assert server.count == 1


def test_threads_together_never_pass_the_budget(server: FaultServer) -> None:
    lm = build(server)
    refused = list[BudgetExceeded]()

    def call(index: int) -> None:
        try:
            lm.complete(ask(str(index)))
        except BudgetExceeded as error:
            refused.append(error)

    with settings.context(budget=Budget(calls=5)):
        threads = [threading.Thread(target=settings.carry(call), args=(i,)) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (server.count, len(refused)) == (5, 7)


class Endless(FunctionLM):
    """Streams without end, and notes when it is closed."""

    def __init__(self) -> None:
        super().__init__(lambda _request: "")
        self.closed = 0

    def stream(self, request: Request) -> Generator[Chunk]:
        """Give four characters at a time."""
        try:
            while True:
                yield Chunk("word")
        finally:
            self.closed += 1

    async def astream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Give four characters at a time."""
        with closing(self.stream(request)) as chunks:
            for chunk in chunks:
                yield chunk


async def test_a_stream_that_is_left_is_closed_and_charged_with_what_was_read() -> None:
    inner, request = Endless(), ask("x" * 40)
    meter = Meter(Budget())
    with settings.metered(meter):
        chunks = Metered(inner).stream(request)
        assert [next(chunks).text for _ in range(5)] == ["word"] * 5
        chunks.close()
        assert (inner.closed, meter.spent) == (1, Usage(calls=1, input_tokens=10, output_tokens=5))
        later = Metered(inner, lambda _request, text: Usage(calls=1, usd=len(text))).astream(request)
        assert [(await anext(later)).text for _ in range(5)] == ["word"] * 5
        await later.aclose()
        assert (inner.closed, meter.spent.calls, meter.spent.usd) == (2, 2, 20)


def test_the_budget_of_the_place_where_reading_began_is_charged() -> None:
    meter = Meter(Budget())
    with settings.metered(meter):
        chunks = Metered(Endless()).stream(ask("hi"))
        next(chunks)
    chunks.close()
    assert (meter.spent.calls, meter.spent.output_tokens) == (1, 1)
