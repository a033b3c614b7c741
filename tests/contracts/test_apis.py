"""OpenAI's other two APIs behind the same call: responses, and text completions."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import pytest
from fault_server import Answer, FaultServer

from declm.lm import LM
from declm.messages import Message, Request

# litellm opens a client for the responses API in a thread, and another one in the event loop: the first one, which has
# never been used, is collected with a complaint. Once, so that nothing leaks.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in.*(ClientSession|BaseConnector)")


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


KEY = "canary-key-0123456789"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
HI = Request((Message("system", "be brief"), Message("user", "hi")))
SHAPED = Request(HI.messages, schema=SCHEMA)

USAGE = {"input_tokens": 11, "output_tokens": 3, "total_tokens": 14}
THOUGHT = {"type": "reasoning", "id": "t", "summary": [{"type": "summary_text", "text": "hm"}]}
SAID = {
    "type": "message",
    "id": "m",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": '{"a": 1}', "annotations": []}],
}
RESPONSE: dict[str, Any] = {
    "id": "r",
    "object": "response",
    "created_at": 1,
    "model": "m",
    "status": "completed",
    "output": [THOUGHT, SAID],
    "usage": {**USAGE, "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}},
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "temperature": 1.0,
    "top_p": 1.0,
}


bridged = pytest.mark.skipif(
    find_spec("mcp") is None and tuple(map(int, metadata.version("litellm").split(".")[:2])) < (1, 110),
    reason="before litellm 1.110, its responses API needs the package mcp",
)


def lm(server: FaultServer, model: str) -> LM:
    return LM(model, api_base=server.url, api_key=KEY, cache=False, attempts=1)


@bridged
@pytest.mark.parametrize("model", ["openai/responses/gpt-5-mini", "openai/gpt-5-pro", "openai/responses/gpt-4o-mini"])
def test_the_responses_api_answers(server: FaultServer, model: str) -> None:
    server.script(Answer(body=RESPONSE))
    response = lm(server, model).complete(SHAPED)
    assert (response.text, response.reasoning, response.finish) == ('{"a": 1}', "hm", "stop")
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.unpriced) == (11, 3, 0)
    assert server.paths == ["/v1/responses"]
    form = server.bodies[0]["text"]["format"]
    assert (form["type"], form["schema"], form["strict"]) == ("json_schema", SCHEMA, True)
    assert [turn["role"] for turn in server.bodies[0]["input"]] == ["system", "user"]


@bridged
def test_the_responses_api_streams(server: FaultServer) -> None:
    item: dict[str, Any] = {"type": "message", "id": "m", "role": "assistant", "status": "in_progress", "content": []}
    place = {"item_id": "m", "output_index": 0, "content_index": 0}
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("created", {"response": {**RESPONSE, "output": [], "status": "in_progress"}}),
        ("output_item.added", {"output_index": 0, "item": item}),
        ("content_part.added", {**place, "part": {"type": "output_text", "text": "", "annotations": []}}),
        ("output_text.delta", {**place, "delta": "he"}),
        ("output_text.delta", {**place, "delta": "llo"}),
        ("output_text.done", {**place, "text": "hello"}),
        ("output_item.done", {"output_index": 0, "item": {**item, "status": "completed"}}),
        ("completed", {"response": RESPONSE}),
    ]
    events = [{"type": f"response.{kind}", "sequence_number": i, **more} for i, (kind, more) in enumerate(kinds)]
    server.script(Answer(events=events))
    *pieces, end = lm(server, "openai/responses/gpt-5-mini").stream(HI)
    assert [piece.text for piece in pieces] == ["he", "llo"]
    assert end.response is not None
    assert (end.response.text, end.response.usage.output_tokens) == ("hello", 3)


@pytest.mark.parametrize("model", ["text-completion-openai/gpt-3.5-turbo-instruct", "openai/gpt-3.5-turbo-instruct"])
def test_a_model_without_turns_goes_on_with_one_text(server: FaultServer, model: str) -> None:
    choice = {"index": 0, "text": "hello", "finish_reason": "stop", "logprobs": None}
    usage = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
    whole = {"id": "t", "object": "text_completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    server.script(Answer(body=whole))
    response = lm(server, model).complete(SHAPED)
    assert (response.text, response.usage.output_tokens, response.usage.unpriced) == ("hello", 3, 0)
    assert server.paths == ["/v1/completions"]
    assert server.bodies[0]["prompt"] in ("be brief\n\nhi", ["be brief\n\nhi"])
    assert "response_format" not in server.bodies[0]


def test_text_completions_stream(server: FaultServer) -> None:
    choices = [
        {"index": 0, "text": "he", "finish_reason": None},
        {"index": 0, "text": "llo", "finish_reason": None},
        {"index": 0, "text": "", "finish_reason": "stop"},
    ]
    head = {"id": "t", "object": "text_completion", "created": 1, "model": "m"}
    server.script(Answer(events=[*({**head, "choices": [choice]} for choice in choices), "[DONE]"]))
    *pieces, end = lm(server, "openai/gpt-3.5-turbo-instruct").stream(HI)
    assert [piece.text for piece in pieces] == ["he", "llo"]
    assert end.response is not None
    assert end.response.text == "hello"
