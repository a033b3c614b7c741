"""What all formats have in common: round trips, choice, options, re-asks, what is cached."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prompt_cases import EVERYTHING, TRIAGE_DEMOS, Everything, Plain, Triage, prompt

from declm.demo import Demo
from declm.errors import ParseError, UsageError
from declm.fields import Input, Output
from declm.formats import Prompt, choose
from declm.messages import Capabilities, Message, Response
from declm.protocols import Format, is_drafting
from declm.signature import Signature
from declm.specs import spec

FORMATS = ["json", "chat", "xml", "native", "two_step"]


def _ideal(format: Format, shown: Prompt, inputs: dict[str, Any], outputs: dict[str, Any]) -> str:
    """The ideal reply: what a demonstration with these outputs would show, or say to an extraction."""
    if is_drafting(format):
        return format.answer(shown, outputs)
    demos = (Demo(inputs=inputs, outputs=outputs),)
    taught = Prompt(shown.spec, shown.state.model_copy(update={"demos": demos}), reasoning=shown.reasoning)
    return format.render(taught, inputs).messages[2].content


@pytest.fixture(params=FORMATS)
def format(request: pytest.FixtureRequest) -> Format:
    return choose(request.param, Capabilities())


@pytest.mark.parametrize("outputs", EVERYTHING)
def test_an_ideal_reply_is_read_back_as_it_was(format: Format, outputs: dict[str, Any]) -> None:
    shown = prompt(Everything)
    found = format.parse(shown, Response(_ideal(format, shown, {"text": "x"}, outputs))).values
    assert found == outputs
    row = shown.spec.complete(Everything(text="x"), found)
    assert shown.spec.dump(row)[1] == outputs


_TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(
        st.sampled_from(
            ["[[", "]]", ":", "answer", "why", "\n", "\r", "\u2028", "\\", '"', " ", "```", "{", "}", "null", "1"]
            + ["<answer>", "</answer>", "</ WHY >", "<Why/>", "\\<why>", "<", "</", "/", ">", "<draft>", "</draft>"]
        )
    ).map("".join),
)


@settings(deadline=None)  # the machine may be busy; speed has tests of its own
@example(answer=": a colon", why="null", words=[])
@given(answer=_TEXTS, why=st.one_of(st.none(), _TEXTS), words=st.lists(_TEXTS, max_size=3))
def test_any_text_is_read_back_as_it_was(answer: str, why: str | None, words: list[str]) -> None:
    outputs = {"answer": answer, "why": why, "words": words}
    for name in FORMATS:
        format, shown = choose(name, Capabilities()), prompt(Talk)
        assert format.parse(shown, Response(_ideal(format, shown, {"question": answer}, outputs))).values == outputs


@settings(deadline=None)  # the machine may be busy; speed has tests of its own
@given(answer=_TEXTS)
def test_any_lone_text_is_read_back_as_it_was(answer: str) -> None:
    for name in FORMATS:
        format, shown = choose(name, Capabilities()), prompt(Plain)
        reply = _ideal(format, shown, {"question": "?"}, {"answer": answer})
        assert format.parse(shown, Response(reply)).values == {"answer": answer}


class Talk(Signature):
    """Talk."""

    question: str
    answer: str = Output()
    why: str | None = Output()
    words: list[str] = Output()


def test_the_reasoning_is_written_first_and_read(format: Format) -> None:
    shown = prompt(Triage, reasoning="rationale")
    reply = _ideal(format, shown, {"ticket": "?"}, {"team": "bugs", "urgency": 2, "rationale": "because\nit is"})
    assert reply.index("rationale") < reply.index("team")
    assert format.parse(shown, Response(reply)).values == {"rationale": "because\nit is", "team": "bugs", "urgency": 2}


def test_an_incomplete_demo_shows_the_outputs_it_has(format: Format) -> None:
    reply = _ideal(format, prompt(Triage), {"ticket": "?"}, {"urgency": 2})
    assert "urgency" in reply
    assert "team" not in reply


def test_a_demo_without_any_output_is_left_out(format: Format) -> None:
    shown = prompt(Triage, demos=(Demo(inputs={"ticket": "?"}, outputs={"other": 1}),))
    assert [m.role for m in format.render(shown, {"ticket": "?"}).messages] == ["system", "user"]


def test_the_constant_prefix_is_rendered_once(format: Format) -> None:
    shown = prompt(Triage, demos=TRIAGE_DEMOS * 32)
    first = format.render(shown, {"ticket": "a"}).messages
    second = format.render(shown, {"ticket": "b"}).messages
    assert len(first) == 130
    assert all(one is other for one, other in zip(first[:-1], second[:-1], strict=True))
    assert "ticket: b" in second[-1].content


def test_nothing_follows_the_inputs(format: Format) -> None:
    last = format.render(prompt(Triage), {"ticket": "Help", "history": []}).messages[-1]
    assert last == Message("user", "ticket: Help\nhistory: []")


def test_a_reask_keeps_what_was_sent_and_gives_the_reason(format: Format) -> None:
    shown = prompt(Triage)
    request = format.render(shown, {"ticket": "?"})
    again = format.reask(shown, request, Response("nonsense"), "urgency: Input should be at most 5")
    assert again.messages[: len(request.messages)] == request.messages
    assert again.messages[-2] == Message("assistant", "nonsense")
    assert "urgency: Input should be at most 5" in again.messages[-1].content
    assert (again.schema, again.options) == (request.schema, request.options)


def test_a_reask_after_an_empty_reply_sends_no_empty_message(format: Format) -> None:
    shown = prompt(Triage)
    again = format.reask(shown, format.render(shown, {"ticket": "?"}), Response(" \n"), "empty")
    assert [message.role for message in again.messages] == ["system", "user", "user"]


def test_options_of_the_state_are_sent(format: Format) -> None:
    shown = prompt(Plain, options={"temperature": 0.5})
    assert format.render(shown, {"question": "?"}).options["temperature"] == 0.5


def test_the_schema_is_sent_where_the_lm_takes_one() -> None:
    able, unable = prompt(Triage), Prompt(spec(Triage))
    inputs = {"ticket": "?"}
    for name, has_schema in (("json", True), ("native", True), ("chat", False), ("xml", False), ("two_step", False)):
        format = choose(name, Capabilities())
        assert (format.render(able, inputs).schema is not None) is has_schema
        assert format.render(unable, inputs).schema is None


def test_a_sensitive_input_keeps_the_call_out_of_the_cache(format: Format) -> None:
    class Secret(Signature):
        password: str = Input(sensitive=True)
        answer: str = Output()

    assert not format.render(prompt(Secret), {"password": "x"}).cacheable
    assert format.render(prompt(Plain), {"question": "x"}).cacheable


@pytest.mark.parametrize("reply", ["", "   ", "[]", "42", "nonsense", "{", '{"a": ' * 300, "{" * 5000, "[[[["])
def test_a_reply_that_holds_nothing_is_a_parse_error(format: Format, reply: str) -> None:
    with pytest.raises(ParseError):
        format.parse(prompt(Triage), Response(reply))


@settings(deadline=None)  # the machine may be busy; speed has tests of its own
@given(reply=st.text())
def test_any_reply_is_read_or_a_parse_error(reply: str) -> None:
    for name in FORMATS:
        for signature in (Plain, Triage):
            with contextlib.suppress(ParseError):
                choose(name, Capabilities()).parse(prompt(signature), Response(reply))


@pytest.mark.parametrize("signature", [Triage, Plain])
def test_extra_members_of_a_reply_are_dropped(signature: Any) -> None:
    shown = prompt(signature)
    reply = json.dumps(
        dict.fromkeys(shown.keys, "bugs") | {"extra": 1} | ({"urgency": 2} if signature is Triage else {})
    )
    assert set(choose("json", Capabilities()).parse(shown, Response(reply)).values) == set(shown.keys)


class TestChoice:
    def test_auto_and_none_take_what_suits_the_lm(self) -> None:
        for name in (None, "auto"):
            assert choose(name, Capabilities()).name == "json"
            assert choose(name, Capabilities(structured=True)).name == "json"
            assert choose(name, Capabilities(structured=True, native="json_schema")).name == "native"

    def test_a_name_is_taken_at_its_word(self) -> None:
        for name in FORMATS:
            assert choose(name, Capabilities(native="tools")).name == name

    def test_an_unknown_name_lists_the_known_ones(self) -> None:
        with pytest.raises(
            UsageError, match=r"did you mean 'json'.* known are auto, native, json, chat, xml, two_step"
        ):
            choose("jason", Capabilities())
