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
from declm.formats import choose
from declm.messages import Capabilities, Response
from declm.signature import Signature

NATIVE = choose("native", Capabilities(native=True))
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
    outputs = NATIVE.parse(shown, Response('{"answer": 3}'))
    shown.spec.complete(Check(limit=5), outputs)
    assert seen == ["3 <= 5"]


def test_a_reply_with_a_fence_is_read_and_nonsense_is_not() -> None:
    assert NATIVE.parse(prompt(Triage), Response('```json\n{"team": "bugs"}\n```')) == {"team": "bugs"}
    with pytest.raises(ParseError, match="no JSON object with `team`, `urgency`"):
        NATIVE.parse(prompt(Triage), Response("I can't say"))


def test_instructor_is_imported_by_this_format_alone() -> None:
    code = (
        "import sys, declm.formats as f; from declm.messages import Capabilities as C; f.choose('json', C());"
        "print([m for m in ('instructor', 'openai', 'litellm') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
