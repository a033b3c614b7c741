"""What callbacks are told, by whom, and what they can't break."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from fault_server import completion, failure, serving

import declm as dm
from declm.errors import ServerError
from declm.events import (
    CallEnded,
    CallStarted,
    Event,
    ReplyRead,
    RequestEnded,
    RequestStarted,
    Retrying,
    Waited,
)
from declm.testing import FunctionLM, ScriptedLM


class Twice(dm.Module):
    """Two steps."""

    def __init__(self, lm: Any = None) -> None:
        self.first = dm.Predict("text -> summary", lm=lm)
        self.second = dm.Predict("text -> summary", lm=lm)

    def forward(self, text: str) -> str:
        return self.second(text=self.first(text=text).summary).summary


class ATwice(Twice):
    """The same for asyncio."""

    async def forward(self, text: str) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return (await self.second.acall(text=(await self.first.acall(text=text)).summary)).summary


def lm() -> FunctionLM:
    return FunctionLM(lambda _request: '{"summary": "short"}')


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


STEP = ["CallStarted", "RequestStarted", "RequestEnded", "ReplyRead", "CallEnded"]


def check_tree(events: list[Event]) -> None:
    """Every span has one start and one end, around all that names it as its parent."""
    started, ended = dict[str, Event](), set[str]()
    for event in events:
        if isinstance(event, (CallEnded, RequestEnded)):
            assert started[event.span].parent == event.parent
            ended.add(event.span)
        elif isinstance(event, (CallStarted, RequestStarted)):
            assert event.span not in started
            started[event.span] = event
            assert event.parent is None or (event.parent in started and event.parent not in ended)
        else:
            assert event.span in started
            assert event.span not in ended
    assert set(started) == ended


def test_a_program_tells_of_its_steps() -> None:
    events = list[Event]()
    with dm.context(callbacks=[events.append], lm=lm()):
        Twice()(text="long")
    assert kinds(events) == ["CallStarted", *STEP, *STEP, "CallEnded"]
    check_tree(events)
    last = events[-2]
    assert isinstance(last, CallEnded)
    assert (last.name, last.is_predictor, last.error) == ("Predict", True, None)
    assert (last.inputs, last.outputs) == ({"text": "short"}, {"summary": "short"})
    assert last.usage.calls == 1
    assert events[-1].usage.calls == 2  # type: ignore[attr-defined]  # a CallEnded


def test_paths_are_known_where_the_program_is_run() -> None:
    events = list[Event]()
    with dm.context(callbacks=[events.append]):
        Twice(lm()).run(text="long")
    assert [event.path for event in events if type(event) is CallStarted] == ["self", "first", "second"]
    check_tree(events)


async def test_tasks_and_threads_have_their_own_spans() -> None:
    events = list[Event]()
    with dm.context(callbacks=[events.append], lm=lm()):
        await asyncio.gather(
            *(ATwice().acall(text=f"{n}") for n in range(10)), *(Twice().acall(text="t") for _ in range(5))
        )
        thread = threading.Thread(target=dm.carry(lambda: Twice()(text="long")))
        thread.start()
        thread.join()
    check_tree(events)
    assert len([event for event in events if isinstance(event, CallEnded) and not event.is_predictor]) == 16
    requests = [event for event in events if type(event) is RequestStarted]
    assert len({event.span for event in requests}) == 32


async def test_streams_tell_the_same() -> None:
    events = list[Event]()
    predict = dm.Predict("text -> summary", lm=lm())
    with dm.context(callbacks=[events.append]):
        list(predict.stream(text="long"))
        async for _ in predict.astream(text="long"):
            pass
    assert kinds(events) == [*STEP, *STEP]
    check_tree(events)


def test_an_error_ends_all_spans() -> None:
    def fail(_request: dm.Request) -> str:
        raise ServerError("down", status=500)

    events = list[Event]()
    with dm.context(callbacks=[events.append]), pytest.raises(ServerError):
        Twice(FunctionLM(fail))(text="long")
    check_tree(events)
    assert [type(event.error).__name__ for event in events if isinstance(event, (CallEnded, RequestEnded))] == [
        "ServerError"
    ] * 3


def test_what_was_mended_and_asked_again_is_told() -> None:
    events = list[Event]()
    scripted = ScriptedLM(["no json", "{answer: 4,}"])
    with dm.context(callbacks=[events.append]):
        dm.Predict("question -> answer: int", lm=scripted, format="json")(question="2 + 2?")
    bad, good = (event for event in events if isinstance(event, ReplyRead))
    assert bad.problem
    assert not bad.repairs
    assert good.repairs
    assert not good.problem
    check_tree(events)


def test_retries_and_waits_are_told(tmp_path: Path) -> None:
    events = list[Event]()
    with serving() as server:
        server.script(failure(429, "slow down", headers={"Retry-After": "0.2"}), completion('{"answer": "yes"}'))
        lm = dm.LM("openai/gpt-4o-mini", api_base=server.url, api_key="k", cache=tmp_path / "replies.db", concurrency=1)
        predict = dm.Predict("question -> answer", lm=lm)
        with dm.context(callbacks=[events.append]):
            predict(question="first")
            predict(question="first")
            predict.map([{"question": f"{n}"} for n in range(3)])
    check_tree(events)
    (retry,) = (event for event in events if isinstance(event, Retrying))
    assert (retry.attempt, type(retry.error).__name__) == (1, "RateLimited")
    assert retry.wait_s >= 0.2
    answers = [event.response for event in events if isinstance(event, RequestEnded)]
    assert [answer is not None and answer.cached for answer in answers] == [False, True, False, False, False]
    assert any(isinstance(event, Waited) and event.seconds > 0 for event in events)


def test_sensitive_words_are_in_no_event() -> None:
    class Secret(dm.Signature):
        """Answer."""

        diagnosis: str = dm.Input(sensitive=True)
        answer: int = dm.Output()

    events = list[Event]()
    replies = ["no number in the canary", '{"answer": 4}']
    with dm.context(callbacks=[events.append]):
        dm.Predict(Secret, lm=ScriptedLM(replies))(diagnosis="a canary")
    assert len(events) > 5
    assert "canary" not in repr(events)


def test_a_callback_that_raises_breaks_nothing_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_event: Event) -> None:
        raise ZeroDivisionError("unique words of this test")

    events = list[Event]()
    with dm.context(callbacks=[broken, events.append], lm=lm()):
        assert Twice()(text="long") == "short"
    assert len(events) == 12
    assert sum("unique words of this test" in record.getMessage() for record in caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING


def test_callbacks_of_contexts_add_up_and_configure_replaces() -> None:
    one, two, three = list[Event](), list[Event](), list[Event]()
    dm.configure(callbacks=[one.append], lm=lm())
    with dm.context(callbacks=[two.append]):
        Twice()(text="long")
    assert one == two
    dm.configure(callbacks=[three.append])
    Twice()(text="long")
    assert (len(one), len(three)) == (12, 12)
    dm.configure(callbacks=[])
    Twice()(text="long")
    assert len(three) == 12


@pytest.mark.parametrize("callbacks", [print, [1], "print", [print, None]])
def test_what_can_not_be_called_is_refused(callbacks: Any) -> None:
    with pytest.raises(dm.UsageError, match="callbacks="):
        dm.configure(callbacks=callbacks)
