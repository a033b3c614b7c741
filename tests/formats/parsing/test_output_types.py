"""Each type that Pydantic knows works as an input and as an output, in every format."""

from __future__ import annotations

import json
from typing import Any

import pytest
from parsing_promises import predictor, signature_of
from parsing_properties import FORMATS
from parsing_types import NONE, TYPES, as_json
from pydantic import Base64Bytes, Json, SecretStr, create_model

import declm as dm
from declm.messages import Request
from declm.specs import spec
from declm.testing import FunctionLM

CASES = [pytest.param(*case, id=name) for name, case in TYPES.items()]


def test_there_are_many_types() -> None:
    assert len(TYPES) >= 160


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("type", "value", "invalid"), CASES)
def test_a_value_goes_in_and_comes_out_and_in_again(type: Any, value: Any, invalid: Any, format: str) -> None:
    signature = signature_of(type)
    outputs = {"result": as_json(type, value), "remark": "fine"}
    predict, lm = predictor(signature, format, outputs)
    row = predict(given=value)
    assert row.given == value
    assert row.result == value
    assert row.result.__class__ is value.__class__
    again = predict(given=row.result)
    assert again == row
    first, second = (request.messages[-1].content for request in lm.requests if request.role == "task")
    assert first == second
    assert first.startswith("given:")
    assert spec(signature).dump(row)[1] == spec(signature).dump(again)[1]


@pytest.mark.parametrize("format", ["json", "chat"])  # the others read values as these do
@pytest.mark.parametrize(("type", "value", "invalid"), CASES)
def test_an_invalid_value_is_refused(type: Any, value: Any, invalid: Any, format: str) -> None:
    outputs = {"result": invalid, "remark": "fine"}
    if invalid == NONE:
        del outputs["result"]
    predict, _ = predictor(signature_of(type), format, outputs)
    with pytest.raises(dm.ParseError, match="result"):
        predict(given=value)


@pytest.mark.parametrize("format", ["json", "chat"])
@pytest.mark.parametrize(("type", "value", "invalid"), CASES)
def test_an_output_alone_is_read(type: Any, value: Any, invalid: Any, format: str) -> None:
    signature = create_model("Lone", __base__=dm.Signature, given=(str, ""), result=(type, dm.Output()))
    predict, _ = predictor(signature, format, {"result": as_json(type, value)})
    assert predict(given="x").result == value


@pytest.mark.parametrize(("type", "value", "invalid"), CASES)
def test_the_type_is_told_in_the_prompt(type: Any, value: Any, invalid: Any) -> None:
    lm = FunctionLM(lambda request: "")
    messages = dm.Predict(signature_of(type), lm=lm).render(given=value)
    assert "result" in "".join(message.content for message in messages)


def test_a_secret_goes_in_hidden_and_comes_out() -> None:
    signature = signature_of(SecretStr)
    predict, lm = predictor(signature, "json", {"result": "open sesame", "remark": "fine"})
    row = predict(given=SecretStr("hush"))
    assert row.result == SecretStr("open sesame")
    assert "hush" not in json.dumps([message.content for message in lm.requests[0].messages])


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("type", "written", "value"),
    [(Json[list[int]], "[1, 2]", [1, 2]), (Base64Bytes, "YWJj", b"abc")],
    ids=["Json", "Base64Bytes"],
)
def test_what_is_decoded_goes_in_encoded(type: Any, written: str, value: Any, format: str) -> None:
    signature = signature_of(type)
    predict, lm = predictor(signature, format, {"result": written, "remark": "fine"})
    row = predict(given=written)
    assert (row.given, row.result) == (value, value)
    assert lm.requests[0].messages[-1].content.startswith("given:")
    predict, _ = predictor(signature, format, {"result": "YWJ", "remark": "fine"})
    with pytest.raises(dm.ParseError, match="result"):
        predict(given=written)


def _missing(request: Request) -> str:
    return '{"remark": "fine"}'


@pytest.mark.parametrize(("type", "value", "invalid"), CASES)
def test_an_output_that_is_missing_is_named(type: Any, value: Any, invalid: Any) -> None:
    predict = dm.Predict(signature_of(type), lm=FunctionLM(_missing), format="json", retries=0)
    with pytest.raises(dm.ParseError) as caught:
        predict(given=value)
    assert caught.value.reason == "result: missing"
