"""OpenAI's chat completions as data: what is sent, and how replies are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from declm.lm.wire import (
    PROVIDERS,
    BrokenOff,
    Listener,
    Refused,
    Reply,
    Unreadable,
    address,
    body,
    complaint,
    headers,
    parsed,
    read,
)
from declm.messages import Chunk, Message, Request

NAMES = "choices message delta content tool_calls function arguments index refusal reasoning usage error".split()
HI = Request((Message("system", "be brief"), Message("user", "hi")))


def sent(options: Mapping[str, Any], *, stream: bool = False) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(body("m", HI, options, stream=stream))
    return content


def whole(message: Mapping[str, Any], finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", **message}, "finish_reason": finish}], **more}


def event(delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def test_options_are_members_of_the_body_and_none_are_left_out() -> None:
    content = sent({"temperature": 0.5, "top_k": 3, "stop": None, "extra_body": {"guided_regex": "a+"}, "timeout": 3})
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    assert content == {"model": "m", "messages": messages, "temperature": 0.5, "top_k": 3, "guided_regex": "a+"}


def test_a_stream_asks_for_its_usage() -> None:
    content = sent({}, stream=True)
    assert (content["stream"], content["stream_options"]) == (True, {"include_usage": True})


def test_the_body_is_ascii_so_that_a_lone_surrogate_survives() -> None:
    request = Request((Message("user", "\ud800 \u2028"),))
    assert json.loads(body("m", request, {}, stream=False))["messages"][0]["content"] == "\ud800 \u2028"


@pytest.mark.parametrize(
    ("provider", "base", "url"),
    [
        ("openai", None, "https://api.openai.com/v1/chat/completions"),
        ("openai", "http://h/v1/", "http://h/v1/chat/completions"),
        ("openai", "http://h/v1/chat/completions", "http://h/v1/chat/completions"),
        ("hosted_vllm", None, None),
        ("llamafile", None, "http://127.0.0.1:8080/v1/chat/completions"),
    ],
)
def test_the_address(provider: str, base: str | None, url: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for known in PROVIDERS.values():
        for name in known.bases:
            monkeypatch.delenv(name, raising=False)
    assert address(PROVIDERS[provider], base) == url


def test_the_environment_may_hold_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTED_VLLM_API_BASE", "http://h/v1")
    assert address(PROVIDERS["hosted_vllm"], None) == "http://h/v1/chat/completions"
    assert address(PROVIDERS["hosted_vllm"], "http://other") == "http://other/chat/completions"


def test_headers_of_the_user_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORGANIZATION", "org")
    found = headers("http://h", "key", {"extra_headers": {"Authorization": "Basic x", "X-Route": 1}})
    assert found["authorization"] == "Basic x"
    assert (found["x-route"], found["openai-organization"]) == ("1", "org")
    assert "authorization" not in headers("http://me:word@h/v1", "key", {})
    assert "authorization" not in headers("http://h", None, {})


@pytest.mark.parametrize(
    ("message", "finish", "reply"),
    [
        ({"content": "hi"}, "stop", Reply("hi", None, "stop", None, None)),
        ({"content": "hi"}, None, Reply("hi", None, "stop", None, None)),
        ({"content": "hi"}, "length", Reply("hi", None, "length", None, None)),
        ({"content": [{"type": "text", "text": "a"}, {"text": "b"}]}, "stop", Reply("ab", None, "stop", None, None)),
        ({"content": "4", "reasoning_content": "2+2"}, "stop", Reply("4", "2+2", "stop", None, None)),
        ({"content": "4", "reasoning": "2+2"}, "stop", Reply("4", "2+2", "stop", None, None)),
        ({"content": None, "refusal": "no"}, "stop", Reply("no", None, "filter", None, None)),
        ({"content": None}, "content_filter", Reply("", None, "filter", None, None)),
        (
            {"content": "I fill it in", "tool_calls": [{"function": {"arguments": "{}"}}, {"function": {}}]},
            "tool_calls",
            Reply("{}", None, "stop", None, None),
        ),
    ],
)
def test_replies_are_read(message: Mapping[str, Any], finish: str | None, reply: Reply) -> None:
    assert read(whole(message, finish)) == reply


def test_tokens_are_read() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    assert read(whole({"content": "x"}, usage=usage)) == Reply("x", None, "stop", 9, 2, 4)


@pytest.mark.parametrize(
    "content", [{}, {"choices": []}, {"choices": None}, {"choices": [1]}, {"choices": [{"message": "hi"}]}]
)
def test_other_shapes_are_unreadable(content: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read(content)


@pytest.mark.parametrize("data", [b"", b"<html>", b"[1]", b"[" * 100_000, b"\xff"])
def test_other_bodies_are_unreadable(data: bytes) -> None:
    with pytest.raises(Unreadable):
        parsed(data)


@pytest.mark.parametrize("usage", [None, 3, [], {"prompt_tokens": "9"}, {"prompt_tokens_details": 3}])
def test_odd_counts_are_no_counts(usage: Any) -> None:
    assert read(whole({"content": "x"}, usage=usage)) == Reply("x", None, "stop", None, None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_whatever_a_server_sends_is_a_reply_or_unreadable(content: Any) -> None:
    for shape in (content, {"choices": [{"message": content, "delta": content, "finish_reason": content}]}):
        listener = Listener(tools=False)
        with suppress(Unreadable, Refused, BrokenOff):
            read(parsed(json.dumps(shape).encode()))
        with suppress(Unreadable, Refused, BrokenOff):
            listener.hear(parsed(json.dumps(shape).encode()))
            listener.reply()


def test_events_add_up_to_the_reply() -> None:
    listener = Listener(tools=False)
    heard = [event({"role": "assistant", "content": ""}), event({"reasoning_content": "hm"}), event({"content": "a"})]
    shown = [listener.hear(one) for one in [*heard, event({"content": "b"}, "length")]]
    listener.hear({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}})
    assert shown == [None, Chunk("", "hm"), Chunk("a"), Chunk("b")]
    assert listener.reply() == Reply("ab", "hm", "length", 3, 1)
    assert listener.held_back() is None


def test_a_reply_that_comes_in_one_is_taken_as_an_event() -> None:
    listener = Listener(tools=False)
    assert listener.hear(whole({"content": "all of it"})) == Chunk("all of it")
    assert listener.reply().text == "all of it"


def test_a_stream_without_an_end_is_no_reply() -> None:
    listener = Listener(tools=False)
    listener.hear(event({"content": "half"}))
    with pytest.raises(BrokenOff):
        listener.reply()


def test_an_event_may_tell_of_a_failure() -> None:
    with pytest.raises(Refused, match="overloaded"):
        Listener(tools=False).hear({"error": {"message": "overloaded"}})


@pytest.mark.parametrize("content", [{"choices": [1]}, {"choices": [{"delta": 3}]}, {"choices": [{"delta": []}]}])
def test_other_events_are_unreadable(content: dict[str, Any]) -> None:
    listener = Listener(tools=False)
    try:
        listener.hear(content)
    except Unreadable:
        return
    with pytest.raises(BrokenOff):
        listener.reply()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"error": {"message": "bad", "code": "x", "type": "y"}}, "bad (x, y)"),
        ({"object": "error", "message": "bad", "code": 400}, "bad (400)"),
        ({"detail": "Not found"}, "Not found"),
        ({"error": "model 'x' not found"}, "model 'x' not found"),
        ({"what": 1}, '{"what": 1}'),
    ],
)
def test_complaints_of_all_servers_are_read(content: dict[str, Any], text: str) -> None:
    assert complaint(content) == text
