"""What instructor prepares and reads."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Generic, TypeVar

import pytest
from prompt_cases import Everything, Triage, prompt
from pydantic import field_validator

from declm.errors import ParseError
from declm.fields import Output
from declm.formats import Prompt, choose
from declm.messages import Capabilities, Response
from declm.signature import Signature
from declm.specs import spec

NATIVE = choose("native", Capabilities(native="json_schema"))
T = TypeVar("T")


def _wanted(signature: Any, **options: Any) -> dict[str, Any]:
    request = NATIVE.render(prompt(signature, **options), {})
    assert request.options["response_format"]["type"] == "json_schema"
    return request.options["response_format"]["json_schema"]


def test_the_request_asks_for_strict_structured_output() -> None:
    wanted = _wanted(Triage, reasoning="reasoning")
    assert wanted["name"] == "Triage"
    assert wanted["strict"] is True
    assert wanted["schema"] == prompt(Triage, reasoning="reasoning").schema
    assert list(wanted["schema"]["properties"]) == ["reasoning", "team", "urgency"]


def test_what_strict_mode_refuses_is_asked_for_without_it() -> None:
    assert _wanted(Everything)["strict"] is False  # a free-form map and a tuple


def test_the_name_of_a_generic_class_is_one_that_the_api_takes() -> None:
    class Box(Signature, Generic[T]):
        text: str
        content: T = Output()

    assert _wanted(Box[int])["name"] == "Box_int_"


def test_options_of_the_state_win() -> None:
    request = NATIVE.render(prompt(Triage, options={"response_format": {"type": "text"}}), {})
    assert request.options["response_format"] == {"type": "text"}


def test_what_instructor_prepares_is_made_once_per_signature_class() -> None:
    first, second = (NATIVE.render(prompt(Triage), {}).options["response_format"] for _ in range(2))
    assert first is second


def test_validators_of_the_signature_run_once_and_see_the_inputs() -> None:
    seen = list[str]()

    class Check(Signature):
        limit: int
        answer: int = Output()

        @field_validator("answer")
        @classmethod
        def _within(cls, value: int, info: Any) -> int:
            seen.append(f"{value} <= {info.data['limit']}")
            return value

    shown = prompt(Check)
    outputs = NATIVE.parse(shown, Response('{"answer": 3}')).values
    shown.spec.complete(Check(limit=5), outputs)
    assert seen == ["3 <= 5"]


def test_a_reply_with_a_fence_is_read_and_nonsense_is_not() -> None:
    assert NATIVE.parse(prompt(Triage), Response('```json\n{"team": "bugs"}\n```')).values == {"team": "bugs"}
    with pytest.raises(ParseError, match="no JSON object with `team`, `urgency`"):
        NATIVE.parse(prompt(Triage), Response("I can't say"))


def test_instructor_is_imported_by_this_format_alone() -> None:
    code = (
        "import sys, declm.formats as f; from declm.messages import Capabilities as C; f.choose('json', C());"
        "print([m for m in ('instructor', 'openai', 'litellm') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def _options(signature: Any, **capabilities: Any) -> Any:
    shown = Prompt(spec(signature), capabilities=Capabilities(**capabilities))
    return NATIVE.render(shown, {}).options


def test_tools_are_asked_for_where_there_is_no_schema_mode() -> None:
    options = _options(Triage, tools=True, native="tools")
    assert options.keys() == {"tools", "tool_choice"}
    (tool,) = options["tools"]
    assert options["tool_choice"] == {"type": "function", "function": {"name": "Triage"}}
    assert tool["function"].keys() == {"name", "parameters"}  # no words of instructor's own
    parameters = tool["function"]["parameters"]
    assert parameters["properties"] == prompt(Triage).schema["properties"]
    assert sorted(parameters["required"]) == ["team", "urgency"]


def test_json_mode_speaks_of_json_in_our_own_words() -> None:
    shown = Prompt(spec(Triage), capabilities=Capabilities(native="json"))
    request = NATIVE.render(shown, {"ticket": "?"})
    assert request.options == {"response_format": {"type": "json_object"}}
    assert request.messages == choose("json", Capabilities()).render(shown, {"ticket": "?"}).messages
    again = NATIVE.reask(shown, request, Response("?"), "team: missing")
    assert "JSON object" in again.messages[-1].content


@pytest.mark.parametrize(("tools", "option"), [(True, "tools"), (False, "response_format")])
def test_a_type_that_the_provider_cannot_say_is_asked_for_otherwise(tools: bool, option: str) -> None:
    able = {"structured": True, "native": "json_schema", "schemas": "anthropic", "tools": tools}
    options = _options(Everything, **able)
    assert option in options
    assert options.get("response_format", {"type": "json_object"}) == {"type": "json_object"}
    assert _options(Triage, **able)["response_format"]["type"] == "json_schema"


def test_the_schema_is_the_part_that_the_provider_takes() -> None:
    options = _options(Triage, structured=True, native="json_schema", schemas="anthropic")
    schema = options["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["urgency"] == {"type": "integer"}
    assert prompt(Triage).schema["properties"]["urgency"] == {"type": "integer", "minimum": 1, "maximum": 5}


def test_an_lm_of_which_nothing_is_known_is_asked_for_a_schema() -> None:
    assert _options(Triage)["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize("mode", ["json_schema", "tools", "json"])
def test_replies_of_all_modes_are_read_alike(mode: Any) -> None:
    shown = Prompt(spec(Triage), capabilities=Capabilities(native=mode))
    assert NATIVE.parse(shown, Response('{"team": "bugs", "urgency": 2}')).values == {"team": "bugs", "urgency": 2}
