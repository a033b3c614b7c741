"""What `auto` takes, what it says about it, and what it does when a provider refuses."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import declm as dm
from declm.errors import BadRequest
from declm.messages import Capabilities, NativeMode, Request
from declm.testing import FunctionLM, ScriptedLM

ABLE = Capabilities(structured=True, tools=True, native="json_schema")
REFUSAL = BadRequest("'response_format' is not supported")


def _refusing(capabilities: Capabilities = ABLE, name: str = "refusing") -> FunctionLM:
    """An LM whose provider takes neither a schema nor tools, whatever the table says."""

    def answer(request: Request) -> str:
        if request.schema is not None or request.options.keys() & {"response_format", "tools"}:
            raise REFUSAL
        return '{"answer": "yes"}'

    return FunctionLM(answer, name=name, capabilities=capabilities)


def _ask(lm: Any, **options: Any) -> Any:
    return dm.Predict("question -> answer", lm=lm, **options)


def _said(log: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in log.records if record.name == "declm" and record.levelno == level]


@pytest.mark.parametrize(
    ("native", "format", "why"),
    [
        ("json_schema", "native", "its provider holds replies to a JSON schema"),
        ("tools", "native", "its provider takes tools"),
        ("json", "native", "its provider has a JSON mode"),
        (None, "json", "nothing is known of structured output in its provider's API"),
    ],
)
def test_the_choice_is_logged_once_per_predictor_and_lm(
    native: NativeMode | None, format: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="declm")
    lm = FunctionLM(lambda request: '{"answer": "yes"}', name="m", capabilities=Capabilities(native=native))
    ask = _ask(lm)
    for _ in range(3):
        ask(question="?")
    assert ask.format_name == format
    expected = f"Predict(Question: question -> answer): format {format!r} for m, since {why}"
    assert [line.partition(": ")[2] for line in _said(caplog, logging.INFO)] == [expected.partition(": ")[2]]
    with dm.context(lm=ScriptedLM([], name="other")):
        assert dm.Predict("question -> answer").format_name == "json"
    assert len(_said(caplog, logging.INFO)) == 2


def test_a_format_that_is_named_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="declm")
    _ask(FunctionLM(lambda request: "yes"), format="chat")(question="?")
    assert not caplog.records


@pytest.mark.parametrize("call", [lambda ask: ask(question="?"), lambda ask: asyncio.run(ask.acall(question="?"))])
@pytest.mark.parametrize("native", ["json_schema", "tools", "json", None])
def test_a_refusal_falls_back_once_and_for_good(
    call: Callable[[Any], Any], native: NativeMode | None, caplog: pytest.LogCaptureFixture
) -> None:
    lm = _refusing(Capabilities(structured=True, native=native))
    ask = _ask(lm)
    assert call(ask).answer == "yes"
    assert ask.format_name == "json"
    assert call(ask).answer == "yes"
    assert [request.schema is None and not request.options for request in lm.requests] == [False, True, True]
    (warning,) = _said(caplog, logging.WARNING)
    assert "refusing refuses the format" in warning
    assert "'json' is used from now on" in warning
    assert "'response_format' is not supported" in warning


def test_another_lm_is_asked_in_its_own_mode() -> None:
    first, second = _refusing(name="first"), _refusing(name="second")
    ask = dm.Predict("question -> answer")
    for lm, calls in ((first, 2), (second, 2), (first, 3)):
        with dm.context(lm=lm):
            ask(question="?")
        assert len(lm.requests) == calls


def test_a_copy_knows_what_was_refused() -> None:
    lm = _refusing()
    ask = dm.Predict("question -> answer")
    with dm.context(lm=lm):
        ask(question="?")
        for other in (copy.copy(ask), copy.deepcopy(ask), ask.with_instructions("Say yes.")):
            before = len(lm.requests)
            other(question="?")
            assert len(lm.requests) == before + 1


def test_a_predictor_that_has_chosen_can_be_pickled() -> None:
    with dm.context(lm=_refusing()):
        ask = dm.Predict("question -> answer")
        ask(question="?")
        assert pickle.loads(pickle.dumps(ask._planner._choices)).keys() == ask._planner._choices.keys()


def test_a_refusal_of_both_is_raised_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    lm = ScriptedLM([REFUSAL, REFUSAL, '{"answer": "yes"}'], capabilities=ABLE)
    ask = _ask(lm)
    with pytest.raises(BadRequest, match="not supported"):
        ask(question="?")
    assert ask.format_name == "native"
    assert ask(question="?").answer == "yes"
    assert not _said(caplog, logging.WARNING)


@pytest.mark.parametrize("format", ["native", "json"])
def test_a_format_that_is_named_never_falls_back(format: str) -> None:
    lm = _refusing()
    with pytest.raises(BadRequest):
        _ask(lm, format=format)(question="?")
    assert len(lm.requests) == 1


def test_an_lm_that_is_held_to_nothing_has_nothing_to_fall_back_to() -> None:
    lm = ScriptedLM([REFUSAL])
    with pytest.raises(BadRequest):
        _ask(lm)(question="?")


def test_other_failures_do_not_change_the_format() -> None:
    lm = ScriptedLM([dm.RateLimited("slow down")], capabilities=ABLE)
    with pytest.raises(dm.RateLimited):
        _ask(lm)(question="?")
    assert _ask(lm).format_name == "native"


def test_re_asks_after_a_fallback_go_on_in_the_same_format() -> None:
    lm = ScriptedLM([REFUSAL, "no idea", '{"answer": "yes"}'], capabilities=ABLE)
    assert _ask(lm)(question="?").answer == "yes"
    assert [message.role for message in lm.requests[2].messages] == ["system", "user", "assistant", "user"]
