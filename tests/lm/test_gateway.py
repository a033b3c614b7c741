"""Calls to a provider over a real loopback server: faults, counts, wire, usage, cancellation."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import pytest
from fault_server import Answer, FaultServer, completion, failure, streamed

from declm.errors import (
    AuthError,
    BadRequest,
    ContentFiltered,
    ContextTooLong,
    DeadlineExceeded,
    LMError,
    QuotaExceeded,
    RateLimited,
    ReplyTooLarge,
    ServerError,
    TimedOut,
    TransportError,
    UnknownModel,
)
from declm.lm import LM, connections
from declm.lm.gateway import Gateway
from declm.lm.library import load
from declm.lm.metered import Metered
from declm.lm.retried import Retried, RetryPolicy
from declm.messages import Message, Request

KEY = "canary-key-0123456789"
SLACK_S = 3.0  # for a busy machine; every hang below lasts half a minute or more
HI = Request((Message("system", "be brief"), Message("user", "hi")))
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    load()  # two seconds, once, outside of every test's clock


def gateway(server: FaultServer, model: str = "openai/gpt-4o-mini", **options: Any) -> Gateway:
    """One send, no retries."""
    return Gateway(model, options, server.url, KEY)


def eager(server: FaultServer, attempts: int = 4, deadline_s: float | None = 120.0) -> Retried:
    """The layers of an LM, without waits."""
    return Retried(Metered(gateway(server)), RetryPolicy(attempts, deadline_s, jitter=lambda: 0.0))


LONG = "This model's maximum context length is 4097 tokens."
QUOTA = "You exceeded your current quota, please check your plan and billing details."
FAULTS: list[tuple[Answer, type[LMError], int]] = [
    (failure(400, "bad value"), BadRequest, 1),
    (failure(401, "Incorrect API key", code="invalid_api_key"), AuthError, 1),
    (failure(402, "Payment required"), QuotaExceeded, 1),
    (failure(403, "Not allowed"), AuthError, 1),
    (failure(404, "The model `x` does not exist", code="model_not_found"), UnknownModel, 1),
    (failure(400, LONG, code="context_length_exceeded"), ContextTooLong, 1),
    (failure(400, "content management policy", code="content_filter"), ContentFiltered, 1),
    (failure(422, "unprocessable"), BadRequest, 1),
    (failure(429, QUOTA, code="insufficient_quota"), QuotaExceeded, 1),
    (failure(429, "Rate limit reached"), RateLimited, 4),
    (failure(500), ServerError, 4),
    (failure(502), ServerError, 4),
    (failure(503), ServerError, 4),
    (failure(504), ServerError, 4),
    (failure(529), ServerError, 4),
    (Answer(body=b"<html>hello</html>"), ServerError, 4),
    (Answer(body=b'{"choices": [{"mess'), ServerError, 4),
    (Answer(body={"id": "x"}), ServerError, 4),
    (Answer(drop=True), TransportError, 4),
]


@pytest.mark.parametrize(("answer", "kind", "sends"), FAULTS)
def test_each_fault_has_its_error_and_its_number_of_sends(
    server: FaultServer, answer: Answer, kind: type[LMError], sends: int
) -> None:
    server.script(answer)
    with pytest.raises(LMError) as caught:
        eager(server).complete(HI)
    assert (type(caught.value), server.count) == (kind, sends)
    assert "openai/gpt-4o-mini" in caught.value.message
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("model", ["hosted_vllm/mine", "mistral/m", "xai/grok-3"])
@pytest.mark.parametrize(("answer", "kind"), [(a, k) for a, k, _ in FAULTS if a.status in (401, 404, 429, 500)])
def test_other_providers_are_read_the_same_way(
    server: FaultServer, model: str, answer: Answer, kind: type[LMError]
) -> None:
    server.script(answer)
    with pytest.raises(kind):
        gateway(server, model).complete(HI)
    assert server.count == 1


def test_a_dead_endpoint_is_a_transport_error_that_names_it() -> None:
    with pytest.raises(TransportError, match=r"127\.0\.0\.1:9/v1.*check api_base"):
        Gateway("openai/gpt-4o-mini", {}, "http://127.0.0.1:9/v1", KEY).complete(HI)


def test_a_missing_key_names_the_variable_to_set(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(AuthError, match="OPENAI_API_KEY"):
        Gateway("openai/gpt-4o-mini", {}, server.url, None).complete(HI)
    assert server.count == 0


@pytest.mark.parametrize("model", ["anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-pro"])
def test_missing_keys_of_other_providers_are_auth_errors(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(AuthError, match="_API_KEY"):
        Gateway(model).complete(HI)


def test_an_unknown_provider_is_reported_as_such() -> None:
    with pytest.raises(UnknownModel, match="'nonsense/model'"):
        LM("nonsense/model").complete(HI)
    with pytest.raises(UnknownModel, match="'nonsense/model'"):
        _ = LM("nonsense/model").capabilities


def test_a_package_that_litellm_lacks_is_no_reason_to_try_again(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(**_: Any) -> None:
        raise ModuleNotFoundError("No module named 'mcp'")

    monkeypatch.setattr(load(), "acompletion", broken)
    with pytest.raises(BadRequest, match="needs a package.*'mcp'"):
        gateway(server, "xai/grok-3").complete(HI)


def test_the_hint_of_a_rate_limit_is_read(server: FaultServer) -> None:
    server.script(failure(429, headers={"Retry-After": "7"}))
    with pytest.raises(RateLimited) as caught:
        gateway(server).complete(HI)
    assert caught.value.retry_after_s == 7.0


@pytest.mark.parametrize(
    "fault",
    [
        Answer(hang_s=30),
        Answer(body={"choices": []}, drip_s=0.2),
        failure(429, headers={"Retry-After": "3600"}),
        failure(500),
    ],
    ids=["hang", "slow drip", "long hint", "errors"],
)
def test_the_deadline_holds_under_every_fault(server: FaultServer, fault: Answer) -> None:
    server.script(fault)
    lm = LM("openai/gpt-4o-mini", api_base=server.url, api_key=KEY, deadline=0.5, attempts=100)
    began_s = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        lm.complete(HI)
    assert time.monotonic() - began_s < 0.5 + SLACK_S


async def test_the_deadline_holds_in_async_code(server: FaultServer) -> None:
    server.script(Answer(hang_s=30))
    began_s = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await LM("openai/gpt-4o-mini", api_base=server.url, api_key=KEY, deadline=0.3).acomplete(HI)
    assert time.monotonic() - began_s < 0.3 + SLACK_S


def test_a_timeout_of_the_request_is_its_own_error(server: FaultServer) -> None:
    server.script(Answer(hang_s=30))
    with pytest.raises(TimedOut):
        gateway(server).complete(Request(HI.messages, options={"timeout": 0.2}))


def test_it_recovers_after_faults(server: FaultServer) -> None:
    server.script(failure(500), Answer(drop=True), completion("back"))
    response = eager(server).complete(HI)
    assert (response.text, response.usage.calls, server.count) == ("back", 3, 3)


def test_the_wire_carries_the_messages_and_options(server: FaultServer) -> None:
    gateway(server, temperature=0.5, max_tokens=9, seed=3).complete(HI)
    body = server.bodies[0]
    assert body["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    assert (body["model"], body["temperature"], body["max_tokens"], body["seed"]) == ("gpt-4o-mini", 0.5, 9, 3)
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_a_schema_becomes_strict_structured_output(server: FaultServer) -> None:
    gateway(server).complete(Request(HI.messages, SCHEMA))
    wanted = server.bodies[0]["response_format"]
    assert wanted == {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA, "strict": True}}


def test_a_schema_that_strict_mode_can_not_say_is_sent_as_a_wish(server: FaultServer) -> None:
    gateway(server).complete(Request(HI.messages, {**SCHEMA, "additionalProperties": {"type": "integer"}}))
    assert server.bodies[0]["response_format"]["json_schema"]["strict"] is False


def test_a_schema_is_left_out_where_the_model_can_not_hold_it(server: FaultServer) -> None:
    Gateway("openai/gpt-4o-mini", {}, server.url, KEY, structured=False).complete(Request(HI.messages, SCHEMA))
    assert "response_format" not in server.bodies[0]


def test_a_response_format_of_the_request_is_left_alone(server: FaultServer) -> None:
    own = {"type": "json_object"}
    gateway(server).complete(Request(HI.messages, SCHEMA, options={"response_format": own}))
    assert server.bodies[0]["response_format"] == own


def test_an_option_that_the_model_refuses_is_an_error_if_the_user_gave_it(server: FaultServer) -> None:
    with pytest.raises(BadRequest, match="temperature"):
        gateway(server, "openai/gpt-5-mini", temperature=0.2).complete(HI)
    assert server.count == 0


def test_an_option_that_the_model_refuses_is_left_out_if_a_search_asked_for_it(server: FaultServer) -> None:
    gateway(server, "openai/gpt-5-mini").complete(Request(HI.messages, options={"temperature": 0.2}))
    assert "temperature" not in server.bodies[0]


@pytest.mark.parametrize(("wire", "finish"), [("stop", "stop"), ("length", "length"), ("content_filter", "filter")])
def test_the_reason_to_stop_is_kept(server: FaultServer, wire: str, finish: str) -> None:
    server.script(completion("half a", finish=wire))
    assert gateway(server).complete(HI).finish == finish


def test_a_refusal_is_a_withheld_reply(server: FaultServer) -> None:
    server.script(completion(None, refusal="I can't help with that"))
    response = gateway(server).complete(HI)
    assert (response.finish, response.text) == ("filter", "I can't help with that")


def test_reasoning_is_kept_apart_from_the_text(server: FaultServer) -> None:
    server.script(completion("4", reasoning_content="two and two"))
    response = gateway(server, "deepseek/deepseek-reasoner").complete(HI)
    assert (response.text, response.reasoning) == ("4", "two and two")


def test_the_arguments_of_a_tool_call_are_the_text(server: FaultServer) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "reply", "arguments": '{"a": "b"}'}}
    tool = {"type": "function", "function": {"name": "reply", "parameters": SCHEMA}}
    for said in (None, "", "I will fill in the form."):
        server.script(completion(said, finish="tool_calls", tool_calls=[call]))
        response = gateway(server).complete(Request(HI.messages, SCHEMA, options={"tools": [tool]}))
        assert (response.text, response.finish) == ('{"a": "b"}', "stop")


def test_usage_counts_tokens_price_and_time(server: FaultServer) -> None:
    server.script(completion(tokens=(1000, 100)))
    usage = gateway(server).complete(HI).usage
    assert (usage.calls, usage.input_tokens, usage.output_tokens, usage.unpriced) == (1, 1000, 100, 0)
    assert usage.usd == pytest.approx(1000 * 0.15e-6 + 100 * 0.6e-6)
    assert 0 < usage.seconds < 5


def test_a_model_without_a_price_is_counted_as_such(server: FaultServer) -> None:
    usage = gateway(server, "hosted_vllm/mine").complete(HI).usage
    assert (usage.usd, usage.unpriced) == (0.0, 1)


def test_capabilities_come_from_the_table() -> None:
    known = LM("openai/gpt-4o-mini").capabilities
    assert (known.structured, known.native, known.tools, known.priced) == (True, "json_schema", True, True)
    assert (known.schemas, LM("anthropic/claude-sonnet-4-5").capabilities.schemas) == ("openai", "anthropic")
    old = LM("openai/gpt-4").capabilities
    assert (old.structured, old.native) == (False, "tools")
    assert known.context_tokens == 128_000


def test_an_unknown_model_behind_an_endpoint_of_the_user_is_trusted_with_schemas() -> None:
    own = LM("openai/my-finetune", api_base="http://127.0.0.1:9/v1").capabilities
    assert (own.structured, own.native, own.schemas, own.priced) == (True, None, "all", False)
    assert not LM("openai/my-finetune").capabilities.structured
    assert not LM("openai/my-finetune", api_base="http://127.0.0.1:9/v1", structured=False).capabilities.structured
    assert LM("hosted_vllm/mine").capabilities.structured


async def test_many_tasks_share_the_connections(server: FaultServer) -> None:
    lm = gateway(server)
    responses = await asyncio.gather(*(lm.acomplete(HI) for _ in range(30)))
    assert [r.text for r in responses] == ["hello"] * 30


def test_event_loops_and_threads_may_come_and_go(server: FaultServer) -> None:
    lm = gateway(server)
    for _ in range(3):
        assert asyncio.run(lm.acomplete(HI)).text == "hello"
    texts = list[str]()
    threads = [threading.Thread(target=lambda: texts.append(lm.complete(HI).text)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["hello"] * 5


async def test_cancelling_ends_the_call(server: FaultServer) -> None:
    server.script(Answer(hang_s=30))
    task = asyncio.create_task(gateway(server).acomplete(HI))
    while not server.count:  # noqa: ASYNC110  # it lives in another thread
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


ECHO = "Incorrect API key provided: {key}. You can find it at https://example.com"


@pytest.mark.parametrize("where", ["argument", "environment", "header"])
def test_a_key_that_the_server_echoes_is_shown_nowhere(
    server: FaultServer, where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    canary = "zz9-plural-z-alpha-canary"
    server.script(failure(401, ECHO.format(key=canary)))
    options: dict[str, Any] = {"extra_headers": {"x-api-key": canary}} if where == "header" else {}
    if where == "environment":
        monkeypatch.setenv("OPENAI_API_KEY", canary)
    key = {"argument": canary, "environment": None, "header": "other-key"}[where]
    with pytest.raises(AuthError) as caught:
        LM("openai/gpt-4o-mini", api_base=server.url, api_key=key, **options).complete(HI)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + "".join(capsys.readouterr())
    assert "Incorrect API key" in shown
    assert canary not in shown


def test_a_reply_without_end_is_not_read_to_it(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_BYTES", 1000)
    for answer in (completion("x" * 2000), streamed("x" * 700, "y" * 700)):
        server.script(answer)
        with pytest.raises(ReplyTooLarge, match="more than 1,000 bytes"):
            list(gateway(server).stream(HI)) if answer.events else gateway(server).complete(HI)


def test_a_failure_under_a_status_of_success_is_read(server: FaultServer) -> None:
    server.script(Answer(body={"error": {"message": "slow down", "code": 429}}))
    with pytest.raises(RateLimited, match="slow down"):
        gateway(server).complete(HI)


def test_a_server_that_does_not_stream_is_read_all_the_same(server: FaultServer) -> None:
    server.script(completion("all in one"))
    assert [chunk.text for chunk in gateway(server).stream(HI)] == ["all in one", ""]


def test_a_redirection_is_not_followed_with_the_key(server: FaultServer) -> None:
    server.script(Answer(302, {}, {"Location": server.url}))
    with pytest.raises(BadRequest, match="302"):
        gateway(server).complete(HI)
    assert server.count == 1


def test_credentials_in_the_address_are_used_and_never_shown(server: FaultServer) -> None:
    url = server.url.replace("//", "//someone:canary-of-the-address@")
    assert Gateway("hosted_vllm/m", {}, url, KEY).complete(HI).text == "hello"
    assert server.headers[0]["authorization"].startswith("Basic ")
    server.script(failure(404, "no such path"))
    with pytest.raises(UnknownModel) as caught:
        Gateway("hosted_vllm/m", {}, url, KEY).complete(HI)
    assert "canary" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("option", [object(), {1, 2}])
def test_an_option_that_is_no_json_is_a_bad_request(server: FaultServer, option: object) -> None:
    with pytest.raises(BadRequest):
        gateway(server, "hosted_vllm/m", odd=option).complete(HI)
    assert server.count == 0


def test_an_address_that_is_none_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOSTED_VLLM_API_BASE", raising=False)
    with pytest.raises(BadRequest, match="api_base="):
        Gateway("hosted_vllm/m").complete(HI)
    with pytest.raises(TransportError, match="check api_base"):
        Gateway("hosted_vllm/m", {}, "no address at all").complete(HI)


ALONE = """
import sys
sys.modules["litellm"] = None
import declm as dm
lm = dm.LM("openai/mine", api_base=sys.argv[1], api_key="k", cache=False, temperature=0.1)
print(dm.Predict("question -> answer", lm=lm)(question="hi").answer)
print([c.text for c in lm.stream(dm.Request((dm.Message("user", "hi"),)))])
try:
    dm.LM("anthropic/claude-sonnet-4-5", api_key="k").complete(dm.Request((dm.Message("user", "hi"),)))
