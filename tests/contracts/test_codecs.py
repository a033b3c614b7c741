"""What we send past `litellm.acompletion` is what that would have sent, whatever is asked: byte for byte as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from fault_server import Answer, FaultServer, completion, streamed

from declm.errors import AuthError, ContextTooLong, LMError, QuotaExceeded, RateLimited, ServerError, TransportError
from declm.lm import LM, codecs
from declm.lm.codecs import Codec, NotCoded
from declm.lm.gateway import Gateway
from declm.lm.library import load
from declm.lm.traffic import TRAFFIC
from declm.messages import Message, Request

KEY = "canary-key-0123456789"

CODED = [
    "deepseek/deepseek-reasoner",
    "groq/openai/gpt-oss-120b",
    "mistral/mistral-small-latest",
    "anthropic/claude-sonnet-4-5",
    *(
        pytest.param(model, marks=pytest.mark.slow)
        for model in (
            "deepseek/deepseek-chat",
            "groq/llama-3.3-70b-versatile",
            "mistral/magistral-medium-latest",
            "mistral/of-tomorrow",
            "anthropic/claude-opus-4-1",
            "anthropic/claude-3-5-haiku-20241022",
            "anthropic/of-tomorrow",
        )
    ),
]
WIRED = ["openai/gpt-4o-mini", "openai/gpt-5-mini", "openai/o3-mini", "hosted_vllm/mine", "lm_studio/mine"]

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
TALK = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "1"},
    {"role": "user", "content": "two \N{SNOWMAN}"},
]
PICTURE = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "what is it?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        ],
    }
]
MARKED = [
    {
        "role": "system",
        "content": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
    },
    {"role": "user", "content": "two"},
]
TOOL = {"type": "function", "function": {"name": "fill", "description": "Fill in.", "parameters": SCHEMA}}
SHAPE = {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA, "strict": True}}

ASKED: dict[str, tuple[Sequence[Mapping[str, Any]], dict[str, Any]]] = {
    "plain": (TALK, {}),
    "sampling": (TALK, {"temperature": 0.5, "max_tokens": 20, "top_p": 0.9, "stop": ["x"]}),
    "wishes": (TALK, {"seed": 3, "reasoning_effort": "low", "frequency_penalty": 0.1, "drop_params": True}),
    "unknown": (TALK, {"top_k": 3}),
    "headers": (TALK, {"extra_headers": {"X-Tenant": "a"}}),
    "tools": (TALK, {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "fill"}}}),
    "structured": (TALK, {"response_format": SHAPE, "drop_params": True}),
    "json": (TALK, {"response_format": {"type": "json_object"}}),
    "vision": (PICTURE, {}),
    "marked": (MARKED, {}),
}

Sent = tuple[str, Mapping[str, str], Mapping[str, Any]]


def answer(server: FaultServer, body: Mapping[str, Any]) -> Answer:
    """In the words of the provider that is asked."""
    if server.paths[-1].endswith("/messages"):
        return streamed_by_anthropic("1") if body.get("stream") else said_by_anthropic("1")
    return streamed("1") if body.get("stream") else said("1")


def said(text: str, **message: Any) -> Answer:
    """As the real services say it; the codec of groq needs their `service_tier`."""
    whole = completion(text, **message)
    return Answer(body={**whole.body, "service_tier": "on_demand"})


def said_by_anthropic(*texts: str, stop: str = "end_turn", **usage: int) -> Answer:
    content = [{"type": "text", "text": text} for text in texts]
    counted = {"input_tokens": 11, "output_tokens": 3, **usage}
    head = {"id": "1", "type": "message", "role": "assistant", "model": "m"}
    return Answer(body={**head, "content": content, "stop_reason": stop, "stop_sequence": None, "usage": counted})


def streamed_by_anthropic(*texts: str, stop: str | None = "end_turn", error: str = "") -> Answer:
    head: dict[str, Any] = {"id": "1", "type": "message", "role": "assistant", "model": "m", "content": []}
    usage = {"input_tokens": 11, "output_tokens": 1}
    events: list[Any] = [
        {"type": "message_start", "message": {**head, "stop_reason": None, "stop_sequence": None, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
    ]
    events += [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}} for text in texts
    ]
    if stop:
        delta = {"stop_reason": stop, "stop_sequence": None}
        events += [
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 3}},
            {"type": "message_stop"},
        ]
    if error:
        events.append({"type": "error", "error": {"type": "overloaded_error", "message": error}})
    return Answer(events=events)


def sent_by_litellm(
    server: FaultServer, model: str, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any], *, stream: bool
) -> Sent:
    litellm = load()

    async def ask() -> None:
        flow: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        reply = await litellm.acompletion(
            model=model,
            messages=[dict(message) for message in messages],
            api_base=base(server, model),
            api_key=KEY,
            num_retries=0,
            max_retries=0,
            _skip_mcp_handler=True,
            **options,
            **flow,
        )
        if stream:
            async for _ in reply:
                pass

    TRAFFIC.start(ask()).result()  # its loop outlives litellm's connections
    return last(server)


def base(server: FaultServer, model: str) -> str:
    """As users write it: litellm would ask `/v1/v1/messages` of Anthropic's with the version."""
    return server.url.removesuffix("/v1") if model.startswith("anthropic/") else server.url


