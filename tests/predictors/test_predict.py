"""`Predict`: inputs in, a validated instance out, through sync and async alike."""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import field_validator, model_validator

import declm as dm
from declm.messages import Capabilities, Message, Request, Response
from declm.testing import FunctionLM, ScriptedLM


class Triage(dm.Signature):
    """Route a support ticket."""

    ticket: str = dm.Input("the customer's own words")
    language: str = "en"
    team: Literal["billing", "bugs"] = dm.Output("who should answer")
    urgency: int = dm.Output("5 is on fire", ge=1, le=5)


GOOD = '{"team": "bugs", "urgency": 3}'


class KeepingLM(ScriptedLM):
    """Keeps what is committed, as the reply cache would."""

    def __init__(self, replies: list[Any]) -> None:
        super().__init__(replies)
        self.kept: list[tuple[Request, Response]] = []

    def commit(self, request: Request, response: Response) -> None:
        self.kept.append((request, response))


async def _acall(program: Any, **inputs: Any) -> Any:
    return await program.acall(**inputs)


Caller = Callable[..., Any]

both = pytest.mark.parametrize(
    "call",
    [
        lambda program, **inputs: program(**inputs),
        lambda program, **inputs: asyncio.run(_acall(program, **inputs)),
        lambda program, **inputs: program.run(**inputs).value,
        lambda program, **inputs: asyncio.run(_arun(program, **inputs)),
        lambda program, **inputs: program.map([inputs])[0],
    ],
    ids=["call", "acall", "run", "arun", "map"],
)


async def _arun(program: Any, **inputs: Any) -> Any:
    return (await program.arun(**inputs)).value


# --- values


@both
def test_a_reply_becomes_a_typed_instance(call: Caller) -> None:
    lm = ScriptedLM([GOOD])
    answer = call(dm.Predict(Triage, lm=lm), ticket="it crashes")
    assert answer == Triage(ticket="it crashes", team="bugs", urgency=3)
    assert type(answer) is Triage
    (request,) = lm.requests
    assert request.role == "task"


@both
@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ("I think it is bugs.", "no JSON object with `team`, `urgency`"),
        ('{"team": "bugs"}', "urgency: missing"),
        ('{"team": "sales", "urgency": 3}', 'team: must be one of "billing", "bugs"'),
        ('{"team": "bugs", "urgency": 9}', "urgency: Input should be less than or equal to 5"),
        ('{"team": "sales", "urgency": 0}', "urgency: Input should be greater than or equal to 1"),
    ],
)
def test_a_bad_reply_is_shown_with_the_exact_error_and_asked_again(call: Caller, bad: str, complaint: str) -> None:
    lm = ScriptedLM([bad, GOOD])
    assert call(dm.Predict(Triage, lm=lm), ticket="t").urgency == 3
    first, second = (request.messages for request in lm.requests)
    assert second[: len(first)] == first
    assert second[len(first)] == Message("assistant", bad)
    assert second[-1].role == "user"
    assert complaint in second[-1].content


@both
@pytest.mark.parametrize("retries", [0, 1, 2, 5])
def test_after_the_retries_comes_a_parse_error_with_the_raw_text(call: Caller, retries: int) -> None:
    replies = [f"nonsense {i}" for i in range(10)]
    lm = ScriptedLM(replies)
    with pytest.raises(dm.ParseError) as caught:
        call(dm.Predict(Triage, lm=lm, retries=retries), ticket="t")
    assert len(lm.requests) == retries + 1
    assert caught.value.text == replies[retries]
    assert "no JSON object with `team`, `urgency`" in caught.value.reason
    assert f"the reply was 'nonsense {retries}'" in str(caught.value)


def test_two_retries_are_the_default() -> None:
    lm = ScriptedLM(["?"] * 9)
    with pytest.raises(dm.ParseError):
        dm.Predict(Triage, lm=lm)(ticket="t")
    assert len(lm.requests) == 3


def test_the_conversation_of_re_asks_grows_from_the_first_request() -> None:
    lm = ScriptedLM(["one", "two", GOOD])
    dm.Predict(Triage, lm=lm)(ticket="t")
    said = [message.content for message in lm.requests[2].messages if message.role == "assistant"]
    assert said == ["one", "two"]


