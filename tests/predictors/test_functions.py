"""`@predict`: a typed function is a signature."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel

import declm as dm
from declm.testing import ScriptedLM


class Verdict(BaseModel):
    tone: Literal["good", "bad"]
    sure: bool


@dm.predict
def sentiment(text: str, language: str = "en") -> Verdict:
    """Judge the tone of `text`."""
    return dm.fill()


@dm.predict
def grade(
    text: Annotated[str, dm.Input("the text itself", sensitive=True)],
    scale: Annotated[int, dm.Input("how many steps", ge=2)] = 5,
) -> Annotated[int, dm.Output("a grade", ge=1)]:
    """Grade it."""
    ...


@dm.predict
def awkward(self: str, *, lm: str, format: str = "f") -> str:
    """Take odd names."""
    return dm.fill()


GOOD = '{"result": {"tone": "good", "sure": true}}'


def test_the_result_is_of_the_return_type() -> None:
    lm = ScriptedLM([GOOD] * 4)
    with dm.context(lm=lm):
        assert sentiment("lovely") == Verdict(tone="good", sure=True)
        assert sentiment(text="lovely", language="de") == sentiment("lovely", "de")
        assert asyncio.run(sentiment.acall("lovely")) == Verdict(tone="good", sure=True)
    assert lm.requests[0].messages[0].content.startswith("Judge the tone of `text`.")
    assert "language: en" in lm.requests[0].messages[-1].content
    assert lm.requests[1].messages == lm.requests[2].messages


def test_everything_of_a_predictor_works_on_it() -> None:
    with dm.context(lm=ScriptedLM([GOOD] * 3)):
        run = sentiment.run("lovely")
        assert (run.value.tone, run.usage.calls, run.trace.outputs) == (
            "good",
            1,
            {"result": {"tone": "good", "sure": True}},
        )
        assert sentiment.map([{"text": "a"}, {"text": "b"}]) == [Verdict(tone="good", sure=True)] * 2
        assert sentiment.with_instructions("Be harsh.").render("x")[0].content.startswith("Be harsh.")


def test_it_keeps_the_name_and_the_docstring() -> None:
    assert (sentiment.__name__, sentiment.__qualname__) == ("sentiment", "sentiment")
    assert sentiment.__doc__ == "Judge the tone of `text`."
    assert repr(sentiment) == "PredictedFunction(Sentiment: text, language -> result)"


def test_annotated_parameters_keep_descriptions_constraints_and_marks() -> None:
    inputs, (result,) = grade.spec.inputs, grade.spec.outputs.values()
    assert [f.description for f in inputs.values()] == ["the text itself", "how many steps"]
    assert [f.required for f in inputs.values()] == [True, False]
    assert (result.description, grade.spec.sensitive) == ("a grade", frozenset({"text"}))
    with dm.context(lm=ScriptedLM(['{"result": 0}', '{"result": 4}'])):
        assert grade("x") == 4
        with pytest.raises(dm.InputError, match="scale: Input should be greater than or equal to 2"):
            grade("x", 1)


def test_parameters_may_have_the_names_that_declm_uses() -> None:
    lm = ScriptedLM(['{"result": "r"}'] * 2)
    with dm.context(lm=lm):
        assert awkward("s", lm="l") == awkward(self="s", lm="l", format="f") == "r"
    assert lm.requests[0].messages[-1].content == "self: s\nlm: l\nformat: f"


@pytest.mark.parametrize(
    ("args", "inputs", "message"),
    [
        (("a", "b", "c"), {}, "sentiment takes 2 arguments, not 3"),
        (("a",), {"text": "b"}, "sentiment got 'text' twice"),
        ((), {}, "text: Field required"),
        ((3,), {}, "text: Input should be a valid string"),
        (("a",), {"lang": "de"}, "no input 'lang'; did you mean 'language'"),
        (("a",), {"result": "x"}, "'result' is no input but an output"),
    ],
)
def test_wrong_arguments_fail_before_any_request(args: tuple[Any, ...], inputs: dict[str, Any], message: str) -> None:
    lm = ScriptedLM([GOOD])
    with dm.context(lm=lm), pytest.raises(dm.InputError, match=message):
        sentiment(*args, **inputs)
    assert lm.requests == []


def test_a_body_that_runs_says_that_the_decorator_is_missing() -> None:
    def plain(text: str) -> str:
        return dm.fill()

    with pytest.raises(dm.UsageError, match=r"lacks its @dm\.predict decorator"):
        plain("x")


def untyped(text) -> str:  # type: ignore[no-untyped-def]
    return dm.fill()


def nothing(text: str) -> None:
    return dm.fill()


def no_return(text: str):  # type: ignore[no-untyped-def]
    return dm.fill()


def many(*texts: str) -> str:
    return dm.fill()


def taken(result: str) -> str:
    return dm.fill()


def unknown(text: Nowhere) -> str:  # type: ignore[name-defined]  # noqa: F821
    return dm.fill()


async def asynchronous(text: str) -> str:
    return dm.fill()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (untyped, "untyped: the parameter 'text' needs a type"),
        (nothing, "nothing needs a return type"),
        (no_return, "no_return needs a return type"),
        (many, r"many: \*texts: .*str.* can't be an input; name each input"),
        (taken, "a parameter can't be called 'result'"),
        (unknown, "unknown: name 'Nowhere' is not defined; its types must be defined at the top level"),
        (asynchronous, r"leave out `async`; `await asynchronous\.acall\(\.\.\.\)` is async"),
    ],
)
def test_a_function_that_is_no_signature_is_refused(function: Any, message: str) -> None:
    with pytest.raises(dm.UsageError, match=message):
        dm.predict(function)
