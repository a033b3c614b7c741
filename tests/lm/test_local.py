"""The local engine on a real model: answers, constraints, limits, interruption, forks, exit."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from declm import settings
from declm.errors import ContextTooLong, DeadlineExceeded
from declm.lm import LM
from declm.lm.engine import Engine
from declm.lm.local import Local
from declm.messages import Chunk, Message, Request, Response
from declm.usage import Budget, Meter

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SLACK_S = 3.0  # for a busy machine
SUM = Request((Message("user", "What is 2+2?"),))
STORY = Request((Message("user", "Tell me a long story about a tree."),), options={"max_tokens": 1000})


@pytest.fixture(scope="module")
def model(gguf: Path) -> str:
    """The name of the model, by path."""
    return f"local/{gguf}"


@pytest.fixture(scope="module")
def lm(model: str) -> LM:
    """The model on one thread, uncached."""
    return LM(model, threads=1, cache=False, max_tokens=40)


@pytest.fixture(scope="module")
def engine(gguf: Path) -> Engine:
    """The engine that `lm` uses."""
    return Local(str(gguf), {"threads": 1}).engine()


def test_it_answers_and_counts(lm: LM) -> None:
    response = lm.complete(SUM)
    assert "4" in response.text
    assert response.finish == "stop"
    assert (response.usage.calls, response.usage.usd, response.usage.unpriced) == (1, 0.0, 0)
    assert 20 < response.usage.input_tokens < 60
    assert 3 < response.usage.output_tokens < 40
    assert response.usage.seconds > 0


def test_it_is_greedy_by_default(lm: LM) -> None:
    assert lm.complete(SUM).text == lm.complete(SUM).text


def test_samples_of_one_seed_differ_and_repeat(lm: LM) -> None:
    def sample(index: int) -> str:
        options = {"temperature": 1.5, "seed": 7, "max_tokens": 12}
        return lm.complete(Request(STORY.messages, options=options, sample=index)).text

    assert len({sample(0), sample(1), sample(2)}) == 3


def test_a_cut_reply_says_so(lm: LM) -> None:
    response = lm.complete(Request(STORY.messages, options={"max_tokens": 5}))
    assert (response.finish, response.usage.output_tokens) == ("length", 5)


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


NODE = _object(name={"type": "string", "maxLength": 8}, age={"type": "integer"})
SCHEMAS = [
    _object(team={"enum": ["billing", "bugs"]}, urgency={"type": "integer", "minimum": 1, "maximum": 5}),
    _object(sure={"type": "boolean"}, score={"type": "number"}),
    _object(count={"type": "integer"}, more={"type": "array", "items": {"type": "integer"}, "maxItems": 2}),
    _object(maybe={"anyOf": [{"type": "integer", "maximum": 9}, {"type": "null"}]}),
    _object(tags={"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True, "maxItems": 2}),
    _object(day={"type": "string", "format": "date"}),
    _object(code={"type": "string", "pattern": "^[A-Z]{2}[0-9]{3}$"}),
    _object(data={"type": "string", "format": "binary", "maxLength": 5}),
    {**_object(root={"$ref": "#/$defs/Node"}), "$defs": {"Node": NODE}},
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_schema_holds_the_reply(lm: LM, schema: dict[str, Any]) -> None:
    response = lm.complete(Request((Message("user", "Fill in the form."),), schema))
    value = json.loads(response.text)
    assert list(value) == schema["required"]


def test_a_response_format_holds_the_reply_likewise(lm: LM) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMAS[0]}}
    response = lm.complete(Request(SUM.messages, options={"response_format": wanted}))
    assert json.loads(response.text)["team"] in ("billing", "bugs")


def test_constrained_replies_waste_no_white_space(lm: LM) -> None:
    text = lm.complete(Request((Message("user", "Fill in the form."),), SCHEMAS[0])).text
    assert text == json.dumps(json.loads(text))


def test_a_prompt_that_is_too_long_says_what_to_do(lm: LM) -> None:
    with pytest.raises(ContextTooLong, match="fewer or shorter demonstrations"):
        lm.complete(Request((Message("user", "word " * 9000),)))


def test_capabilities_are_read_from_the_file(lm: LM) -> None:
    found = lm.capabilities
    assert (found.structured, found.priced, found.context_tokens, found.concurrency) == (True, True, 8192, 1)


def test_all_users_of_a_file_share_one_engine(gguf: Path, engine: Engine, tmp_path: Path) -> None:
    link = tmp_path / "other.gguf"
    link.symlink_to(gguf)
    assert Local(str(link), {"threads": 1}).engine() is engine


def test_prompts_that_take_turns_keep_their_prefixes_warm(engine: Engine) -> None:
    def cached(prefix: str, question: str) -> int:
        messages = [{"role": "system", "content": prefix * 20}, {"role": "user", "content": question}]
        body = {"messages": messages, "max_tokens": 1, "temperature": 0}
        chunks = engine.submit(body, lambda: False).result()
        usage = next(c["usage"] for c in chunks if c.get("usage"))
        return usage["prompt_tokens_details"]["cached_tokens"]

    one, other = "You sort letters by team. ", "Apples are sold by weight. "
    assert [cached(p, "first") for p in (one, other)]
    assert cached(one, "second") > 100
    assert cached(other, "second") > 100


def test_the_deadline_holds_and_the_engine_goes_on(model: str, lm: LM) -> None:
    hurried = LM(model, threads=1, cache=False, deadline=0.6)
    lm.complete(SUM)
    began_s = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        hurried.complete(STORY)
    assert time.monotonic() - began_s < 0.6 + SLACK_S
    assert "4" in lm.complete(SUM).text


async def test_cancelling_frees_the_engine(lm: LM) -> None:
    began_s = time.monotonic()
    lm.complete(SUM)
    usual_s = time.monotonic() - began_s
    task = asyncio.create_task(lm.acomplete(STORY))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    began_s = time.monotonic()
    assert "4" in (await lm.acomplete(SUM)).text
    assert time.monotonic() - began_s < 5 * usual_s + SLACK_S


async def test_more_tasks_than_slots_wait_for_their_turn(lm: LM) -> None:
    short = [Request((Message("user", f"Say {i}."),), options={"max_tokens": 3}) for i in range(6)]
    responses = await asyncio.gather(*(lm.acomplete(r) for r in short))
    assert all(r.usage.output_tokens <= 3 for r in responses)


def test_threads_share_the_engine(lm: LM) -> None:
    texts = list[str]()
    threads = [threading.Thread(target=lambda: texts.append(lm.complete(SUM).text)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(texts)) == 1


def _texts(chunks: list[Chunk]) -> tuple[str, Response]:
    assert chunks[-1].response is not None
    return "".join(chunk.text for chunk in chunks), chunks[-1].response


async def test_a_stream_gives_the_reply_token_by_token(lm: LM) -> None:
    whole = lm.complete(SUM)
    for chunks in (list(lm.stream(SUM)), [chunk async for chunk in lm.astream(SUM)]):
        text, response = _texts(chunks)
        assert text == response.text == whole.text
        assert (response.finish, response.usage.tokens) == (whole.finish, whole.usage.tokens)
        assert len(chunks) > 5


def test_the_first_token_comes_long_before_the_last(lm: LM) -> None:
    times = [time.monotonic() for _ in lm.stream(Request(STORY.messages, options={"max_tokens": 60}))]
    assert times[-1] - times[0] > 10 * (times[1] - times[0])


@pytest.mark.parametrize("tokens", [1, 3])
async def test_closing_a_stream_frees_the_engine(lm: LM, tokens: int) -> None:
    meter = Meter(Budget())
    with settings.metered(meter):
        chunks = lm.stream(STORY)
        assert all(next(chunks).text for _ in range(tokens))
        chunks.close()
        later = lm.astream(STORY)
        assert all([(await anext(later)).text for _ in range(tokens)])
        await later.aclose()
    assert meter.spent.calls == 2
    assert meter.spent.output_tokens >= 2
    began_s = time.monotonic()
    assert "4" in lm.complete(SUM).text
    assert time.monotonic() - began_s < 1.0 + SLACK_S  # the whole story takes half a minute


async def test_cancelling_a_stream_frees_the_engine(lm: LM) -> None:
    async def read() -> None:
        async for _ in lm.astream(STORY):
            pass

    task = asyncio.create_task(read())
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    began_s = time.monotonic()
    assert "4" in lm.complete(SUM).text
    assert time.monotonic() - began_s < 1.0 + SLACK_S


def test_a_prompt_that_is_too_long_is_refused_in_a_stream_too(lm: LM) -> None:
    with pytest.raises(ContextTooLong, match="fewer or shorter demonstrations"):
        next(lm.stream(Request((Message("user", "word " * 9000),))))


def test_the_deadline_holds_in_a_stream(model: str) -> None:
    hurried = LM(model, threads=1, cache=False, deadline=0.6)
    with pytest.raises(DeadlineExceeded):
        list(hurried.stream(STORY))


def test_a_slow_reader_takes_no_time_of_the_model(model: str) -> None:
    patient = LM(model, threads=1, cache=False, deadline=5.0, max_tokens=10)
    chunks = patient.stream(SUM)
    next(chunks)
    time.sleep(6.0)
    assert _texts(list(chunks))[1].usage.seconds < 5.0


def _script(body: str, gguf: Path) -> subprocess.Popen[str]:
    head = (
        "import os, sys, time\nfrom declm.lm import LM\nfrom declm.messages import Message, Request\n"
        "lm = LM('local/' + sys.argv[1], threads=1, cache=False, max_tokens=30)\n"
        "ask = lambda text, **o: lm.complete(Request((Message('user', text),), options=o))\n"
    )
    command = [sys.executable, "-W", "error", "-c", head + body, str(gguf)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_program_ends_cleanly_quietly_and_without_litellm(gguf: Path) -> None:
    body = "ask('What is 2+2?')\nprint(sorted({'litellm', 'openai', 'numpy'} & set(sys.modules)))"
    with _script(body, gguf) as child:
        out, err = child.communicate(timeout=250)
    assert (child.returncode, out, err) == (0, "[]\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_ctrl_c_ends_a_call_and_the_program(gguf: Path) -> None:
    body = (
        "ask('hi')\nprint('ready', flush=True)\n"
        "try:\n    ask('Tell me a long story.', max_tokens=4000)\n"
        "except KeyboardInterrupt:\n    print('interrupted', flush=True)\n"
    )
    with _script(body, gguf) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.5)
        sent_s = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "interrupted\n"
        assert time.monotonic() - sent_s < 1.0 + SLACK_S
        assert child.wait(10) == 0  # the whole story would take a minute


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_makes_its_own_engine_and_ends(gguf: Path) -> None:
    body = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "text = ask('What is 2+2?').text\n"
        "child = os.fork()\n"
        "if not child:\n    sys.exit(0 if ask('What is 2+2?').text == text else 3)\n"
        "status = os.waitpid(child, 0)[1]\n"
        "idle = os.fork()\n"
        "if not idle:\n    sys.exit(0)\n"
        "print(status, os.waitpid(idle, 0)[1], ask('What is 2+2?').text == text)\n"
    )
    with _script(body, gguf) as child:
        out, err = child.communicate(timeout=250)
    assert (child.returncode, out, err) == (0, "0 0 True\n", "")
