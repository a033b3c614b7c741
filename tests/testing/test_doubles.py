"""The LMs for tests."""

from __future__ import annotations

import pytest

import declm as dm
from declm.messages import Chunk, Message, Request, Response
from declm.protocols import LM, is_lm
from declm.testing import FunctionLM, ScriptedLM
from declm.usage import Meter

REQUEST = Request(messages=(Message("user", "one two three"),))


def test_they_are_lms() -> None:
    for double in (FunctionLM(lambda request: ""), ScriptedLM([])):
        lm: LM = double
        assert is_lm(lm)
        lm.commit(REQUEST, Response(text=""))
    assert (FunctionLM(lambda request: "", name="mine").model, ScriptedLM([]).identity) == ("mine", "scripted")


async def test_requests_are_kept_and_words_are_counted() -> None:
    lm = FunctionLM(lambda request: request.messages[0].content.upper())
    assert lm.complete(REQUEST).text == (await lm.acomplete(REQUEST)).text == "ONE TWO THREE"
    assert lm.requests == [REQUEST, REQUEST]
    assert lm.complete(REQUEST).usage == dm.Usage(calls=1, input_tokens=3, output_tokens=3)


def test_a_response_may_say_what_it_cost() -> None:
    usage = dm.Usage(calls=1, usd=0.5)
    assert ScriptedLM([Response(text="a", usage=usage)]).complete(REQUEST).usage == usage


def test_a_script_is_read_in_order_and_raises_its_exceptions() -> None:
    lm = ScriptedLM(["a", dm.ServerError("down"), Response(text="b", finish="length")])
    assert lm.complete(REQUEST).text == "a"
    with pytest.raises(dm.ServerError, match="down"):
        lm.complete(REQUEST)
    assert lm.complete(REQUEST).finish == "length"
    with pytest.raises(dm.UsageError, match="the script has 3 replies, and another request came"):
        lm.complete(REQUEST)


def test_budgets_count_them_and_a_refused_request_is_not_seen() -> None:
    lm = ScriptedLM(["a", "b"])
    with dm.settings.metered(Meter(dm.Budget(calls=1))) as meter:
        lm.complete(REQUEST)
        with pytest.raises(dm.BudgetExceeded):
            lm.complete(REQUEST)
    assert (len(lm.requests), meter.spent.calls) == (1, 1)


async def test_a_reply_is_streamed_in_pieces_and_counted_once() -> None:
    reply = Response(text="abcdefg", reasoning="why")
    lm = ScriptedLM([reply, reply, "abcdefghi", ""], chunk=3)
    with dm.settings.metered(Meter(dm.Budget())) as meter:
        chunks = list(lm.stream(REQUEST))
    whole = Response(text="abcdefg", reasoning="why", usage=dm.Usage(calls=1, input_tokens=3, output_tokens=1))
    expected = [Chunk(reasoning="why"), Chunk("abc"), Chunk("def"), Chunk("g"), Chunk(response=whole)]
    assert chunks == expected == [chunk async for chunk in lm.astream(REQUEST)]
    assert [chunk.text for chunk in lm.stream(REQUEST)] == ["abc", "def", "ghi", ""]
    assert [chunk.text for chunk in lm.stream(REQUEST)] == [""]
    assert (len(lm.requests), meter.spent.calls) == (4, 1)


def test_a_stream_raises_what_the_script_says() -> None:
    with pytest.raises(dm.ServerError, match="down"):
        next(ScriptedLM([dm.ServerError("down")]).stream(REQUEST))


def test_pieces_have_a_character_at_least() -> None:
    with pytest.raises(dm.UsageError, match="chunk=0"):
        FunctionLM(lambda request: "", chunk=0)
