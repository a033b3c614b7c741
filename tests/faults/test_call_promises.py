"""Promises 1, 2, 3, 7, 28 and 29: when a call ends, how often it is sent, and what it never gives."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from fault_server import Answer, FaultServer, completion, failure, streamed
from pydantic import BaseModel, Field

import declm as dm
from declm.lm import LM
from declm.messages import Message, Request
from declm.predictors.predict import Predict


def ask(text: object) -> Request:
    return Request((Message("user", str(text)),))


def lm_at(server: FaultServer, **arguments: Any) -> LM:
    return LM("openai/gpt-4o-mini", **{"api_base": server.url, "api_key": "k", "cache": False, **arguments})


def said(body: Mapping[str, Any]) -> str:
    """The last message of a request."""
    return str(body["messages"][-1]["content"])


def by_kind(faults: Mapping[str, Answer]) -> Callable[[Mapping[str, Any]], Answer]:
    """Answer each request with the fault whose name its message begins with."""
    return lambda body: faults[said(body).split("/")[0]]


# --- 1: the deadline holds under every fault

DEADLINE_S = 3.0
UNENDING = {
    "hang": Answer(hang_s=60),
    "slowloris": Answer(body=completion("x" * 4000).body, drip_s=0.05),
    "hint": failure(429, "slow down", headers={"Retry-After": "3600"}),
    "down": failure(500),
}


def late(lm: LM, name: str) -> tuple[str, float]:
    """Kind of the error of a call, and its seconds."""
    began_s = time.monotonic()
    try:
        lm.complete(ask(name))
    except dm.LMError as error:
        return type(error).__name__, time.monotonic() - began_s
    return "no error", 0.0


async def alate(lm: LM, name: str) -> tuple[str, float]:
    began_s = time.monotonic()
    try:
        await lm.acomplete(ask(name))
    except dm.LMError as error:
        return type(error).__name__, time.monotonic() - began_s
    return "no error", 0.0


@pytest.mark.parametrize("way", [pytest.param("threads", marks=pytest.mark.slow), "tasks"])
def test_no_fault_holds_a_call_beyond_its_deadline(server: FaultServer, way: str) -> None:
    server.answer = by_kind(UNENDING)
    lm = lm_at(server, deadline=DEADLINE_S, attempts=1000)
    names = [f"{kind}/{n}" for kind in UNENDING for n in range(20)]
    lm_at(server, deadline=0.5, attempts=1).capabilities  # litellm's import is no call's time

    async def everything() -> list[tuple[str, float]]:
        return await asyncio.gather(*(alate(lm, name) for name in names))

    gc.collect()
    gc.freeze()  # what thousands of tests have left behind takes half a second to look through
    try:
        if way == "threads":
            with ThreadPoolExecutor(len(names)) as pool:
                ends = list(pool.map(lambda name: late(lm, name), names))
        else:
            ends = asyncio.run(everything())
    finally:
        gc.unfreeze()
    assert Counter(kind for kind, _ in ends) == {"DeadlineExceeded": len(names)}
    assert max(seconds for _, seconds in ends) <= DEADLINE_S + 0.5


# --- 2: the server sees exactly as many requests as there are attempts

PASSING = {
    "429": failure(429, "slow down"),
    "429-now": failure(429, "slow down", headers={"Retry-After": "0"}),
    "500": failure(500),
    "502": Answer(502, b"<html>bad gateway</html>"),
    "503": failure(503, "overloaded"),
    "529": failure(529, "overloaded"),
    "dropped": Answer(drop=True),
    "empty": Answer(body=b""),
    "html": Answer(body=b"<html>welcome</html>"),
    "shapeless": Answer(body={"object": "nothing"}),
}


@pytest.mark.parametrize("attempts", [1, 3])
async def test_the_server_sees_exactly_the_attempts(server: FaultServer, attempts: int) -> None:
    server.answer = by_kind(PASSING)
    lm = lm_at(server, attempts=attempts)
    ends = await asyncio.gather(*(alate(lm, kind) for kind in PASSING))
    assert Counter(said(body) for body in server.bodies) == dict.fromkeys(PASSING, attempts)
    assert {kind for kind, _ in ends} == {"RateLimited", "ServerError", "TransportError"}


# --- 3: what will not pass is sent once, and has a type of its own

FINAL: Mapping[str, tuple[type[dm.LMError], list[Answer]]] = {
    "key": (
        dm.AuthError,
        [
            failure(401, "Incorrect API key provided: sk-1.", code="invalid_api_key"),
            failure(401, "No auth credentials found"),
            failure(401, "invalid x-api-key", code="authentication_error"),
            failure(401, "Unauthorized"),
            failure(401, ""),
            failure(403, "Your API key does not have permission to use the specified resource."),
            failure(403, "Country, region, or territory not supported"),
            Answer(401, b"Unauthorized"),
            Answer(401, {"detail": "Not authenticated"}),
            Answer(403, {"message": "Forbidden"}),
        ],
    ),
    "quota": (
        dm.QuotaExceeded,
        [
            failure(429, "You exceeded your current quota, please check your plan.", code="insufficient_quota"),
            failure(429, "quota", code="insufficient_quota"),
            failure(429, "You have run out of credits. Go to billing to add more."),
            failure(400, "Your credit balance is too low to access the API. Please go to Plans & Billing."),
            failure(403, "Billing hard limit has been reached"),
            failure(402, "Insufficient Balance"),
            failure(402, "This request requires more credits, or fewer max_tokens."),
            failure(402, ""),
            failure(429, "Account is not active, please check your billing details on our website."),
            Answer(402, b"Payment Required"),
        ],
    ),
    "context": (
        dm.ContextTooLong,
        [
            failure(400, "This model's maximum context length is 8192 tokens.", code="context_length_exceeded"),
            failure(400, "prompt is too long: 208000 tokens > 200000 maximum"),
            failure(400, "the request exceeds the available context size (512 tokens)"),
            failure(400, "Input is too long for requested model."),
            failure(413, "Prompt is too long"),
            failure(422, "inputs tokens + max_new_tokens must be <= 4096: too many input tokens"),
            failure(400, "too many tokens"),
            failure(400, "exceed_context_size_error: context window exceeded"),
            failure(400, "exceeds the model's context window"),
            Answer(400, {"message": "This model's maximum context length is 4096 tokens", "code": 400}),
        ],
    ),
    "request": (
        dm.BadRequest,
        [
            failure(400, "Invalid value for 'temperature'"),
            failure(400, "Unsupported parameter: 'top_k'", code="unsupported_parameter"),
            failure(400, "messages: at least one message is required"),
            failure(400, "Invalid schema for response_format"),
            failure(405, "Method Not Allowed"),
            failure(409, "Conflict"),
            failure(415, "Unsupported Media Type"),
            failure(422, "value is not a valid integer"),
            Answer(400, b"bad"),
            Answer(400, {"detail": [{"loc": ["body"], "msg": "field required"}]}),
        ],
    ),
}


@pytest.mark.parametrize("kind", FINAL)
def test_what_will_not_pass_is_sent_once(server: FaultServer, kind: str) -> None:
    wanted, answers = FINAL[kind]
    assert len(answers) == 10
    for answer in answers:
        server.script(answer)
        server.bodies.clear()
        with pytest.raises(dm.LMError) as caught:
            lm_at(server).complete(ask("hi"))
        assert (type(caught.value), server.count) == (wanted, 1), answer


# --- 7: a reply that was cut off is never a value


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Point(BaseModel):
    x: int
    y: int = 0


SHAPES: list[Any] = [
    str,
    int,
    float,
    bool,
    date,
    Decimal,
    Colour,
    Point,
    list[str],
    list[int],
    list[Point],
    dict[str, int],
    dict[str, Any],
    tuple[int, str],
    set[str],
    str | None,
    Literal["red", "green"],
    Annotated[str, Field(min_length=2)],
    int | str,
    Any,
]


class Which(dm.Signature):
    """Answer."""

    question: str = dm.Input()
    answer: str = dm.Output()


CUT = ["red", '{"answer": "red"}', '{"answer": 1', "[[answer]] 1", "<answer>red</answer>"]


@pytest.mark.parametrize("format", ["json", "chat", "xml", "native"])
def test_a_reply_that_was_cut_off_is_never_a_value(server: FaultServer, format: str) -> None:
    assert len(SHAPES) == 20
    for shape in SHAPES:
        typed = dm.spec(Which).with_field("answer", shape)
        for text in CUT:
            server.script(completion(text, finish="length"))
            with pytest.raises(dm.TruncatedOutput):
                Predict(typed, lm=lm_at(server), format=format, retries=0)(question="which?")


# --- 28: neither a reply nor a request fills the memory


LIMIT_BYTES = 16 * 2**20
HUGE = "x" * 100_000_000

MEASURED = """
import resource, sys
sys.modules["litellm"] = None  # it takes seconds to import, and our own wire needs none
import declm as dm
url, way = sys.argv[1:]
lm = dm.LM("hosted_vllm/m", api_base=url, cache=False, attempts=1)
predict = dm.Predict("question -> answer", lm=lm, retries=0)
unit = 1 if sys.platform == "darwin" else 1024
before = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
try:
    predict(question="small")
