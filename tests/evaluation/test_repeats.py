"""Rows that are run several times, parts of a report, and what changed on which row."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest
from evaluation_cases import QA, correct, echo, number_in, right, rows

import declm as dm
from declm.messages import Request
from declm.testing import FunctionLM


def sometimes() -> FunctionLM:
    """An LM whose samples are right as often as the number in the question says, of 4."""

    def answer(request: Request) -> str:
        number = number_in(request)
        return echo(request) if request.sample < number % 5 else json.dumps({"answer": "?"})

    return FunctionLM(answer)


def repeated(n: int = 5, repeats: int = 4) -> dm.Report[QA, QA]:
    return dm.evaluate(dm.Predict(QA, lm=sometimes()), rows(n), correct, progress=False, repeats=repeats)


def test_the_score_of_a_row_is_the_mean_of_its_runs() -> None:
    report = repeated()
    assert [(row.index, row.sample) for row in report.rows] == list(itertools.product(range(5), range(4)))
    assert report.scores == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert report.score == 0.5
    assert report.interval.low < 0.5 < report.interval.high
    assert report.usage.calls == 20
    once = dm.evaluate(dm.Predict(QA, lm=sometimes()), rows(5), correct, progress=False)
    assert once.score == 0.8
    assert report.interval.high - report.interval.low > 0.2  # 5 rows, not 20


def test_pass_at_k_and_pass_all_are_the_shares_of_all_choices() -> None:
    report = repeated()
    runs = [[row.score == 1.0 for row in report.rows if row.index == i] for i in range(5)]
    for k in range(1, 5):
        any_right = [[any(c) for c in itertools.combinations(row, k)] for row in runs]
        all_right = [[all(c) for c in itertools.combinations(row, k)] for row in runs]
        assert report.pass_at(k) == pytest.approx(sum(sum(row) / len(row) for row in any_right) / 5)
        assert report.pass_all(k) == pytest.approx(sum(sum(row) / len(row) for row in all_right) / 5)
    assert report.pass_at(1) == report.pass_all(1) == report.score
    for k in (0, 5):
        with pytest.raises(dm.UsageError, match="from 1 to the 4 runs"):
            report.pass_at(k)


def test_a_row_that_was_scored_too_seldom_is_left_out() -> None:
    def answer(request: Request) -> str:
        if number_in(request) == 0 and request.sample:
            raise dm.ServerError("down")
        return echo(request)

    report = dm.evaluate(
        dm.Predict(QA, lm=FunctionLM(answer)), rows(2), correct, progress=False, repeats=2, max_errors=None
    )
    assert report.score == 1.0
    assert report.pass_at(2) == 1.0
    assert len(report.errors) == 1


@pytest.mark.parametrize("repeats", [0, -1, 1.5])
def test_repeats_is_a_whole_number(repeats: int) -> None:
    with pytest.raises(dm.UsageError, match="repeats="):
        repeated(repeats=repeats)


def test_a_report_of_repeats_is_saved_and_shown(tmp_path: Path) -> None:
    report = repeated()
    assert "4 runs of each of 5 rows; one of 4 right 0.800, all 4 right 0.200" in str(report)
    report.save(tmp_path / "report.json")
    again = dm.Report.load(tmp_path / "report.json")
    assert again.scores == report.scores
    assert again.pass_at(2) == report.pass_at(2)
    report.save(tmp_path / "report.html")
    assert "4 runs of each of 5 rows" in (tmp_path / "report.html").read_text()
    assert "runs of each" not in str(dm.evaluate(dm.Predict(QA, lm=right()), rows(2), correct, progress=False))


def test_a_ledger_keeps_every_run(tmp_path: Path) -> None:
    name, lm = str(tmp_path / "runs.sqlite"), sometimes()
    program = dm.Predict(QA, lm=lm)
    two = dm.evaluate(program, rows(5), correct, progress=False, repeats=2, name=name)
    four = dm.evaluate(program, rows(5), correct, progress=False, repeats=4, name=name)
    assert len(lm.requests) == 20
    assert sum(row.restored for row in four.rows) == len(two.rows) == 10
    assert four.scores == repeated().scores


def test_slices_are_reports_of_parts_of_the_data(tmp_path: Path) -> None:
    class Tagged(QA):
        language: str = dm.Note()

    data = [Tagged(**row.model_dump(), language="de" if i % 3 else "en") for i, row in enumerate(rows(9))]
    report = dm.evaluate(dm.Predict(QA, lm=sometimes()), data, correct, progress=False)
    parts = report.slices("language")
    assert {key: len(part.rows) for key, part in parts.items()} == {"de": 6, "en": 3}
    assert list(parts) == ["de", "en"]
    assert math.isclose(parts["de"].score * 6 + parts["en"].score * 3, report.score * 9)
    assert report.slices(lambda gold: int(gold.answer) > 4)[True].rows == report.rows[5:]
    report.save(tmp_path / "report.json")
    assert dm.Report.load(tmp_path / "report.json").slices("language")["en"].score == parts["en"].score
    with pytest.raises(dm.UsageError, match="no field 'langage'; did you mean 'language'"):
        report.slices("langage")


def test_slices_need_values_that_can_be_keys() -> None:
    class Listed(dm.Signature):
        question: str
        tags: list[str] = dm.Note()
        answer: str = dm.Output()

    data = [Listed(question=row.question, tags=["a"], answer=row.answer) for row in rows(2)]
    report = dm.evaluate(dm.Predict(QA, lm=right()), data, lambda gold, got: gold.answer == got.answer, progress=False)
    with pytest.raises(dm.UsageError, match="'tags' holds a list; pass a function"):
        report.slices("tags")
    assert list(report.slices(lambda gold: gold.tags[0])) == ["a"]


def test_a_comparison_names_the_rows_that_changed() -> None:
    worse = FunctionLM(lambda request: echo(request) if number_in(request) != 2 else json.dumps({"answer": "?"}))
    before = dm.evaluate(dm.Predict(QA, lm=right()), rows(6), correct, progress=False)
    after = dm.evaluate(dm.Predict(QA, lm=worse), rows(6), correct, progress=False)
    [change] = after.compare(before).changes
    assert (change.gold.question, change.first, change.second, change.difference) == ("number 2", 0.0, 1.0, -1.0)
    assert before.compare(before).changes == ()
    mixed = repeated().compare(dm.evaluate(dm.Predict(QA, lm=right()), rows(5), correct, progress=False))
    assert [change.difference for change in mixed.changes] == [-1.0, -0.75, -0.5, -0.25]
    assert mixed.rows == 5
