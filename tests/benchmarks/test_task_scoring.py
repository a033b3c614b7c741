"""Metrics are found by words in a card's prose, from a closed set, and score what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scoring import FlagAccuracy, macro_f1, micro_f1, same_items, same_option, same_text
from task_folders import build
from tasks import Task, load

import declm as dm


def task(name: str, folder: Path, **changes: Any) -> Task:
    metric = changes.pop("override", None)
    build(folder, name, card=changes)
    return load(folder, name, metric=metric)


@pytest.mark.parametrize(
    ("name", "by", "also"),
    [
        ("colours", {"label": "exact_match"}, {}),
        ("letters", {"target": "option_letter"}, {}),
        ("people", {"entities": "set_f1"}, {"entities": ("micro_f1",)}),
        ("mail", {"urgency": "exact_match", "categories": "flag_accuracy"}, {}),
        ("sums", {"answer": "number_match"}, {}),
        ("trivia", {"answer": "exact_match"}, {"answer": ("f1",)}),
        ("queries", {"sql": "sql_execution"}, {}),
    ],
)
def test_a_cards_words_name_its_metrics(name: str, by: dict[str, str], also: dict[str, Any], tmp_path: Path) -> None:
    scoring = task(name, tmp_path).scoring
    assert scoring.by == by
    assert {output: metrics for output, metrics in scoring.also.items() if metrics} == also


@pytest.mark.parametrize(
    ("name", "metric", "by", "also"),
    [
        ("colours", "Accuracy", "exact_match", ()),
        ("colours", "accuracy and macro-F1", "exact_match", ("macro_f1",)),
        ("colours", "macro F1", "exact_match", ("macro_f1",)),
        ("people", "entity F1", "set_f1", ()),
        ("people", "F1", "set_f1", ()),
        ("people", "exact match", "exact_match", ()),
        ("trivia", "token F1", "f1", ()),
        ("trivia", "Exact-match after normalisation", "exact_match", ()),
        ("sums", "the same number", "number_match", ()),
        ("queries", "accuracy of the executed query", "sql_execution", ()),
    ],
)
def test_words_are_read_by_the_kind_of_output(
    name: str, metric: str, by: str, also: tuple[str, ...], tmp_path: Path
) -> None:
    scoring = task(name, tmp_path, metric=metric).scoring
    assert list(scoring.by.values()) == [by]
    assert list(scoring.also.values()) == [also]


@pytest.mark.parametrize("metric", ["", "BLEU", "a judge's opinion"])
def test_an_unknown_metric_lists_the_options(metric: str, tmp_path: Path) -> None:
    with pytest.raises(dm.UsageError, match=r"names none that is known for 'answer'; pass --metric.*exact_match, f1"):
        task("trivia", tmp_path, metric=metric)


def test_prose_is_never_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(dm.UsageError):
        task("trivia", tmp_path, metric=f"__import__('pathlib').Path({str(mark)!r}).touch()")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("override", "by"),
    [
        ("exact_match", {"urgency": "exact_match", "categories": "exact_match"}),
        ("categories=set_f1", {"categories": "set_f1"}),
        ("urgency=exact_match, categories=set_f1", {"urgency": "exact_match", "categories": "set_f1"}),
    ],
)
def test_an_override_beats_the_card(override: str, by: dict[str, str], tmp_path: Path) -> None:
    assert task("mail", tmp_path, override=override).scoring.by == by


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("bleu", "there is no 'bleu' for the output 'urgency', a label"),
        ("f1", "there is no 'f1' for the output 'urgency'"),
        ("mood=exact_match", "there is no 'exact_match' for the output 'mood'"),
        ("categories=", "there is no '' for the output 'categories'"),
    ],
)
def test_an_override_that_does_not_fit_lists_the_options(override: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(dm.UsageError, match=f"{told}.*; pass --metric NAME or --metric OUTPUT=NAME"):
        task("mail", tmp_path, override=override)


def test_sql_execution_needs_a_database(tmp_path: Path) -> None:
    with pytest.raises(dm.UsageError, match=r"needs a database\.json"):
        task("trivia", tmp_path, override="sql_execution")


def test_the_score_of_a_row_is_the_mean_over_its_outputs(tmp_path: Path) -> None:
    mail = task("mail", tmp_path)
    gold = mail.signature.model_validate({"text": "x", "urgency": "high", "categories": ["red"]})
    got = mail.signature.model_validate({"text": "x", "urgency": "low", "categories": ["red", "blue"]})
    assert mail.scoring(gold, gold) == dm.Score(1.0)
    score = mail.scoring(gold, got)
    assert score.value == pytest.approx((0 + 2 / 3) / 2)
    assert 'urgency is "low", not "high"' in score.feedback
    assert str(mail.scoring) == "mean of urgency: exact_match, categories: flag_accuracy"


def test_a_card_may_ask_that_all_outputs_be_right(tmp_path: Path) -> None:
    mail = task("mail", tmp_path, metric="exact match of all fields")
    gold = mail.signature.model_validate({"text": "x", "urgency": "high", "categories": ["red"]})
    got = mail.signature.model_validate({"text": "x", "urgency": "low", "categories": ["red"]})
    assert mail.scoring(gold, got).value == 0.0
    assert mail.scoring(gold, gold).value == 1.0


def test_a_missing_value_equals_only_a_missing_value(tmp_path: Path) -> None:
    sums = task("sums", tmp_path)
    open_ended = dm.spec(sums.signature).with_field("answer", str | None, dm.Output())
    none, some = open_ended(question="?", answer=None), open_ended(question="?", answer="3")
    assert [sums.scoring(none, none).value, sums.scoring(none, some).value, sums.scoring(some, none).value] == [1, 0, 0]


@pytest.mark.parametrize(
    ("gold", "got", "score"),
    [("(B)", "B", 1), ("(B)", "The answer is (B) 5 May", 1), ("(B)", "b)", 1), ("(A)", "A.", 1), ("(B)", "(C)", 0),
     ("(A)", "", 0), ("(A)", "Aunt Ann", 0), ("(A)", "an", 0)],
)  # fmt: skip
def test_options_are_compared_by_their_letter(gold: str, got: str, score: float) -> None:
    assert same_option(gold, got) == score


@pytest.mark.parametrize(
    ("gold", "got", "score"),
    [("The Beatles", "beatles!", 1), ("A", "a", 1), ("A", "the", 0), ("A", "", 0), ("?", "!", 0), ("4", "44", 0)],
)
def test_texts_are_normalized_unless_nothing_would_remain(gold: str, got: str, score: float) -> None:
    assert same_text(gold, got) == score


def test_labels_are_compared_in_any_order() -> None:
    assert same_items(["a", "b"], ["b", "a", "a"]) == 1.0
    assert same_items(["a"], []) == 0.0
    assert FlagAccuracy(("a", "b", "c", "d"))(["a", "b"], ["b", "c"]) == 0.5


def test_micro_f1_weights_rows_by_their_items() -> None:
    pairs = [(["a", "b", "c"], ["a", "b", "c"]), (["d"], ["x"]), (["e"], None)]
    assert micro_f1(pairs) == pytest.approx(2 * 3 / (5 + 4))
    assert micro_f1([([], [])]) == 1.0


def test_macro_f1_is_the_mean_over_the_gold_labels() -> None:
    pairs = [("a", "a"), ("a", "a"), ("b", "a"), ("b", None)]
    assert macro_f1(pairs) == pytest.approx((2 * 2 / (2 + 3) + 0) / 2)
