"""The ready-made comparisons, against values worked out by hand or by SQuAD's script."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import declm as dm
from declm import metrics


class Entity(BaseModel):
    text: str
    kind: str = "person"


class Triage(dm.Signature):
    ticket: str
    team: str = dm.Output()
    urgency: int = dm.Output()


@pytest.mark.parametrize(
    ("gold", "got", "expected"),
    [
        ("The Beatles", "beatles", 1.0),
        ("U.S.A.", "usa", 1.0),
        ("theatre", "atre", 0.0),
        ("a  b", "A B!", 1.0),
        (["NYC", "New York"], "new york.", 1.0),
        ([], "x", 0.0),
        ("the", "", 0.0),  # SQuAD's script says 1: it drops the article
        ("(A)", "", 0.0),
        ("(A)", "A", 1.0),
        ("(A)", "B", 0.0),
        ("+", "-", 0.0),
        ("+", " + ", 1.0),
        ("", "", 1.0),
    ],
)
def test_exact_compares_normalized_texts(gold: str | Iterable[str], got: str, expected: float) -> None:
    assert metrics.exact(gold, got) == expected


@pytest.mark.parametrize(
    ("gold", "got", "expected"),
    [
        ("cat sat", "the cat sat", 1.0),
        ("a b c d", "b c x", 4 / 6),  # `a` is an article: {b, c, d} and {b, c, x}
        ("b b c", "b c c", 2 / 3),
        ("x", "y", 0.0),
        ("", "", 1.0),
        ("", "x", 0.0),
        (["x y", "p q"], "p", 2 / 3),
        ([], "x", 0.0),
    ],
)
def test_f1_counts_words_with_repetition(gold: str | Iterable[str], got: str, expected: float) -> None:
    assert metrics.f1(gold, got) == pytest.approx(expected)


@given(st.text(max_size=30), st.text(max_size=30))
def test_f1_is_symmetric_within_bounds_and_one_where_exact(gold: str, got: str) -> None:
    assert 0.0 <= metrics.f1(gold, got) == metrics.f1(got, gold) <= 1.0
    if metrics.exact(gold, got):
        assert metrics.f1(gold, got) == 1.0


@pytest.mark.parametrize(
    ("gold", "got", "expected"),
    [
        ("1,234", "The total is $1234.00.", 1.0),
        (12, "12%", 1.0),
        ("12", "she has 12 apples, not 13", 0.0),
        ("13", "she has 12 apples, then 13", 1.0),
        ("-5", "\N{MINUS SIGN}5", 1.0),
        ("4", "3-4", 1.0),
        (0.5, ".5", 1.0),
        ("1e3", 1000, 1.0),
        ("1000000", "1000001", 0.0),
        ("12,5", "5", 1.0),
        ("3", "three", 0.0),
        (float("nan"), float("nan"), 0.0),
        ("", "", 0.0),
    ],
)
def test_numbers_match_by_value(gold: Any, got: Any, expected: float) -> None:
    assert metrics.number_match(gold, got) == expected


def test_the_tolerance_is_relative() -> None:
    assert metrics.number_match(1000.0, 1001.0, tolerance=0.01) == 1.0
    assert metrics.number_match(1000.0, 1100.0, tolerance=0.01) == 0.0


def test_set_f1_compares_items_by_content() -> None:
    gold = [Entity(text="Ann"), Entity(text="Bob")]
    assert metrics.set_f1(gold, [Entity(text="Bob"), Entity(text="Bob", kind="place")]) == 0.5
    assert metrics.set_f1([{"a": 1, "b": [2]}], [{"b": [2], "a": 1}]) == 1.0
    assert metrics.set_f1(["A", "a"], ["a"], key=str.lower) == 1.0
    assert metrics.set_f1([], []) == 1.0
    assert metrics.set_f1([], ["x"]) == 0.0


def test_matches_asks_for_all_fields_and_accuracy_for_their_share() -> None:
    gold = Triage(ticket="t", team="bugs", urgency=3)
    got = Triage(ticket="t", team="bugs", urgency=4)
    assert metrics.matches("team")(gold, got).value == 1.0
    assert metrics.matches()(gold, got) == dm.Score(0.0, "urgency is 4, not 3")
    assert metrics.accuracy()(gold, got).value == 0.5
    assert metrics.accuracy("urgency", "team")(gold, got).value == 0.5
    assert metrics.accuracy("urgency")(gold, 3).value == 1.0
    assert repr(metrics.matches("team")) == "matches('team')"


def test_an_output_that_was_not_predicted_counts_as_wrong() -> None:
    gold = Triage(ticket="t", team="bugs", urgency=3)
    assert metrics.accuracy()(gold, Triage(ticket="t", team="bugs")).value == 0.5


def test_a_gold_row_without_the_field_is_a_mistake() -> None:
    with pytest.raises(dm.UsageError, match="no output 'topic'; it has 'team'"):
        metrics.matches("topic")(Triage(ticket="t", team="bugs"), Triage(ticket="t", team="bugs"))
    with pytest.raises(dm.UsageError, match="no outputs to compare"):
        metrics.matches()(Triage(ticket="t"), Triage(ticket="t"))
