"""What a search says about itself: text, HTML, file, and the fields of its result."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from search_cases import VAL, Sort, from_demos, from_nothing, learner, search

import declm as dm
from declm.optimizers import Optimized, Trial


@pytest.fixture(scope="module")
def best() -> Optimized[Any]:
    return search(dm.Predict(Sort, lm=learner(from_demos)), trials=5)


def test_the_result_has_everything_that_was_found(best: Optimized[Any]) -> None:
    assert isinstance(best.program, dm.Predict)
    assert 0.0 <= best.baseline < best.score <= 1.0
    assert best.usage.calls > 100
    assert [t.number for t in best.report.trials] == list(range(len(best.report.trials)))
    first = best.report.trials[0]
    given = Trial(
        0, {}, dm.Predict(Sort).state, best.baseline, len(VAL), "baseline", scores=first.scores, cost=first.cost
    )
    assert first == given
    assert sum(score or 0.0 for score in first.scores) / len(VAL) == pytest.approx(best.baseline)
    assert {t.fate for t in best.report.trials} <= {"baseline", "finished", "raced out", "repeated"}
    assert all(t.rows == len(VAL) for t in best.report.trials if t.fate == "finished")


def test_the_study_holds_what_the_report_holds(best: Optimized[Any]) -> None:
    trials = best.study.trials
    assert [t.number for t in trials] == [t.number for t in best.report.trials]
    assert trials[0].value == best.baseline
    for told, trial in zip(trials[1:], best.report.trials[1:], strict=True):
        assert told.user_attrs == {"rows": trial.rows, "fate": trial.fate, "state": trial.state.hash}
        assert told.params == trial.choices
        if trial.fate == "finished":
            assert told.value == pytest.approx(trial.score)


def test_it_prints_as_a_table_with_a_conclusion(best: Optimized[Any]) -> None:
    text = str(best.report)
    assert re.search(r"^ +0 +0\.\d+ +36 +baseline +the program as given$", text, re.MULTILINE)
    assert re.search(r"demos 30 \(4 nearest\), instruction #1 <- best", text)
    assert f"Accepted: {best.baseline:.3f} -> {best.score:.3f} on 36 rows (p " in text
    assert "  self.demos: 0 -> " in text
    assert text.splitlines()[-1].startswith(f"Spent {best.usage.calls} calls, ")
    assert repr(best).startswith(f"Optimized(score={best.score:.3f}, baseline={best.baseline:.3f})")


def test_no_gain_says_why_and_what_would_change_it() -> None:
    found = search(dm.Predict(Sort, lm=learner(from_nothing)), trials=8)
    assert found.report.conclusion.startswith("No significant gain: ")
    assert "More val rows, or accept='best', would change that." in found.report.conclusion


def test_it_saves_one_self_contained_page(best: Optimized[Any], tmp_path: Path) -> None:
    path = tmp_path / "search.html"
    best.report.save(path)
    page = path.read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert best.report.conclusion.split(":")[0] in page
    assert not re.search(r"(src|href)\s*=\s*[\"']?https?:", page)
    assert "<script" not in page
    with pytest.raises(dm.StateError, match="can't write"):
        best.report.save(tmp_path / "missing" / "search.html")


def test_it_shows_in_notebooks_and_escapes_what_it_shows() -> None:
    def reply(request: dm.Request) -> str:
        return from_demos(request).replace("Sort it somehow", "<script>alert(1)</script> Sort it & so on")

    found = search(dm.Predict(Sort, lm=learner(reply)), trials=8, accept="best")
    html = found.report._repr_html_()
    assert html.count("<tr") > 5
    assert html.count("<td>the program as given</td>") == 1
    assert "<script>alert" not in html


def test_trials_without_a_score_are_shown_without_one() -> None:
    def reply(request: dm.Request) -> str:
        if len(request.messages) > 2:
            raise dm.ServerError("down")
        return from_demos(request)

    found = search(dm.Predict(Sort, lm=learner(reply)), trials=2, proposals=0)
    assert math.isnan(found.report.trials[1].score)
    assert re.search(r"^ +1 +- +0 +outage ", str(found.report), re.MULTILINE)
    html = found.report._repr_html_()
    assert "nan" not in html
    assert "Trouble: trial 1" in html


def test_the_end_by_a_budget_is_in_the_page() -> None:
    found = search(dm.Predict(Sort, lm=learner(from_demos)), budget=dm.Budget(calls=100))
    assert "The budget&#39;s limit on calls ended the search." in found.report._repr_html_()


def test_the_tuned_program_is_saved_and_loaded_like_any_other(best: Optimized[Any], tmp_path: Path) -> None:
    path = tmp_path / "sort.json"
    best.program.save(path)
    assert dm.Predict(Sort).load(path).state == best.program.state
