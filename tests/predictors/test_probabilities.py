"""`probabilities=True`: how likely the LM found every value of each closed output."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

import declm as dm
from declm.messages import Capabilities, Request, Response, Token
from declm.testing import FunctionLM

INTENTS = ("card_lost", "card_late", "card_linked", "exchange")


class Card(dm.Signature):
    """What is it about?"""

    text: str
    intent: Literal["card_lost", "card_late", "card_linked", "exchange"] = dm.Output()
    note: str = dm.Output()


def token(text: str, logprob: float = 0.0, **others: float) -> Token:
    return Token(text, logprob, ((text, logprob), *others.items()))


def always_exchange(request: Request) -> Response:
    """A model for which `exchange` is the likeliest, and which writes the best of those it may write."""
    allowed = (request.schema or {})["properties"]["intent"]["enum"]
    if "exchange" in allowed:
        value = (token("exchange", -0.5, card=-1.0),)
    elif "card_lost" in allowed:
        value = (token("card", -1.0), token("_l", -0.1), token("ost", -0.3, ate=-1.5, inked=-3.0))
    else:
        raise AssertionError(f"nobody need ask about {allowed}")
    tokens = (token('{"intent": "'), *value, token('", "note": "-"}'))
    return Response("".join(t.text for t in tokens), tokens=tokens if request.logprobs else ())


def weighing() -> FunctionLM:
    return FunctionLM(always_exchange, capabilities=Capabilities(structured=True, logprobs=20))


def test_every_value_has_its_own_probability() -> None:
    lm = weighing()
    run = dm.Predict(Card, lm=lm, probabilities=True).run(text="?")
    assert run.value.intent == "exchange"
    found = run.probabilities["intent"]
    scores = {"card_lost": -1.4, "card_late": -2.6, "card_linked": -4.1, "exchange": -0.5}
    total = sum(map(math.exp, scores.values()))
    assert found == pytest.approx({name: math.exp(score) / total for name, score in scores.items()})
    assert [request.logprobs for request in lm.requests] == [20, 20]  # the cards once among themselves
    assert run.usage.calls == 2


def test_nobody_pays_for_what_nobody_asked_for() -> None:
    lm = weighing()
    run = dm.Predict(Card, lm=lm).run(text="?")
    assert run.probabilities == {}
    assert [request.logprobs for request in lm.requests] == [0]


def test_an_lm_without_log_probabilities_is_refused_before_it_is_asked() -> None:
    lm = FunctionLM(always_exchange)
    with pytest.raises(dm.UsageError, match="gives no log-probabilities"):
        dm.Predict(Card, lm=lm, probabilities=True)(text="?")
    assert lm.requests == []


@pytest.mark.parametrize("format", ["chat", "xml"])
def test_a_format_that_shows_no_value_is_refused_before_it_is_asked(format: str) -> None:
    lm = weighing()
    with pytest.raises(dm.UsageError, match="in JSON replies only"):
        dm.Predict(Card, lm=lm, probabilities=True, format=format)(text="?")
    assert lm.requests == []


def test_a_signature_without_closed_outputs_is_refused() -> None:
    with pytest.raises(dm.UsageError, match="no closed output"):
        dm.Predict("text -> note", probabilities=True)


def test_biases_decide_among_all_values() -> None:
    state = dm.PredictorState(biases={"intent": {"card_late": 3.0}})
    predict = dm.Predict(Card, lm=weighing(), probabilities=True).with_predictor_state(state)
    run = predict.run(text="?")
    assert run.value.intent == "card_late"
    assert max(run.probabilities["intent"], key=run.probabilities["intent"].__getitem__) == "card_late"


def test_probabilities_of_sensitive_outputs_are_not_told() -> None:
    class Secret(dm.Signature):
        text: str
        intent: Literal["card_lost", "card_late", "card_linked", "exchange"] = dm.Output(sensitive=True)
        note: str = dm.Output()

    run = dm.Predict(Secret, lm=weighing(), probabilities=True).run(text="?")
    assert run.value.intent == "exchange"
    assert run.probabilities == {}


def told(tokens: Sequence[Token], value: str) -> float:
    """The log-probability of the tokens that say a value."""
    start = "".join(token.text for token in tokens).index(value)
    total, offset = 0.0, 0
    for token in tokens:
        if offset < start + len(value) and offset + len(token.text) > start:
            total += token.logprob
        offset += len(token.text)
    return total


@pytest.mark.slow
def test_probabilities_of_a_real_model_are_those_of_each_value_forced(tmp_path: Path, gguf: Path) -> None:
    lm = dm.LM(f"local/{gguf}", cache=tmp_path / "replies.db")
    predict = dm.Predict(Card, lm=lm, probabilities=True, format="json")
    text = "My card has not come yet, and I have waited for two weeks."
    run = predict.run(text=text)
    found = run.probabilities["intent"]
    assert sum(found.values()) == pytest.approx(1.0)
    assert found.keys() == set(INTENTS)

    [request, *_] = [request for request, _ in run.trace.exchanges]
    forced = dict[str, float]()
    for name in INTENTS:
        properties = {**(request.schema or {})["properties"], "intent": {"enum": [name]}}
        only = Request(request.messages, {**(request.schema or {}), "properties": properties}, logprobs=8)
        forced[name] = told(lm.complete(only).tokens, name)
    likeliest = max(found, key=found.__getitem__)
    for name in INTENTS:  # values also differ in tokens after those that tell them apart
        assert math.log(found[name] / found[likeliest]) == pytest.approx(forced[name] - forced[likeliest], abs=0.5)

    again = predict.run(text=text)
    assert again.probabilities == run.probabilities
    assert again.usage.calls == 0  # what was asked among some values is kept too
    assert json.dumps(again.value.model_dump()) == json.dumps(run.value.model_dump())
