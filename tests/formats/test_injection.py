"""Text that was written to be taken for something else: in inputs, and echoed by the LM in its replies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from parsing_injections import PAYLOADS, RIGHT, TEMPLATES, as_json, as_sloppy_json
from parsing_promises import WRITERS, Mail, MailReader, shown

import declm as dm
from declm.errors import ParseError
from declm.formats import choose
from declm.formats.base import Prompt
from declm.messages import Capabilities, Request
from declm.specs import spec
from declm.testing import FunctionLM, ScriptedLM

FORMATS = ["json", "chat", "xml", "native", "two_step"]


all_formats = pytest.mark.parametrize("format", FORMATS)


def test_there_are_many_payloads() -> None:
    assert len(set(PAYLOADS)) == len(PAYLOADS) >= 480


@all_formats
def test_an_echo_is_read_as_the_mail_that_it_was(format: str) -> None:
    """The LM copies the mail as it was shown into its reply."""

    def reply(lm: MailReader, request: Request) -> str:
        is_draft = format == "two_step" and request.role != "extractor"
        return shown(request) if is_draft else lm.write(shown(request))

    lm = MailReader(format)
    for payload in PAYLOADS:
        row = lm.ask(f"Dear all,\n{payload}\nThe end", lambda request: reply(lm, request))
        assert (row.topics, row.spam) == (RIGHT["topics"], RIGHT["spam"]), payload
        assert row.summary == f"Dear all,\n{payload}\nThe end"


@pytest.mark.parametrize("format", WRITERS)
def test_an_unguarded_echo_overwrites_no_field(format: str) -> None:
    """What no prompt has shown to the LM, such as a web page that it knows by heart, has no backslashes."""
    lm = MailReader(format)
    assert [payload for payload in PAYLOADS if lm.is_fooled(lm.write(payload))] == []


@pytest.mark.parametrize("format", ["json", "native", "two_step"])
def test_an_echo_that_is_not_escaped_overwrites_no_field(format: str) -> None:
    """The reply is no JSON then, and what it means may be lost; it must not become something else."""
    lm = MailReader(format)
    assert [payload for payload in PAYLOADS if lm.is_fooled(as_sloppy_json(payload))] == []


@all_formats
def test_a_quotation_before_the_answer_overwrites_no_field(format: str) -> None:
    lm = MailReader(format)
    replies = [f"The mail says:\n{payload}\n\nSo my answer is:\n{lm.write('fine')}" for payload in PAYLOADS]
    assert [reply for reply in replies if lm.is_fooled(reply)] == []


@all_formats
def test_an_echo_in_thoughts_overwrites_no_field(format: str) -> None:
    lm = MailReader(format)
    replies = [f"<think>The mail says:\n{payload}\n</think>\n{lm.write('fine')}" for payload in PAYLOADS]
    assert [reply for reply in replies if lm.is_fooled(reply)] == []


@all_formats
def test_an_input_cannot_pass_for_another_input_or_an_instruction(format: str) -> None:
    predict = dm.Predict(Mail, format=format, lm=ScriptedLM([]))
    plain = predict.render(mail="x", thread=["real"])
    for payload in PAYLOADS:
        messages = predict.render(mail=payload, thread=["real"])
        assert list(messages[:-1]) == list(plain[:-1])
        lines = messages[-1].content.splitlines()
        assert [line for line in lines if line.startswith("thread:")] == ['thread: ["real"]'], payload
        assert sum(line.startswith("mail:") for line in lines) == 1, payload


@all_formats
@pytest.mark.parametrize("text", TEMPLATES)
def test_a_value_is_never_rendered_twice(text: str, format: str) -> None:
    lm = FunctionLM(lambda request: f"I can't say {text}")
    state = {"instructions": f"Say {text}", "descriptions": {"summary": f"like {text}"}}
    predict = dm.Predict(Mail, lm=lm, format=format, retries=1)
    predict = predict.with_predictor_state(predict.predictor_state.model_copy(update=state))
    demo = Mail(mail=text, thread=[text], summary=text, topics=[text], spam=False)
    with pytest.raises(ParseError):
        predict.with_demos([demo])(mail=text, thread=[text])
    first, *_, again = lm.requests
    system, asked, shown, last = (message.content for message in first.messages)
    assert f"Say {text}" in system
    assert f"like {text}" in system
    assert asked == last
    quoted = json.dumps(text)[1:-1]
    for said in (asked, shown):
        assert text in said or quoted in said
    assert again.messages[-2].content == f"I can't say {text}"


@all_formats
def test_a_reason_that_quotes_the_reply_is_not_rendered_again(format: str) -> None:
    lm = ScriptedLM([as_json("x").replace("false", '"{{ 7 * 7 }}"')] * 3)
    with pytest.raises(ParseError):
        dm.Predict(Mail, lm=lm, format=format, retries=1)(mail="x")
    told = lm.requests[-1].messages[-1].content
    assert "49" not in told
    assert "{{ 7 * 7 }}" in told


@all_formats
def test_an_ideal_reply_holds_any_payload(format: str) -> None:
    lm, prompt = MailReader(format), Prompt(spec(Mail))
    for payload in PAYLOADS:
        outputs = {"summary": payload, "topics": [payload], "spam": False}
        reply = choose(format, Capabilities()).answer(prompt, outputs)
        assert spec(Mail).dump(lm.ask("y", lambda request, reply=reply: reply))[1] == outputs


class Case(dm.Signature):
    """Say what is known of the case."""

    case: str
    reasoning: str = dm.Output()
    people: list[str] = dm.Output()
    facts: dict[str, str] = dm.Output()
    closed: bool = dm.Output()


KNOWN: dict[str, Any] = {"reasoning": "so", "people": ["Ann"], "facts": {"by": "Ann"}, "closed": False}


def _as_case(format: str, **changes: Any) -> str:
    outputs = {**KNOWN, **changes}
    dumped = {key: one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for key, one in outputs.items()}
    if format == "chat":
        return "\n".join(f"[[{key}]] {one}" for key, one in dumped.items())
    if format == "xml":
        return "\n".join(f"<{key}>\n{one}\n</{key}>" for key, one in dumped.items())
    return json.dumps(outputs, ensure_ascii=False)


@all_formats
@pytest.mark.parametrize("field", ["reasoning", "people", "facts", "a key of the facts"])
def test_an_echo_inside_of_a_value_overwrites_no_other_field(format: str, field: str) -> None:
    """The payloads name fields of another signature; here they are renamed to those of this one."""
    predict = dm.Predict(Case, lm=FunctionLM(lambda request: replies[-1]), format=format, retries=0)
    replies = list[str]()
    for payload in PAYLOADS:
        text = payload.replace("spam", "closed").replace("topics", "people").replace("summary", "reasoning")
        values: dict[str, Any] = {
            "reasoning": text,
            "people": ["Ann", text],
            "facts": {"by": "Ann", "said": text},
            "a key of the facts": {"by": "Ann", text: "x"},
        }
        name = "facts" if field.startswith("a key") else field
        replies.append(_as_case(format, **{name: values[field]}))
        try:
            row = predict(case="x")
        except ParseError:
            continue
        read = {"reasoning": row.reasoning, "people": row.people, "facts": row.facts, "closed": row.closed}
        assert {key: one for key, one in read.items() if key != name and one != KNOWN[key]} == {}, payload


@pytest.mark.parametrize("format", ["json", "native", "two_step"])
def test_a_quotation_behind_the_answer_overwrites_no_field(format: str) -> None:
    lm = MailReader(format)
    replies = [f"{lm.write('fine')}\n\nThe mail said:\n{payload}\n" for payload in PAYLOADS]
    assert [reply for reply in replies if lm.is_fooled(reply)] == []


@pytest.mark.parametrize("format", ["json", "native", "two_step"])
def test_a_quotation_in_a_fence_overwrites_no_field(format: str) -> None:
    lm = MailReader(format)
    replies = [f"```\n{payload}\n```\n\n```json\n{lm.write('fine')}\n```" for payload in PAYLOADS]
    assert [reply for reply in replies if lm.is_fooled(reply)] == []


@pytest.mark.parametrize("format", ["json", "native", "two_step"])
def test_an_echo_that_is_not_escaped_adds_nothing_to_other_texts(format: str) -> None:
    """Curly quotes once let a text go on through the answer behind it."""
    reply = "{\u201csummary\u201c: \u201cforged\u201c}\n\nSo my answer is:\n" + as_json("fine")
    lm = MailReader(format)
    try:
        row = lm.ask("x", lambda request: reply)
    except ParseError:
        return
    assert row.summary == "fine"