class Checked(dm.Signature):
    """Name two different letters."""

    alphabet: str
    first: str = dm.Output()
    second: str = dm.Output()

    @field_validator("first")
    @classmethod
    def _lower(cls, value: str) -> str:
        if not value.islower():
            raise ValueError("write small letters")
        return value

    @model_validator(mode="after")
    def _differ(self) -> Checked:
        if self.first == self.second:
            raise ValueError("the letters must differ")
        return self


def test_validators_of_fields_and_of_the_whole_are_enforced() -> None:
    lm = ScriptedLM(['{"first": "A", "second": "b"}', '{"first": "b", "second": "b"}', '{"first": "a", "second": "b"}'])
    assert dm.Predict(Checked, lm=lm)(alphabet="ab").first == "a"
    assert "write small letters" in lm.requests[1].messages[-1].content
    assert "the letters must differ" in lm.requests[2].messages[-1].content


# --- replies that are no values


@both
def test_a_cut_reply_is_its_own_error_and_is_not_asked_again(call: Caller) -> None:
    usage = dm.Usage(calls=1, output_tokens=7)
    lm = ScriptedLM([Response(text=GOOD, finish="length", usage=usage), GOOD])
    with pytest.raises(dm.TruncatedOutput, match=r"cut after 7 tokens: .*; raise max_tokens") as caught:
        call(dm.Predict(Triage, lm=lm), ticket="t")
    assert caught.value.text == GOOD
    assert len(lm.requests) == 1


@both
def test_a_withheld_reply_is_its_own_error(call: Caller) -> None:
    lm = ScriptedLM([Response(text=GOOD, finish="filter")])
    with pytest.raises(dm.ContentFiltered, match="content filter"):
        call(dm.Predict(Triage, lm=lm), ticket="t")


@both
def test_an_empty_reply_is_no_value(call: Caller) -> None:
    lm = ScriptedLM(["", "  ", ""])
    with pytest.raises(dm.ParseError):
        call(dm.Predict("question -> answer", lm=lm), question="q")


@both
def test_errors_of_the_lm_come_through(call: Caller) -> None:
    with pytest.raises(dm.RateLimited, match="slow down"):
        call(dm.Predict(Triage, lm=ScriptedLM([dm.RateLimited("slow down")])), ticket="t")


# --- the reply cache


@both
def test_a_validated_reply_is_committed_under_the_first_request(call: Caller) -> None:
    lm = KeepingLM(["nonsense", '{"team": "bugs"}', GOOD])
    call(dm.Predict(Triage, lm=lm), ticket="t")
    ((request, response),) = lm.kept
    assert request == lm.requests[0]
    assert response.text == GOOD


@both
@pytest.mark.parametrize(
    "reply", ["nonsense", Response(text=GOOD, finish="length"), Response(text="", finish="filter")]
)
def test_a_reply_that_was_refused_is_never_committed(call: Caller, reply: Any) -> None:
    lm = KeepingLM([reply] * 3)
    with pytest.raises(dm.DeclmError):
        call(dm.Predict(Triage, lm=lm), ticket="t")
    assert lm.kept == []


def test_what_came_from_the_cache_is_not_committed_again() -> None:
    lm = KeepingLM([Response(text=GOOD, cached=True, usage=dm.Usage(cached=1))])
    dm.Predict(Triage, lm=lm)(ticket="t")
    assert lm.kept == []


# --- inputs (promise 29: InputError, no request)

BAD_INPUTS: list[dict[str, Any]] = [
    {},
    {"tickt": "t"},
    {"ticket": "t", "lang": "de"},
    {"ticket": "t", "team": "bugs"},
    {"ticket": "t", "urgency": 3},
    {"ticket": 3},
    {"ticket": None},
    {"ticket": ["t"]},
    {"ticket": b"\xff"},
    {"ticket": "t", "language": 7},
]