def last(server: FaultServer) -> Sent:
    body = {name: value for name, value in server.bodies[-1].items() if (name, value) != ("stream", False)}
    return server.paths[-1], meaningful(server.headers[-1]), body


def meaningful(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Without those of the HTTP client."""
    client = {"host", "content-length", "user-agent", "accept-encoding", "connection", "accept", "transfer-encoding"}
    return {k: v for k, v in headers.items() if k not in client and not k.startswith("x-stainless")}


@pytest.fixture
def answering(server: FaultServer) -> FaultServer:
    server.answer = lambda body: answer(server, body)
    return server


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("model", CODED)
def test_a_codec_sends_what_litellm_sends(answering: FaultServer, model: str, asked: str, *, stream: bool) -> None:
    messages, options = ASKED[asked]
    try:
        written = Codec(load(), model, base(answering, model), KEY).write(messages, options, stream=stream)
    except NotCoded:
        assert refused(answering, model, messages, options) or (stream and options.keys() & {"response_format"})
        return
    expected = sent_by_litellm(answering, model, messages, options, stream=stream)
    path = written.url.removeprefix(base(answering, "anthropic/"))
    assert (path, meaningful(written.headers), json.loads(written.body)) == expected


def refused(server: FaultServer, model: str, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> bool:
    """Whether litellm itself can't send it either."""
    before = server.count
    try:
        sent_by_litellm(server, model, messages, options, stream=False)
    except Exception:  # noqa: BLE001  # litellm's
        return server.count == before
    return False


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("asked", ["plain", "sampling", "wishes", "headers", "tools", "structured", "json"])
@pytest.mark.parametrize("model", WIRED)
def test_our_own_wire_sends_what_litellm_sends(answering: FaultServer, model: str, asked: str, *, stream: bool) -> None:
    messages, options = ASKED[asked]
    request = Request(tuple(Message(m["role"], m["content"]) for m in messages))
    if model in REASONING and asked == "sampling":
        options = {"max_tokens": 20}  # they take no more
    lm = Gateway(model, options, answering.url, KEY)
    _ = list(lm.stream(request)) if stream else lm.complete(request)
    mine = last(answering)
    assert comparable(model, mine) == comparable(
        model, sent_by_litellm(answering, model, messages, options, stream=stream)
    )


REASONING = {"openai/gpt-5-mini", "openai/o3-mini"}


def comparable(model: str, sent: Sent) -> Sent:
    """Without what we send otherwise on purpose."""
    path, headers, whole = sent
    body = dict(whole)
    if model == "openai/o3-mini":  # litellm makes a user's turn of the instructions; OpenAI takes them as they are
        body["messages"] = [m for m in body["messages"] if m["content"] != "be brief"]
    if model == "lm_studio/mine":  # litellm leaves this wish out for all but its own list; the server ignores it
        body.pop("reasoning_effort", None)
    if model == "hosted_vllm/mine" and "tools" in body:  # litellm opens the objects that a tool declares as closed
        opened = json.dumps(body["tools"]).replace(', "additionalProperties": false', "")
        body["tools"] = json.loads(opened)
    return path, headers, body


HI = Request((Message("system", "be brief"), Message("user", "hi")))
SERVED = ["deepseek/deepseek-chat", "groq/openai/gpt-oss-120b", "mistral/mistral-small-latest"]


@pytest.mark.parametrize("model", [*SERVED, "anthropic/claude-sonnet-4-5"])
def test_a_call_gives_text_tokens_and_price(answering: FaultServer, model: str) -> None:
    response = LM(model, api_base=answering.url, api_key=KEY, cache=False).complete(HI)
    tokens = response.usage.input_tokens, response.usage.output_tokens
    assert (response.text, tokens, response.usage.unpriced) == ("1", (11, 3), 0)
    assert response.usage.usd > 0


@pytest.mark.parametrize("model", [*SERVED, "anthropic/claude-sonnet-4-5"])
def test_a_stream_gives_pieces_and_the_whole(server: FaultServer, model: str) -> None:
    server.script(streamed_by_anthropic("he", "llo") if model.startswith("anthropic") else streamed("he", "llo"))
    *pieces, end = LM(model, api_base=server.url, api_key=KEY, cache=False).stream(HI)
    assert end.response is not None
    assert ([p.text for p in pieces], end.response.text) == (["he", "llo"], "hello")
    assert (end.response.usage.input_tokens, end.response.usage.output_tokens) == (11, 3)


@pytest.mark.parametrize("model", [*SERVED, "anthropic/claude-sonnet-4-5"])
def test_a_stream_that_ends_in_the_middle_is_no_reply(server: FaultServer, model: str) -> None:
    cut = streamed_by_anthropic("he", stop=None) if model.startswith("anthropic") else streamed("he", finish=None)
    server.script(cut)
    with pytest.raises(TransportError):
        list(LM(model, api_base=server.url, api_key=KEY, cache=False).stream(HI))
    assert server.count == 1  # some of it has been shown


@pytest.mark.parametrize("model", ["mistral/mistral-small-latest", "anthropic/claude-sonnet-4-5"])
def test_a_stream_may_tell_of_a_failure(server: FaultServer, model: str) -> None:
    told = (
        streamed_by_anthropic("he", stop=None, error="overloaded")
        if model.startswith("anthropic")
        else streamed("he", finish=None, error="overloaded")
    )
    server.script(told)
    with pytest.raises(LMError, match="overloaded"):
        list(LM(model, api_base=server.url, api_key=KEY, cache=False).stream(HI))


def test_the_fill_of_a_tool_is_the_text(server: FaultServer) -> None:
    body = said_by_anthropic("I fill in.").body
    body["content"].append({"type": "tool_use", "id": "1", "name": "fill", "input": {"a": 7}})
    server.script(Answer(body={**body, "stop_reason": "tool_use"}))
    lm = LM("anthropic/claude-sonnet-4-5", api_base=server.url, api_key=KEY, cache=False, tools=[TOOL])
    assert json.loads(lm.complete(HI).text) == {"a": 7}


def test_thinking_is_kept_apart(server: FaultServer) -> None:
    body = said_by_anthropic("1").body
    body["content"].insert(0, {"type": "thinking", "thinking": "hm", "signature": "s"})
    server.script(Answer(body=body))
    response = LM("anthropic/claude-sonnet-4-5", api_base=server.url, api_key=KEY, cache=False).complete(HI)
    assert (response.text, response.reasoning) == ("1", "hm")


def test_a_cut_reply_is_known_as_one(server: FaultServer) -> None:
    server.script(said_by_anthropic("1", stop="max_tokens"))
    response = LM("anthropic/claude-sonnet-4-5", api_base=server.url, api_key=KEY, cache=False).complete(HI)
    assert response.finish == "length"


def complaint(kind: str, message: str) -> Mapping[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}}


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (401, complaint("authentication_error", "invalid x-api-key"), AuthError),
        (429, complaint("rate_limit_error", "too many"), RateLimited),
        (529, complaint("overloaded_error", "overloaded"), ServerError),
        (400, complaint("invalid_request_error", "Your credit balance is too low"), QuotaExceeded),
        (400, complaint("invalid_request_error", "prompt is too long: 300000 tokens > 200000"), ContextTooLong),
        (400, {"object": "error", "message": "maximum context length is 32768 tokens"}, ContextTooLong),
    ],
)
def test_refusals_are_read_in_the_words_of_each_provider(
    server: FaultServer, status: int, said: Mapping[str, Any], kind: type[LMError]
) -> None:
    server.script(Answer(status, said))
    with pytest.raises(kind):
        LM("anthropic/claude-sonnet-4-5", api_base=server.url, api_key=KEY, cache=False, attempts=1).complete(HI)
    assert server.count == 1