except dm.UnknownModel as error:
    print(error)
"""


def test_servers_of_openais_wire_are_asked_without_litellm(server: FaultServer) -> None:
    server.script(completion('{"answer": "here"}'))
    command = [sys.executable, "-W", "error", "-c", ALONE, server.url]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    answer, pieces, refusal = ran.stdout.splitlines() or ["", "", ran.stderr]
    assert (answer, pieces) == ("here", "['{\"answer\": \"here\"}', '']")
    assert "needs litellm" in refusal
    assert server.bodies[0]["temperature"] == 0.1


CTRL_C = """
import sys, time
from declm.lm import LM, connections
from declm.lm.library import load
from declm.messages import Message, Request
load()
print("ready", flush=True)
try:
    LM("openai/gpt-4o-mini", api_base=sys.argv[1], api_key="k", cache=False).complete(Request((Message("user", "hi"),)))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.timeout(180)  # the child imports litellm
@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_ctrl_c_ends_a_call_to_a_hung_server(server: FaultServer) -> None:
    server.script(Answer(hang_s=60))
    with subprocess.Popen([sys.executable, "-c", CTRL_C, server.url], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        while not server.count:
            time.sleep(0.02)
        sent_s = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "interrupted\n"
        assert time.monotonic() - sent_s < 1.0 + SLACK_S
        assert child.wait(60) == 0  # tearing litellm's modules down alone takes two seconds


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_makes_its_own_connections(server: FaultServer, tmp_path: Path) -> None:
    lm = LM("openai/gpt-4o-mini", api_base=server.url, api_key=KEY, deadline=10)
    lm.commit(HI, lm.complete(HI))
    other = Request((Message("user", "from the child"),))
    report = tmp_path / "child.json"
    child = os.fork()
    if not child:
        try:
            report.write_text(json.dumps([lm.complete(HI).cached, lm.complete(other).text]))
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert json.loads(report.read_text()) == [True, "hello"]
    assert lm.complete(HI).cached
    assert server.count == 2


def test_proxies_of_the_environment_are_used(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = server.url.removesuffix("/v1")
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    far = LM("openai/gpt-4o-mini", api_base="http://127.0.0.1:9/v1", api_key=KEY, cache=False, attempts=1)
    with pytest.raises(TransportError):
        far.complete(HI)
    monkeypatch.setenv("http_proxy", proxy.replace("://", "://someone:secret@"))
    server.script(completion("by the proxy"))
    assert far.complete(HI).text == "by the proxy"
    assert server.headers[0]["host"] == "127.0.0.1:9"
    assert server.headers[0]["proxy-authorization"].startswith("Basic ")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(TransportError):
        far.complete(HI)
    assert server.count == 1
