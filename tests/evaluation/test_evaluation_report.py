"""`Report`: figures, comparison, files, masks."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from evaluation_cases import QA, rows
from pydantic import BaseModel

import declm as dm
from declm.evaluation import Report, RowResult
from declm.evaluation.report import Run
from declm.usage import Usage


def result(index: int, score: float | None, error: dm.DeclmError | None = None, **more: Any) -> RowResult[QA, QA]:
    gold = QA(question=f"number {index}", answer=str(index))
    fields: dict[str, Any] = {"output": gold if error is None else None, "seconds": 0.1 * (index + 1), **more}
    return RowResult(index, dm.spec(QA).hash(gold), gold, score=score, error=error, **fields)


def report(scores: Sequence[float | None], **run: Any) -> Report[QA, QA]:
    down = dm.ServerError("down", status=503)
    results = tuple(result(i, score, down if score is None else None) for i, score in enumerate(scores))
    told = {"program": "ask", "metric": "correct", "metric_hash": "m", "total": len(scores), **run}
    return Report(results, Run(**told))


# --- figures


def test_the_score_is_the_mean_over_scored_rows() -> None:
    made = report([1.0, 0.0, None, 1.0])
    assert made.score == pytest.approx(2 / 3)
    assert made.interval == pytest.approx((0.2077, 0.9385), abs=5e-5)
    assert [row.index for row in made.errors] == [2]
    assert math.isnan(report([None]).score)


def test_usage_and_latency_are_summed_up() -> None:
    used = Usage(calls=2, cached=1, input_tokens=10, output_tokens=5, usd=0.25)
    made = Report(tuple(result(i, 1.0, usage=used) for i in range(20)), Run("ask", "correct", "m", total=20))
    assert made.usage == Usage(calls=40, cached=20, input_tokens=200, output_tokens=100, usd=5.0)
    assert made.median_s == pytest.approx(1.05)
    assert made.p95_s == pytest.approx(1.9)
    assert math.isnan(report([]).median_s)


def test_it_prints_readably() -> None:
    parse = dm.ParseError("no JSON", text="?")
    results = (result(0, 1.0), result(1, 0.0, parse), result(2, None, dm.ServerError("down")))
    made = Report(results, Run("ask", "correct", "m", total=9, seconds=1.5))
    assert repr(made) == "Report(score=0.500 [0.095, 0.905], 3 rows of 9, 1 errors, 1 failures, $0)"
    shown = str(made)
    assert "ask, scored by correct" in shown
    assert "3 of 9 (stopped), 1 unscored" in shown
    assert "1, and 1 failures of the program (score 0)" in shown
    assert "1 x ParseError" in shown
    assert repr(made.rows[1]) == "RowResult(1, failed, score=0)"


# --- comparison


def test_reports_are_compared_row_by_row() -> None:
    first, second = report([1.0] * 9 + [0.0]), report([0.0] * 9 + [1.0])
    compared = first.compare(second)
    assert (compared.wins, compared.losses, compared.rows, compared.skipped) == (9, 1, 10, 0)
    assert compared.difference == pytest.approx(0.8)
    assert compared.p == pytest.approx(22 / 1024)
    assert compared.interval.low > 0
    assert "9 better, 1 worse, 0 equal" in str(compared)
    assert second.compare(first).difference == pytest.approx(-0.8)


def test_rows_that_one_has_not_scored_are_skipped() -> None:
    compared = report([1.0, None, 0.5]).compare(report([0.0, 1.0, None, 1.0]))
    assert (compared.rows, compared.skipped, compared.test) == (1, 3, "exact sign test")


def test_equal_rows_are_matched_in_order() -> None:
    gold = QA(question="same", answer="a")

    def twice(first: float, second: float) -> Report[QA, QA]:
        return Report(tuple(RowResult(i, "h", gold, gold, score) for i, score in enumerate((first, second))))

    assert twice(1.0, 0.0).compare(twice(0.0, 1.0)).wins == 1


def test_what_can_not_be_compared_is_refused() -> None:
    with pytest.raises(dm.UsageError, match="different metrics"):
        report([1.0]).compare(report([1.0], metric_hash="other"))
    with pytest.raises(dm.UsageError, match="no scored row in common"):
        report([1.0]).compare(report([None]))


# --- files


def test_a_saved_report_is_read_back(tmp_path: Path) -> None:
    made = report([1.0, 0.5, None], models=("m1", "m2"), seconds=2.0, started="2024-01-01T00:00:00+00:00")
    made.save(tmp_path / "r.json")
    again = Report.load(tmp_path / "r.json")
    assert again.run == made.run
    assert (again.score, again.interval, again.usage) == (made.score, made.interval, made.usage)
    assert again.rows[0].gold == {"question": "number 0", "answer": "0"}
    assert again.compare(made).rows == 2
    (error,) = (row.error for row in again.errors)
    assert isinstance(error, dm.ServerError)
    assert (error.message, error.status, error.report) == ("down", 503, None)
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "r.json").read_bytes()
    assert (tmp_path / "r.json").stat().st_mode & 0o777 == 0o600


def test_a_torn_or_changed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    report([1.0, 0.5]).save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, max(1, len(whole) // 40)):
        path.write_bytes(whole[:length])
        with pytest.raises(dm.StateError):
            Report.load(path)
    path.write_bytes(whole.replace(b"0.5", b"0.9"))
    with pytest.raises(dm.StateError, match="damaged or edited"):
        Report.load(path)
    path.write_text('{"declm": 1}')
    with pytest.raises(dm.StateError, match="no saved report"):
        Report.load(path)
    path.write_text('{"declm_report": 99}')
    with pytest.raises(dm.StateError, match="newer declm"):
        Report.load(path)
    with pytest.raises(dm.StateError, match="there is no file"):
        Report.load(tmp_path / "nowhere.json")


def test_other_names_and_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(dm.UsageError, match=r"must end in \.json or \.html"):
        report([1.0]).save(tmp_path / "r.txt")
    with pytest.raises(dm.StateError, match="can't write"):
        report([1.0]).save(tmp_path / "no" / "r.json")


def test_to_pandas_has_a_line_per_row() -> None:
    pytest.importorskip("pandas")
    frame = report([1.0, None]).to_pandas()
    assert list(frame["score"].isna()) == [False, True]
    assert list(frame["question"]) == ["number 0", "number 1"]
    assert frame["got.answer"][0] == "0"
    assert list(frame["outcome"]) == ["scored", "unscored"]
    clash = Report((RowResult(0, "h", {"score": "gold's own"}, "text", 1.0),)).to_pandas()
    assert (clash["gold.score"][0], clash["score"][0]) == ("gold's own", 1.0)
    bare = Report((RowResult(0, "h", {"q": 1}, "text", 1.0),)).to_pandas()
    assert (bare["q"][0], bare["got"][0]) == (1, "text")


# --- masks


class Patient(BaseModel):
    name: str


class Letter(dm.Signature):
    account: str = dm.Input(sensitive=True)
    notes: list[str]
    team: str = dm.Output()
    secret: int = dm.Output(sensitive=True)


class Folder(dm.Signature):
    letters: list[Letter]
    best: Letter = dm.Output()


def test_sensitive_fields_are_masked_wherever_a_report_is_shown(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    letter = Letter(account="canary-one", notes=["fine"], team="t", secret=987654321)
    gold = Folder(letters=[letter], best=letter)
    error = dm.ParseError("team: wrong", text="canary-one said 987654321")
    made = Report((
        RowResult(0, "a", letter, letter, 1.0, feedback="canary-one is right"),
        RowResult(1, "b", gold, gold, 0.5),
        RowResult(2, "c", letter, None, 0.0, feedback=error.message, error=error),
    ))  # fmt: skip
    made.save(tmp_path / "r.json")
    made.save(tmp_path / "r.html")
    shown = [
        (tmp_path / "r.json").read_text(), (tmp_path / "r.html").read_text(), made._repr_html_(), str(made), repr(made),
        repr(made.rows), made.to_pandas().to_json(),
    ]  # fmt: skip
    for text in shown:
        assert "canary-one" not in text
        assert "987654321" not in text
    assert '"notes": ["fine"]' in json.dumps(json.loads(shown[0])["rows"][0]["gold"])
    assert made.rows[0].gold is letter
    assert letter.account == "canary-one"


def test_a_report_of_an_evaluation_says_what_was_run() -> None:
    made = dm.evaluate(lambda question: question, rows(2), lambda gold, got: 1.0)
    assert (made.run.program, made.run.metric, made.run.total) == ("<lambda>", "<lambda>", 2)
    assert made.run.started
    assert made.run.seconds > 0
