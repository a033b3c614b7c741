"""What each predictor of a program used: in a run, a row, a report, a ledger and a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluation_cases import QA, correct, echo, right, rows

import declm as dm
from declm.errors import ServerError
from declm.testing import FunctionLM


class TwoSteps(dm.Module):
    """Asks twice, the second time another predictor."""

    def __init__(self, first: dm.protocols.LM, second: dm.protocols.LM) -> None:
        self.draft = dm.Predict(QA, lm=first)
        self.check = dm.Predict(QA, lm=second)

    async def forward(self, question: str) -> QA:
        drafts = [await self.draft.acall(question=question) for _ in range(2)]
        return await self.check.acall(question=drafts[0].question)


def program() -> TwoSteps:
    return TwoSteps(right(), right())


def calls(usages: dict[str, dm.Usage]) -> dict[str, int]:
    return {path: usage.calls for path, usage in usages.items()}


def test_a_run_tells_its_predictors_apart() -> None:
    run = program().run(question="number 3")
    assert calls(run.usage_by_predictor) == {"draft": 2, "check": 1}
    assert sum(run.usage_by_predictor.values(), dm.Usage()) == run.usage
    alone = dm.Predict(QA, lm=right()).run(question="number 3")
    assert calls(alone.usage_by_predictor) == {"self": 1}


def test_a_report_adds_up_and_shows_the_predictors(tmp_path: Path) -> None:
    report = dm.evaluate(program(), rows(5), correct, progress=False)
    assert calls(report.usage_by_predictor) == {"draft": 10, "check": 5}
    assert calls(dict(report.rows[0].usage_by_predictor)) == {"draft": 2, "check": 1}
    assert "- draft" in str(report)
    assert "10, " in str(report).partition("- draft")[2].splitlines()[0]
    report.save(tmp_path / "report.json")
    assert dm.Report.load(tmp_path / "report.json").usage_by_predictor == report.usage_by_predictor
    report.save(tmp_path / "report.html")
    assert "- draft" in (tmp_path / "report.html").read_text()
    one = dm.evaluate(dm.Predict(QA, lm=right()), rows(2), correct, progress=False)
    assert "- self" not in str(one)


def test_a_ledger_gives_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECLM_CACHE_DIR", str(tmp_path))
    first = dm.evaluate(program(), rows(3), correct, progress=False, name="parts")
    again = dm.evaluate(program(), rows(3), correct, progress=False, name="parts")
    assert all(row.restored for row in again.rows)
    assert again.usage_by_predictor == first.usage_by_predictor


def test_failed_attempts_and_metrics_count_in_the_whole_alone() -> None:
    judge = dm.Predict(QA, lm=right())

    async def judged(gold: QA, _got: QA) -> bool:
        return (await judge.acall(question=gold.question)).answer == gold.answer

    report = dm.evaluate(TwoSteps(right(), right()), rows(2), judged, progress=False)
    assert report.usage.calls == 8
    assert calls(report.usage_by_predictor) == {"draft": 4, "check": 2}
    flaky = FunctionLM(lambda request: echo(request) if "number 0" in request.messages[-1].content else _down())
    broken = dm.evaluate(TwoSteps(right(), flaky), rows(2), correct, progress=False, max_errors=None)
    assert calls(broken.usage_by_predictor) == {"draft": 4, "check": 1}
    assert broken.usage.calls == 6


def _down() -> str:
    raise ServerError("down")