except dm.DeclmError:
    pass
question = "x" * 100_000_000 if way == "input" else "huge"
began = before()
try:
    list(predict.stream(question=question)) if way == "stream" else predict(question=question)
except dm.DeclmError as error:
    print(type(error).__name__, before() - began)
"""


def gzipped(data: bytes, status: int = 200) -> Answer:
    return Answer(status, gzip.compress(data), {"content-encoding": "gzip"})


def chat(text: str) -> bytes:
    return json.dumps(completion(text).body).encode()


FLOODS: dict[str, tuple[str, Answer]] = {
    "text": ("ReplyTooLarge", completion(HUGE)),
    "junk": ("ReplyTooLarge", Answer(body=HUGE.encode())),
    "brackets": ("ReplyTooLarge", Answer(body=b"[" * len(HUGE))),
    "reasoning": ("ReplyTooLarge", completion("{}", reasoning_content=HUGE)),
    "error": ("ServerError", Answer(500, HUGE.encode())),
    "header": ("TransportError", Answer(body=b"{}", headers={"x-flood": HUGE[:1_000_000]})),
    "bomb": ("ReplyTooLarge", gzipped(chat(HUGE))),
    "bomb in an error": ("ServerError", gzipped(HUGE.encode(), 500)),
    "stream": ("ReplyTooLarge", streamed(*["x" * 1_000_000] * 100)),
    "input": ("InputError", completion()),
}
_FAST = {"text", "header", "input"}


@pytest.mark.skipif(sys.platform == "win32", reason="measures with a POSIX call")
@pytest.mark.parametrize("flood", [f if f in _FAST else pytest.param(f, marks=pytest.mark.slow) for f in FLOODS])
def test_neither_a_reply_nor_an_input_fills_the_memory(server: FaultServer, flood: str) -> None:
    kind, answer = FLOODS[flood]
    server.answer = lambda body: answer if "huge" in said(body) else completion("hello")
    way = flood if flood in ("stream", "input") else "call"
    command = [sys.executable, "-c", MEASURED, server.url, way]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert told[0] == kind
    assert int(told[1]) <= 2 * LIMIT_BYTES


# --- 29: inputs are checked before anything is sent


class Asked(dm.Signature):
    """Answer."""

    question: str = dm.Input()
    count: int = dm.Input(gt=0)
    tags: list[str] = dm.Input(default=[])
    place: Point | None = dm.Input(default=None)
    answer: str = dm.Output()


_GOOD: dict[str, Any] = {"question": "which?", "count": 2}
_WRONG: dict[str, list[Any]] = {
    "question": [None, 1, 1.5, True, b"\xff\xfe", ["a"], {"a": 1}, object(), Point(x=1), date],
    "count": [None, "two", "", 1.5, [1], {"n": 1}, 0, -1, float("nan"), float("inf"), object(), "1.5"],
    "tags": [None, 3, {"a": 1}, [1], [None], [["a"]], object(), ["a", 2]],
    "place": [3, "here", {}, {"x": "far"}, {"y": 1}, [1, 2], {"x": None}, object()],
}
MISTAKES: list[dict[str, Any]] = [
    {},
    {"question": "which?"},
    {"count": 2},
    {"tags": ["a"]},
    *({**_GOOD, extra: "x"} for extra in ("answer", "questions", "Question", "lm", "self", "config", "n", "demos")),
    *({**_GOOD, name: value} for name, values in _WRONG.items() for value in values),
]


def test_wrong_inputs_are_refused_before_anything_is_sent(server: FaultServer) -> None:
    predict = Predict(Asked, lm=lm_at(server))
    assert len(MISTAKES) == 50
    for mistake in MISTAKES:
        with pytest.raises(dm.InputError):
            predict(**mistake)
    assert server.count == 0
