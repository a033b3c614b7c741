"""What the history keeps, what it lets go, and what it never holds."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import declm as dm
from declm.history import CallHistory
from declm.testing import FunctionLM


def asked(history: CallHistory, *questions: str, lm: Any = None) -> None:
    """Ask with the history in force."""
    answering = lm or FunctionLM(lambda request: f'{{"answer": "to {request.messages[-1].content[10:]}"}}')
    with dm.context(callbacks=[history], lm=answering):
        for question in questions:
            dm.Predict("question -> answer")(question=question)


def held(history: CallHistory) -> int:
    """Bytes of all prompts and replies in it."""
    texts = [message.content for event in history for message in event.request.messages]
    return sum(len(text.encode()) for text in texts + [event.response.text for event in history if event.response])


def test_requests_are_kept_in_order_and_shown() -> None:
    history = CallHistory()
    asked(history, "first", "second")
    assert [event.request.messages[-1].content for event in history] == ["question: first", "question: second"]
    assert history[-1].response is not None
    assert history[-1].response.text == '{"answer": "to second"}'
    shown = str(history)
    assert shown.index("question: first") < shown.index('{"answer": "to first"}') < shown.index("question: second")
    assert "[system]" in shown
    history.clear()
    assert (len(history), history.bytes, str(history)) == (0, 0, "")


def test_it_never_holds_more_than_it_may() -> None:
    history, most = CallHistory(max_bytes=5_000), 0
    for n in range(200):
        asked(history, f"{n} " + "é" * (n * 7 % 400))
        most = max(most, history.bytes)
        assert history.bytes == held(history)
    assert 3_000 < most <= 5_000
    assert history[-1].request.messages[-1].content.startswith("question: 199 ")
    asked(history, "x" * 6_000)
    assert (len(history), history.bytes) == (0, 0)


def test_failures_are_part_of_it() -> None:
    def fail(_request: dm.Request) -> str:
        raise dm.ServerError("it broke", model="m")

    history = CallHistory()
    with pytest.raises(dm.ServerError):
        asked(history, "?", lm=FunctionLM(fail))
    assert "[ServerError]\nit broke" in str(history)


def test_sensitive_values_are_not_in_it() -> None:
    class Secret(dm.Signature):
        """Answer."""

        diagnosis: str = dm.Input(sensitive=True)
        answer: str = dm.Output()

    history = CallHistory()
    with dm.context(callbacks=[history], lm=FunctionLM(lambda _request: '{"answer": "the canary too"}')):
        dm.Predict(Secret)(diagnosis="the canary")
    assert len(history) == 1
    assert "canary" not in str(history)
    assert "canary" not in repr(list(history))


def test_threads_may_share_it() -> None:
    history = CallHistory(max_bytes=20_000)
    threads = [threading.Thread(target=asked, args=(history, *(f"{n}/{i}" for i in range(50)))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < history.bytes <= 20_000
    assert history.bytes == held(history)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, None])
def test_the_bound_is_a_whole_number_from_1(value: Any) -> None:
    with pytest.raises(dm.UsageError, match="max_bytes"):
        CallHistory(value)