def test_a_body_that_is_no_reply_is_reported(server: FaultServer) -> None:
    server.script(Answer(body={"id": "1"}))
    with pytest.raises(ServerError, match="no chat completion"):
        LM("anthropic/claude-sonnet-4-5", api_base=server.url, api_key=KEY, cache=False, attempts=1).complete(HI)


def test_more_members_of_the_body_are_sent_as_such(server: FaultServer) -> None:
    server.script(said_by_anthropic("1"))
    LM("anthropic/claude-sonnet-4-5", api_base=server.url, api_key=KEY, cache=False, extra_body={"x": 1}).complete(HI)
    assert server.bodies[0]["x"] == 1  # litellm sends a member that is called extra_body, which Anthropic refuses


def test_another_version_of_litellm_is_asked_through_its_front_door(
    answering: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codecs, "_TESTED", ((1, 0), (1, 1)))
    codecs.is_tested.cache_clear()
    try:
        assert Gateway("anthropic/claude-sonnet-4-5", {}, answering.url, KEY).complete(HI).text == "1"
        assert "python" in answering.headers[0]["user-agent"].lower() or "litellm" in answering.headers[0]["user-agent"]
    finally:
        codecs.is_tested.cache_clear()


def marks(body: Mapping[str, Any]) -> list[bool]:
    """Which of the system's texts and the turns end what is kept."""
    turns = [*body.get("system", ()), *body["messages"]]
    return ["cache_control" in json.dumps(turn) for turn in turns]