@both
@pytest.mark.parametrize("inputs", BAD_INPUTS, ids=str)
def test_bad_inputs_fail_before_any_request(call: Caller, inputs: dict[str, Any]) -> None:
    lm = ScriptedLM([GOOD])
    with pytest.raises(dm.InputError) as caught:
        call(dm.Predict(Triage, lm=lm), **inputs)
    assert isinstance(caught.value, TypeError)
    assert lm.requests == []


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"tickt": "t"}, r"Triage has no input 'tickt'; did you mean 'ticket'\? its inputs are `ticket`, `language`"),
        ({}, "Triage: ticket: Field required"),
        ({"ticket": 3}, "ticket: Input should be a valid string, not 3"),
        ({"ticket": "t", "team": "bugs"}, "'team' is no input but an output, which the call returns"),
    ],
)
def test_messages_on_inputs_say_what_to_do(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(dm.InputError, match=message):
        dm.Predict(Triage, lm=ScriptedLM([]))(**inputs)


def test_inputs_go_by_keyword() -> None:
    predict: Any = dm.Predict(Triage, lm=ScriptedLM([]))
    with pytest.raises(dm.InputError, match="Triage takes its inputs by keyword: ticket, language"):
        predict("it crashes")


# --- names


class Awkward(dm.Signature):
    """Take fields of every name that declm uses itself."""

    self: str
    inputs: str
    outputs: str
    demos: str
    state: str
    format: str
    lm: str
    values: str
    instructions: str
    args: str
    reasoning: str = dm.Output()
    score: int = dm.Output()
    name: str = dm.Output()


@both
@pytest.mark.parametrize("kind", [dm.Predict, dm.ChainOfThought])
@pytest.mark.parametrize("format", ["json", "chat"])
def test_fields_may_have_the_names_that_declm_uses(call: Caller, kind: Any, format: str) -> None:
    names = ("self", "inputs", "outputs", "demos", "state", "format", "lm", "values", "instructions", "args")
    given = {name: f"<{name} of mine>" for name in names}
    said = {"rationale": "thought", "reasoning": "a field", "score": 3, "name": "n"}
    wanted = {k: v for k, v in said.items() if kind is dm.ChainOfThought or k != "rationale"}
    text = json.dumps(wanted) if format == "json" else "\n".join(f"[[{k}]]\n{v}" for k, v in wanted.items())
    lm = FunctionLM(lambda request: text)
    program = kind(Awkward, lm=lm, format=format)
    if format == "chat":
        lm = FunctionLM(lambda request: json.dumps(wanted))
        program = kind(Awkward, lm=lm, format="json")
    answer = call(program, **given)
    assert (answer.reasoning, answer.score, answer.name) == ("a field", 3, "n")
    sent = lm.requests[0].messages[-1].content
    assert all(f"<{name} of mine>" in sent for name in names)
    assert program.render(**given) == lm.requests[0].messages


class Aliased(dm.Signature):
    schema_: str = dm.Input(alias="schema")
    json_: str = dm.Output(alias="json")


def test_an_alias_is_the_name_in_calls_prompts_and_replies() -> None:
    lm = ScriptedLM(['{"json": "x"}'])
    predict: Any = dm.Predict(Aliased, lm=lm)
    assert predict(schema="CREATE TABLE").json_ == "x"
    assert "schema: CREATE TABLE" in lm.requests[0].messages[-1].content


# --- which LM


def test_the_predictors_lm_beats_the_context_which_beats_configure() -> None:
    process, scoped, own = (ScriptedLM([GOOD] * 3) for _ in range(3))
    dm.configure(lm=process)
    dm.Predict(Triage)(ticket="t")
    with dm.context(lm=scoped):
        dm.Predict(Triage)(ticket="t")
        dm.Predict(Triage, lm=own)(ticket="t")
    assert [len(lm.requests) for lm in (process, scoped, own)] == [1, 1, 1]


def test_with_lm_is_a_copy() -> None:
    one, two = ScriptedLM([GOOD]), ScriptedLM([GOOD])
    plain = dm.Predict(Triage, lm=one)
    plain.with_lm(two)(ticket="t")
    assert (plain.lm, len(one.requests), len(two.requests)) == (one, 0, 1)


@both
def test_a_missing_lm_says_how_to_set_one(call: Caller) -> None:
    with pytest.raises(dm.UsageError, match=r"no LM is set: call dm\.configure\(lm='openai/gpt-5-mini'\)"):
        call(dm.Predict(Triage), ticket="t")


def test_an_lm_by_name_is_built_once_and_checked_at_once() -> None:
    assert dm.Predict(Triage, lm="openai/gpt-5-mini").lm is dm.Predict(Triage, lm="openai/gpt-5-mini").lm
    with pytest.raises(dm.UnknownModel, match="provider/model"):
        dm.Predict(Triage, lm="gpt-5-mini")
    with pytest.raises(dm.UsageError, match="lm=3"):
        dm.Predict(Triage, lm=3)  # type: ignore[call-overload]


# --- construction


def test_a_signature_without_outputs_is_refused() -> None:
    class Only(dm.Signature):
        question: str

    with pytest.raises(dm.UsageError, match="Only has no outputs; declare one"):
        dm.Predict(Only)


def test_what_is_no_signature_is_refused() -> None:
    with pytest.raises(dm.UsageError, match="a signature is a class derived from"):
        dm.Predict(3)  # type: ignore[call-overload]


@pytest.mark.parametrize("retries", [-1, 1.5, "2"])
def test_retries_are_counted(retries: Any) -> None:
    with pytest.raises(dm.UsageError, match="must be a whole number from 0"):
        dm.Predict(Triage, retries=retries)


def test_an_unknown_format_is_refused_at_once_with_a_hint() -> None:
    with pytest.raises(dm.UsageError, match="there is no format 'jsn'; did you mean 'json'"):
        dm.Predict(Triage, format="jsn")
    lm = ScriptedLM([GOOD])
    with dm.context(lm=lm, format="yaml"), pytest.raises(dm.UsageError, match="known are auto, native, json, chat"):
        dm.Predict(Triage)(ticket="t")
    assert lm.requests == []


def test_the_format_of_the_state_beats_the_predictors_which_beats_the_context() -> None:
    lm = ScriptedLM([])
    with dm.context(lm=lm, format="chat"):
        plain, own = dm.Predict(Triage), dm.Predict(Triage, format="json")
        stated = own.with_predictor_state(dm.PredictorState(format="chat"))
        chat, json_ = plain.render(ticket="t"), own.render(ticket="t")
        assert chat != json_
        assert stated.render(ticket="t") == chat


def test_shorthand_is_a_signature() -> None:
    lm = ScriptedLM(['{"answer": 42}'])
    predict = dm.Predict("question, notes: list[str] -> answer: int", lm=lm)
    assert predict(question="q", notes=["a"]).answer == 42
    assert repr(predict) == "Predict(QuestionNotesToAnswer: question, notes -> answer)" or "-> answer)" in repr(predict)


# --- render


@both
@pytest.mark.parametrize("format", ["json", "chat"])
def test_render_is_what_is_sent(call: Caller, format: str) -> None:
    lm = FunctionLM(lambda request: GOOD)
    predict = dm.Predict(Triage, lm=lm, format=format).with_demos([Triage(ticket="old", team="billing", urgency=1)])
    shown = predict.render(ticket="it crashes")
    assert lm.requests == []
    try:
        call(predict, ticket="it crashes")
    except dm.ParseError:
        assert format == "chat"  # the reply is JSON
    assert lm.requests[0].messages == shown
    text = str(shown)
    assert text.startswith("[system]\nRoute a support ticket.")
    assert "[user]\n" in text
    assert "it crashes" in text


def test_render_checks_inputs() -> None:
    with pytest.raises(dm.InputError):
        dm.Predict(Triage, lm=ScriptedLM([])).render(tickt="t")  # type: ignore[call-arg]


# --- demos and instructions


def test_demos_and_instructions_make_copies() -> None:
    plain = dm.Predict(Triage, lm=ScriptedLM([]))
    before = plain.render(ticket="t")
    shown = plain.with_demos([Triage(ticket="old", team="billing", urgency=1)])
    told = shown.with_instructions("Be quick.")
    assert plain.render(ticket="t") == before
    assert [m.role for m in shown.render(ticket="t")] == ["system", "user", "assistant", "user"]
    assert json.loads(shown.render(ticket="t")[2].content) == {"team": "billing", "urgency": 1}
    assert told.render(ticket="t")[0].content.startswith("Be quick.")
    assert not shown.render(ticket="t")[0].content.startswith("Be quick.")
    assert len(told.state.predictors["self"].demos) == 1
    assert told.with_demos([]).state.predictors["self"].instructions == "Be quick."


def test_a_demo_may_lack_outputs_and_carries_the_hash_of_its_row() -> None:
    row = Triage(ticket="old", team="billing")
    (demo,) = dm.Predict(Triage).with_demos([row]).state.predictors["self"].demos
    assert (demo.inputs, demo.outputs) == ({"ticket": "old", "language": "en"}, {"team": "billing"})
    assert (demo.row, demo.source) == (dm.spec(Triage).hash(row), "manual")


def test_demos_as_data_are_taken_as_they_are() -> None:
    demo = dm.Demo(inputs={"ticket": "old"}, outputs={"team": "bugs", "urgency": 2}, source="bootstrapped")
    assert dm.Predict(Triage).with_demos([demo]).state.predictors["self"].demos == (demo,)


class Other(dm.Signature):
    text: str
    team: str = dm.Output()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Triage(ticket="t"), "a demo of Triage lacks any output: Triage"),
        (Other(text="t", team="bugs"), "a demo of Triage lacks `ticket`"),
        ({"ticket": "t", "team": "bugs"}, r"a demo is a row such as Triage\(\.\.\.\), not {'ticket'"),
    ],
)
def test_what_is_no_demo_is_refused(row: Any, message: str) -> None:
    with pytest.raises(dm.UsageError, match=message):
        dm.Predict(Triage).with_demos([row])


