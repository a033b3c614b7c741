"""The reply cache as an LM layer: what is a hit, what never is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from declm import settings
from declm.lm.cached import Cached
from declm.messages import Chunk, Message, Request, Response
from declm.testing import FunctionLM
from declm.usage import Usage

HI = Request((Message("user", "hi"),))


class Counted(FunctionLM):
    """A double that answers with the number of the call."""

    def __init__(self, name: str = "counted") -> None:
        super().__init__(lambda _request: f"reply {len(self.requests)}", name=name)


def kept(lm: Cached, request: Request = HI) -> Response:
    """Ask and commit, as the flow does after validation."""
    response = lm.complete(request)
    lm.commit(request, response)
    return response


def test_a_committed_reply_is_given_again() -> None:
    inner = Counted()
    lm = Cached(inner, None)
    first, second = kept(lm), kept(lm)
    assert (second.text, second.cached, second.usage) == (first.text, True, Usage(cached=1))
    assert len(inner.requests) == 1


def test_a_reply_that_was_not_committed_is_asked_for_again() -> None:
    inner = Counted()
    lm = Cached(inner, None)
    assert lm.complete(HI).text != lm.complete(HI).text
    assert len(inner.requests) == 2


@pytest.mark.parametrize("finish", ["length", "filter"])
def test_a_reply_that_was_cut_or_withheld_is_never_kept(finish: Any) -> None:
    lm = Cached(Counted(), None)
    lm.commit(HI, Response("half", finish=finish))
    assert not lm.complete(HI).cached


def test_text_reasoning_and_odd_characters_survive() -> None:
    lm = Cached(Counted(), None)
    reply = Response("snow ☃ \ud800 \x00\u2028", reasoning="because", model="m")
    lm.commit(HI, reply)
    hit = lm.complete(HI)
    assert (hit.text, hit.reasoning, hit.model) == (reply.text, reply.reasoning, reply.model)


OTHERS = [
    Request((Message("user", "ho"),)),
    Request((Message("system", "hi"),)),
    Request((Message("user", "hi"), Message("assistant", ""))),
    Request(HI.messages, schema={"type": "object"}),
    Request(HI.messages, options={"temperature": 1.0}),
    Request(HI.messages, sample=1),
]


@pytest.mark.parametrize("other", OTHERS)
def test_a_request_that_differs_is_no_hit(other: Request) -> None:
    lm = Cached(Counted(), None)
    kept(lm)
    assert not lm.complete(other).cached


def test_role_and_timeout_do_not_matter() -> None:
    lm = Cached(Counted(), None)
    kept(lm)
    assert lm.complete(Request(HI.messages, role="judge", options={"timeout": 3})).cached


def test_another_identity_is_no_hit() -> None:
    kept(Cached(Counted("one"), None))
    assert not Cached(Counted("other"), None).complete(HI).cached


def test_a_request_that_must_not_be_kept_is_not() -> None:
    lm = Cached(Counted(), None)
    secret = Request(HI.messages, cacheable=False)
    kept(lm, secret)
    assert not lm.complete(secret).cached
    assert not lm.complete(HI).cached


def test_an_option_that_is_no_json_is_not_cached() -> None:
    lm = Cached(Counted(), None)
    odd = Request(HI.messages, options={"response_format": object})
    kept(lm, odd)
    assert not lm.complete(odd).cached


def test_the_cache_can_be_off_by_argument_or_by_setting() -> None:
    inner = Counted()
    kept(Cached(inner, False))
    assert not Cached(inner, True).complete(HI).cached
    with settings.context(cache=False):
        kept(Cached(inner, None))
        assert not Cached(inner, None).complete(HI).cached
        kept(Cached(inner, True))
        assert Cached(inner, True).complete(HI).cached


def test_the_cache_can_lie_elsewhere(tmp_path: Path) -> None:
    inner = Counted()
    kept(Cached(inner, tmp_path / "mine.db"))
    assert (tmp_path / "mine.db").exists()
    assert not Cached(inner, None).complete(HI).cached
    with settings.context(cache=tmp_path / "mine.db"):
        assert Cached(inner, None).complete(HI).cached


async def test_async_calls_share_the_cache() -> None:
    lm = Cached(Counted(), None)
    kept(lm)
    assert (await lm.acomplete(HI)).cached


async def test_a_stream_is_a_hit_once_its_reply_was_committed() -> None:
    inner = Counted()
    lm = Cached(inner, None)
    *pieces, last = lm.stream(HI)
    assert last.response is not None
    assert "".join(piece.text for piece in pieces) == last.response.text == "reply 1"
    lm.commit(HI, last.response)
    hit = Response("reply 1", usage=Usage(cached=1), model="counted", cached=True)
    expected = [Chunk("reply 1"), Chunk(response=hit)]
    assert list(lm.stream(HI)) == [chunk async for chunk in lm.astream(HI)] == expected
    assert len(inner.requests) == 1


def test_a_hit_keeps_its_reasoning_and_an_empty_one_has_no_piece() -> None:
    lm = Cached(Counted(), None)
    lm.commit(HI, Response("4", reasoning="two and two"))
    assert next(lm.stream(HI)) == Chunk("4", "two and two")
    lm.commit(OTHERS[0], Response(""))
    assert [chunk.response is None for chunk in lm.stream(OTHERS[0])] == [False]