DEMO = (Message("user", "one"), Message("assistant", "1"))
ASKED_AGAIN = (Message("assistant", "3"), Message("user", "no"))


@pytest.mark.parametrize(
    ("request_", "kept"),
    [
        (Request((Message("system", "be brief"), Message("user", "hi"))), [True, False]),
        (Request((Message("system", "be brief"), *DEMO, Message("user", "two"))), [False, False, True, False]),
        (
            Request((Message("system", "be brief"), *DEMO, Message("user", "two"), *ASKED_AGAIN), asked=1),
            [False, False, True, False, False, False],
        ),
        (
            Request((Message("system", "be brief"), *DEMO, Message("user", "two"), Message("user", "no")), asked=1),
            [False, False, True, False],  # Anthropic's two turns of one role become one
        ),
        (Request((Message("user", "hi"),)), [False]),
        (Request((Message("user", "hi"),), asked=3), [False]),
        (Request((Message("user", "hi"), Message("user", "ho")), asked=3), [False]),
    ],
)
def test_the_constant_beginning_of_a_prompt_is_marked_for_the_provider(
    answering: FaultServer, request_: Request, kept: list[bool]
) -> None:
    model, given = "anthropic/claude-sonnet-4-5", {"api_base": answering.url, "api_key": KEY, "cache": False}
    LM(model, **given).complete(request_)
    LM(model, prompt_cache=False, **given).complete(request_)
    marked, plain = answering.bodies
    assert marks(marked) == kept
    assert not any(marks(plain))


def test_providers_that_keep_prompts_by_themselves_are_sent_no_mark(answering: FaultServer) -> None:
    for model in ("openai/gpt-4o-mini", "deepseek/deepseek-chat", "anthropic/of-tomorrow"):
        LM(model, api_base=answering.url, api_key=KEY, cache=False).complete(HI)
    assert "cache_control" not in json.dumps(answering.bodies)


def test_what_a_provider_has_kept_costs_less(server: FaultServer) -> None:
    lm = LM("anthropic/claude-sonnet-4-5", api_base=server.url, api_key=KEY, cache=False)
    server.script(said_by_anthropic("1", input_tokens=1, cache_creation_input_tokens=2000, cache_read_input_tokens=0))
    first = lm.complete(HI).usage
    server.script(said_by_anthropic("1", input_tokens=1, cache_creation_input_tokens=0, cache_read_input_tokens=2000))
    later = lm.complete(HI).usage
    assert first.input_tokens == later.input_tokens == 2001
    assert (first.usd, later.usd) == (
        pytest.approx(1 * 3e-6 + 2000 * 3.75e-6 + 3 * 15e-6),
        pytest.approx(1 * 3e-6 + 2000 * 3e-7 + 3 * 15e-6),
    )
