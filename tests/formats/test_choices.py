from __future__ import annotations

import math
from typing import Any, Literal

import pytest

import declm as dm
from declm.errors import UsageError
from declm.formats.choices import narrowed, rank
from declm.messages import Capabilities, Request, Response, Token
from declm.state import PredictorState
from declm.testing import FunctionLM

DESKS = {name: name for name in ("booking", "fees", "advice")}


class Route(dm.Signature):
    """Route it."""

    text: str
    desk: Literal["booking", "fees", "advice"] = dm.Output()


def token(text: str, logprob: float = 0.0, **others: float) -> Token:
    return Token(text, logprob, ((text, logprob), *others.items()))


def reply(first: str, rest: str, **others: float) -> tuple[Token, ...]:
    return (
        token('{"'),
        token("desk"),
        token('":'),
        token(' "'),
        token(first, others[first], **{k: v for k, v in others.items() if k != first}),
        token(rest),
        token('"}'),
    )


def test_rank_scores_every_label_where_it_parts_from_the_reply() -> None:
    ranked = rank(reply("b", "ooking", b=-0.5, f=-1.5, adv=-3.0), "desk", DESKS)
    assert ranked is not None
    assert ranked.scores == {"booking": -0.5, "fees": -1.5, "advice": -3.0}
    assert ranked.best({}) == "booking"
    assert ranked.best({"fees": 1.5}) == "fees"


def test_rank_adds_up_the_alternatives_that_begin_a_label() -> None:
    ranked = rank(reply("b", "ooking", b=-0.5, f=-2.0, fee=-2.0, adv=-3.0), "desk", DESKS)
    assert ranked is not None
    assert ranked.scores["fees"] == pytest.approx(-2.0 + math.log(2.0))


def test_a_label_that_is_not_listed_counts_less_than_all_that_are() -> None:
    ranked = rank(reply("b", "ooking", b=-0.5, f=-2.0), "desk", DESKS)
    assert ranked is not None
    assert ranked.scores["advice"] == -3.0


def test_probabilities_add_up_to_one() -> None:
    ranked = rank(reply("b", "ooking", b=-0.5, f=-2.0, adv=-3.0), "desk", DESKS)
    assert ranked is not None
    assert sum(ranked.probabilities({"advice": 2.0}).values()) == pytest.approx(1.0)


def test_labels_that_part_later_are_told_apart_along_the_reply_only() -> None:
    values = {name: name for name in ("card_lost", "card_late", "exchange")}
    tokens = (token('{"desk": "'), token("card", -0.1, exchange=-2.0), token("_l"), token("ost", -0.2, ate=-1.0))
    ranked = rank((*tokens, token('"}')), "desk", values)
    assert ranked is not None
    assert ranked.scores == pytest.approx({"card_lost": -0.3, "card_late": -1.1, "exchange": -2.0})
    other = rank((token('{"desk": "'), token("exchange", -0.1, card=-2.0), token('"}')), "desk", values)
    assert other is not None
    assert set(other.together["card_lost"]) == {"card_lost", "card_late"}


@pytest.mark.parametrize("text", ["", "no json", '{"team": "fees"}'])
def test_rank_finds_nothing_in_a_reply_without_the_key(text: str) -> None:
    assert rank((token(text),), "desk", DESKS) is None


def test_narrowed_changes_one_key_only() -> None:
    schema = {"type": "object", "properties": {"desk": {"enum": ["a", "b", "c"]}, "n": {"type": "integer"}}}
    changed = narrowed(schema, "desk", ["a", "b"])
    assert changed is not None
    assert changed == {"type": "object", "properties": {"desk": {"enum": ["a", "b"]}, "n": {"type": "integer"}}}
    assert schema["properties"] != changed["properties"]


def biased(**biases: float) -> PredictorState:
    return PredictorState(biases={"desk": biases})


def always_booking(request: Request) -> Response:
    tokens = reply("b", "ooking", b=-0.5, f=-1.5, adv=-3.0)
    return Response("".join(t.text for t in tokens), tokens=tokens if request.logprobs else ())


def test_a_predictor_with_biases_decides_by_biased_scores() -> None:
    lm = FunctionLM(always_booking, capabilities=Capabilities(structured=True, logprobs=20))
    plain: Any = dm.Predict(Route, lm=lm)
    assert plain(text="how much").desk == "booking"
    assert lm.requests[-1].logprobs == 0
    run = plain.with_predictor_state(biased(fees=2.0)).run(text="how much")
    assert run.value.desk == "fees"
    assert max(run.trace.probabilities["desk"], key=run.trace.probabilities["desk"].__getitem__) == "fees"
    assert lm.requests[-1].logprobs == 20


def test_biases_under_an_lm_without_log_probabilities_are_refused() -> None:
    lm = FunctionLM(always_booking)
    calibrated: Any = dm.Predict(Route, lm=lm).with_predictor_state(biased(fees=2.0))
    with pytest.raises(UsageError, match="log-probabilities"):
        calibrated(text="how much")
    assert lm.requests == []


def test_labels_that_share_a_score_are_asked_once_more() -> None:
    class Card(dm.Signature):
        text: str
        intent: Literal["card_lost", "card_late", "exchange"] = dm.Output()

    def answer(request: Request) -> Response:
        allowed = (request.schema or {})["properties"]["intent"]["enum"]
        if "exchange" in allowed:
            tokens = (token('{"intent": "'), token("exchange", -0.1, card=-1.0), token('"}'))
        else:
            tokens = (token('{"intent": "'), token("card"), token("_l"), token("ate", -0.2, ost=-2.0), token('"}'))
        return Response("".join(t.text for t in tokens), tokens=tokens)

    lm = FunctionLM(answer, capabilities=Capabilities(structured=True, logprobs=20))
    state = PredictorState(biases={"intent": {"card_lost": 1.5, "card_late": 1.5}})
    calibrated: Any = dm.Predict(Card, lm=lm).with_predictor_state(state)
    assert calibrated(text="where is it").intent == "card_late"
    assert len(lm.requests) == 2