# --- templates


def test_a_text_replaces_the_user_message() -> None:
    lm = ScriptedLM([GOOD])
    predict = dm.Predict(Triage, lm=lm, template="<{{ ticket }}|{{ values.language }}>")
    predict(ticket="{{ 7 * 7 }}")
    assert lm.requests[0].messages[-1].content == "<{{ 7 * 7 }}|en>"


def test_a_mapping_replaces_the_parts_that_it_names() -> None:
    lm = ScriptedLM(["nonsense", GOOD])
    parts = {"system": "You route tickets.", "reask": "No: {{ reason }}"}
    dm.Predict(Triage, lm=lm, template=parts)(ticket="t")
    assert lm.requests[0].messages[0] == Message("system", "You route tickets.")
    assert lm.requests[0].messages[-1].content == dm.Predict(Triage, lm=lm).render(ticket="t")[-1].content
    assert lm.requests[1].messages[-1].content.startswith("No: the reply holds no JSON object")


def test_a_folder_shadows_the_templates_of_declm(tmp_path: Path) -> None:
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "user.jinja").write_text("Ticket: {{ ticket }}")
    lm = ScriptedLM([GOOD])
    dm.Predict(Triage, lm=lm, template=tmp_path)(ticket="t")
    assert lm.requests[0].messages[-1].content == "Ticket: t"
    assert lm.requests[0].messages[0].content.startswith("Route a support ticket.")


def test_folders_in_force_shadow_too_and_the_predictors_own_wins(tmp_path: Path) -> None:
    for name in ("mine", "ours"):
        (tmp_path / name / "json").mkdir(parents=True)
        (tmp_path / name / "json" / "user.jinja").write_text(f"{name}: {{{{ ticket }}}}")
    with dm.context(lm=ScriptedLM([]), templates=tmp_path / "ours"):
        assert dm.Predict(Triage).render(ticket="t")[-1].content == "ours: t"
        assert dm.Predict(Triage, template=tmp_path / "mine").render(ticket="t")[-1].content == "mine: t"


def test_a_state_may_hold_template_parts() -> None:
    state = dm.PredictorState(templates={"user": "from the state: {{ ticket }}"})
    predict = dm.Predict(Triage, lm=ScriptedLM([]), template="from the predictor: {{ ticket }}")
    assert predict.with_predictor_state(state).render(ticket="t")[-1].content == "from the state: t"


@pytest.mark.parametrize(
    ("template", "error", "message"),
    [
        ("{{ tickt }}", dm.TemplateError, "tickt"),
        ("{{ ticket", dm.TemplateError, "line 1"),
        ({"sytem": "x"}, dm.UsageError, "a prompt has no part 'sytem'; did you mean 'system'"),
        (Path("nowhere"), dm.UsageError, "template='nowhere' is no folder"),
    ],
)
def test_a_wrong_template_is_refused_when_the_predictor_is_made(
    template: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        dm.Predict(Triage, template=template)


# --- sensitive fields


class Patient(dm.Signature):
    """Judge."""

    note: str = dm.Input(sensitive=True)
    ward: str
    diagnosis: str = dm.Output(sensitive=True)
    urgent: bool = dm.Output()


CANARY = "canary-4711"


@both
def test_sensitive_fields_reach_the_lm_and_the_caller(call: Caller) -> None:
    lm = ScriptedLM([json.dumps({"diagnosis": CANARY, "urgent": True})])
    answer = call(dm.Predict(Patient, lm=lm), note=CANARY, ward="w")
    assert answer.diagnosis == CANARY
    assert CANARY in lm.requests[0].messages[-1].content
    assert not lm.requests[0].cacheable


def test_sensitive_fields_are_masked_in_the_trace() -> None:
    reply = json.dumps({"reasoning": f"saw {CANARY}", "diagnosis": CANARY, "urgent": True})
    run = dm.ChainOfThought(Patient, lm=ScriptedLM(["nonsense " + CANARY, reply])).run(note=CANARY, ward="w")
    assert CANARY not in repr(run.trace)
    assert CANARY not in str(run.trace)
    assert run.trace.inputs == {"note": "***", "ward": "w"}
    assert run.trace.outputs == {"diagnosis": "***", "urgent": True}
    assert run.usage.calls == 2


@pytest.mark.parametrize(
    "reply", [f"nonsense {CANARY}", Response(text=CANARY, finish="length"), json.dumps({"diagnosis": CANARY})]
)
def test_errors_do_not_quote_the_reply_of_a_sensitive_signature(reply: Any) -> None:
    import traceback

    with pytest.raises(dm.DeclmError) as caught:
        dm.Predict(Patient, lm=ScriptedLM([reply] * 3))(note=CANARY, ward="w")
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert CANARY not in repr(vars(caught.value))


def test_a_wrong_sensitive_input_is_not_quoted() -> None:
    with pytest.raises(dm.InputError) as caught:
        dm.Predict(Patient, lm=ScriptedLM([]))(note=[CANARY], ward="w")  # type: ignore[arg-type]
    assert CANARY not in str(caught.value)


# --- details


def test_capabilities_decide_on_the_schema() -> None:
    strict = FunctionLM(lambda request: GOOD, capabilities=Capabilities(structured=True))
    loose = FunctionLM(lambda request: GOOD)
    for lm in (strict, loose):
        dm.Predict(Triage, lm=lm)(ticket="t")
    assert strict.requests[0].schema is not None
    assert strict.requests[0].schema["required"] == ["team", "urgency"]
    assert loose.requests[0].schema is None


def test_options_of_the_state_go_with_every_request() -> None:
    lm = ScriptedLM(["nonsense", GOOD])
    state = dm.PredictorState(options={"temperature": 0.7})
    dm.Predict(Triage, lm=lm).with_predictor_state(state)(ticket="t")
    assert [request.options for request in lm.requests] == [{"temperature": 0.7}] * 2


def test_a_rendered_prefix_is_kept_for_each_state() -> None:
    lm = FunctionLM(lambda request: GOOD)
    predict = dm.Predict(Triage, lm=lm)
    for i in range(200):
        predict.with_instructions(f"Number {i}.")(ticket="t")
    assert lm.requests[199].messages[0].content.startswith("Number 199.")
    assert len(predict._planner._prompts) <= 64
    predict(ticket="t")
    predict(ticket="u")
    first, second = (request.messages[0] for request in lm.requests[-2:])
    assert first is second


def test_a_signature_of_predict_is_readable() -> None:
    assert list(inspect.signature(dm.Predict.__init__).parameters) == [
        *("self", "signature", "format", "lm", "template", "retries", "probabilities")
    ]


def test_a_predictor_that_has_been_called_can_be_copied_and_pickled() -> None:
    predict = dm.Predict(Triage, lm="openai/gpt-5-mini").with_instructions("Be quick.")
    shown = predict.render(ticket="t")
    for made in (copy.copy(predict), copy.deepcopy(predict), pickle.loads(pickle.dumps(predict))):
        assert made is not predict
        assert made.render(ticket="t") == shown


@pytest.mark.parametrize(
    ("format", "reply", "repairs"),
    [
        ("json", '{"answer": 4}', ()),
        ("json", "{answer: 4,}", ("missing quote",)),
        ("json", 'Sure: {"answer": "4"}', ("text around", "answer: text for a number")),
        ("json", "It is four: 4", ("answer: found in a sentence (It is four: 4)",)),
        ("chat", "4", ()),
        ("chat", "[[answer]] 4 apples", ("answer: number (4 apples)",)),
        ("xml", "<answer>4</answer>", ()),
        ("xml", '<answer>"4"</answer>', ("answer: text for a number",)),
    ],
)
def test_every_repair_is_in_the_trace(format: str, reply: str, repairs: tuple[str, ...]) -> None:
    run = dm.Predict(dm.define("question -> answer: int"), lm=ScriptedLM([reply]), format=format).run(question="2 + 2?")
    assert run.value.answer == 4
    assert run.trace.repairs == repairs
