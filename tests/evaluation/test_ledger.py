"""The ledger: keys, durability, changed metrics, privacy, damage."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from evaluation_cases import QA, correct, file_of, right, rows
from pydantic import BaseModel

import declm as dm
from declm.evaluation import Entry, Key, Ledger, Runner
from declm.testing import FunctionLM

KEY = Key(program="p", state="s", row="r", lm="m")


# --- the file


def outcome(ledger: Ledger, key: Key) -> Any:
    """The kept outcome of a row, or None."""
    found = ledger.outcomes([key], "metric")
    return found[key][0] if key in found else None


def score(ledger: Ledger, key: Key, metric: str) -> Any:
    """The kept score of a row, or None."""
    return ledger.outcomes([key], metric).get(key, (None, None))[1]


def test_what_is_recorded_is_found_again(tmp_path: Path) -> None:
    with Ledger(tmp_path / "a.sqlite") as ledger:
        assert outcome(ledger, KEY) is None
        assert score(ledger, KEY, "metric") is None
        ledger.record(Entry(KEY, {"output": "ä\ud800"}, "metric", dm.Score(0.5, "half")))
        ledger.keep_note("proposals", ["x"])
    with Ledger(tmp_path / "a.sqlite") as again:
        assert outcome(again, KEY) == {"output": "ä\ud800"}
        assert score(again, KEY, "metric") == dm.Score(0.5, "half")
        assert score(again, KEY, "other") is None
        assert again.note("proposals") == ["x"]
        assert again.note("nothing") is None


@pytest.mark.parametrize("part", ["program", "state", "row", "lm", "sample"])
def test_every_part_of_the_key_counts(tmp_path: Path, part: str) -> None:
    values = {"program": "p", "state": "s", "row": "r", "lm": "m", "sample": 0}
    with Ledger(tmp_path / "a.sqlite") as ledger:
        ledger.record(Entry(Key(**values), {"output": 1}, "metric", dm.Score(1.0)))  # type: ignore[arg-type]  # one dict for all
        other = Key(**{**values, part: 7 if part == "sample" else "x"})  # type: ignore[arg-type]  # as above
        assert outcome(ledger, other) is None
        assert score(ledger, other, "metric") is None


def test_files_are_private() -> None:
    with Ledger.named("mine") as ledger:
        ledger.record(Entry(KEY, {"output": 1}))
        assert file_of(ledger).path.parent.stat().st_mode & 0o777 == 0o700
        for file in file_of(ledger).path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name


def test_a_closed_ledger_opens_again_when_it_is_used() -> None:
    with Ledger.named("mine") as ledger:
        ledger.record(Entry(KEY, {"output": 1}))
        ledger.close()
        assert outcome(ledger, KEY) == {"output": 1}


def test_a_name_is_a_plain_word_or_a_path(tmp_path: Path) -> None:
    with Ledger.named(str(tmp_path / "x" / "y.sqlite")) as ledger:
        assert file_of(ledger).path == tmp_path / "x" / "y.sqlite"
    for name in ("", "../up", "a b", ".hidden"):
        with pytest.raises(dm.UsageError, match="name="):
            Ledger.named(name)


def test_a_file_that_is_no_ledger_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"no database, but long enough to look at" * 50)
    with pytest.raises(dm.StateError, match=r"can't be used: file is not a database"):
        Ledger(path)
    assert path.read_bytes().startswith(b"no database")


def test_a_ledger_of_a_newer_declm_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(dm.StateError, match="newer declm"):
        Ledger(path)


def test_a_folder_that_can_not_be_written_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(dm.StateError, match="can't be used"):
        Ledger(tmp_path / "file" / "a.sqlite")


def test_many_threads_may_write_at_once(tmp_path: Path) -> None:
    keys = [[Key("p", "s", f"{thread}.{i}", "m") for i in range(20)] for thread in range(4)]

    def work(own: list[Key]) -> None:
        for key in own:
            ledger.record(Entry(key, {"output": key.row}, "metric", dm.Score(1.0)))

    with Ledger(tmp_path / "a.sqlite") as ledger:
        threads = [threading.Thread(target=work, args=(own,)) for own in keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(outcome(ledger, key) == {"output": key.row} for own in keys for key in own)


def _write_in_child(path: str, number: int) -> None:
    with Ledger(path) as ledger:
        for i in range(10):
            ledger.record(Entry(Key("p", "s", f"{number}.{i}", "m"), {"output": i}))


def test_many_processes_may_write_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "a.sqlite")
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_write_in_child, args=(path, n)) for n in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    with Ledger(path) as ledger:
        assert all(outcome(ledger, Key("p", "s", f"{n}.{i}", "m")) for n in range(3) for i in range(10))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_uses_a_connection_of_its_own(tmp_path: Path) -> None:
    with Ledger(tmp_path / "a.sqlite") as ledger:
        ledger.record(Entry(KEY, {"output": "parent"}))
        child = os.fork()
        if child == 0:
            try:
                ledger.record(Entry(Key("p", "s", "child", "m"), {"output": "child"}))
                ledger.close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        ledger.record(Entry(KEY, {"output": "after"}))
        assert outcome(ledger, Key("p", "s", "child", "m")) == {"output": "child"}
        assert outcome(ledger, KEY) == {"output": "after"}


# --- named evaluations


def calls_of(program: Any, data: Any = None, metric: Any = correct, **options: Any) -> tuple[int, dm.Report[Any, Any]]:
    """How many calls an evaluation under the name `n` makes, and its report."""
    lm = right()
    report = dm.evaluate(program(lm), data or rows(4), metric, name="n", **options)
    return len(lm.requests), report


def predict(lm: FunctionLM) -> dm.Predict[..., QA]:
    return dm.Predict(QA, lm=lm)


def lenient(gold: QA, got: QA) -> float:
    return 0.5


def test_a_changed_metric_scores_kept_outputs_for_free() -> None:
    assert calls_of(predict)[0] == 4
    count, report = calls_of(predict, metric=lenient)
    assert (count, report.score) == (0, 0.5)
    assert calls_of(predict)[1].score == 1.0


def test_new_rows_are_run_and_old_ones_are_not() -> None:
    calls_of(predict)
    count, report = calls_of(predict, rows(6))
    assert count == 2
    assert [row.restored for row in report.rows] == [True] * 4 + [False] * 2


def test_another_state_program_signature_or_lm_runs_anew() -> None:
    class Terse(dm.Signature):
        """Answer with one number, no words."""

        question: str
        answer: str = dm.Output()

    assert calls_of(predict)[0] == 4
    assert calls_of(lambda lm: predict(lm).with_instructions("Be quick."))[0] == 4
    assert calls_of(lambda lm: predict(lm).with_demos(rows(9)[8:]))[0] == 4
    assert calls_of(lambda lm: dm.ChainOfThought(QA, lm=lm))[0] > 0
    assert calls_of(lambda lm: dm.Predict(Terse, lm=lm))[0] == 4
    assert calls_of(lambda lm: dm.Predict(QA, lm=lm, retries=5))[0] == 4
    other = FunctionLM(lambda request: '{"answer": "9"}', name="other")
    dm.evaluate(predict(other), rows(4), correct, name="n")
    assert len(other.requests) == 4
    assert calls_of(predict)[0] == 0


def test_failures_of_the_program_are_kept_and_provider_faults_and_crashes_are_not() -> None:
    def run(fault: Any) -> tuple[int, list[str]]:
        asked = []

        def reply(request: Any) -> str:
            asked.append(request)
            if fault is not None and "number 1" in request.messages[-1].content:
                if isinstance(fault, Exception):
                    raise fault
                return str(fault)
            return '{"answer": "0"}'

        ask = dm.Predict(QA, lm=FunctionLM(reply), retries=0)
        report = dm.evaluate(ask, rows(2), lenient, name="n", max_errors=None)
        return len(asked), [row.outcome for row in report.rows]

    assert run(dm.ServerError("down")) == (2, ["scored", "unscored"])
    assert run("no json") == (1, ["scored", "failed"])
    assert run("no json") == (0, ["scored", "failed"])


def test_a_crash_is_tried_again() -> None:
    broken = [True]

    def program(question: str) -> str:
        if broken:
            raise ValueError(broken.pop())
        return "0"

    def metric(gold: QA, got: str) -> float:
        return 1.0

    # One source for both runs: what makes it crash lies outside of what its hash can see.
    first = dm.evaluate(program, rows(1), metric, name="n", max_errors=None)
    second = dm.evaluate(program, rows(1), metric, name="n")
    assert [first.rows[0].outcome, second.rows[0].outcome] == ["crashed", "scored"]


class Answer(BaseModel):
    parts: tuple[int, ...]


def as_model(question: str) -> Answer:
    return Answer(parts=(1, 2))


def as_half_a_pair(question: str) -> QA:
    return QA(question=question, answer="\ud83d")


def as_list(question: str) -> list[QA]:
    return [QA(question=question, answer="a"), QA(question="open")]


def as_optional(question: str) -> tuple[int, ...] | None:
    return (1, 2)


def unannotated(question):  # type: ignore[no-untyped-def]  # the case
    return {"words": question.split(), "n": None}


class Inner(dm.Module):
    def forward(self, question: str) -> Answer:
        return Answer(parts=(3,))


@pytest.mark.parametrize("program", [as_model, as_half_a_pair, as_list, as_optional, unannotated, Inner()])
def test_outputs_come_back_as_what_they_were(program: Any) -> None:
    seen: list[Any] = []

    def metric(gold: QA, got: Any) -> bool:
        return True

    def seeing(gold: QA, got: Any) -> bool:
        seen.append(got)
        return True

    first = dm.evaluate(program, rows(2), metric, name="n")
    again = dm.evaluate(program, rows(2), seeing, name="n")
    assert all(row.restored for row in again.rows)
    assert [row.output for row in again.rows] == [row.output for row in first.rows] == seen


def test_a_predicted_function_is_restored() -> None:
    @dm.predict
    def parts(question: str) -> Answer:
        return dm.fill()

    lm = FunctionLM(lambda request: '{"result": {"parts": [1]}}')
    for _ in range(2):
        report = dm.evaluate(parts, rows(2), lambda gold, got: got.parts == (1,), name="n", lm=lm)
        assert report.score == 1.0
    assert len(lm.requests) == 2


def test_an_output_that_json_can_not_hold_is_refused_by_name() -> None:
    def program(question: str):  # type: ignore[no-untyped-def]  # the case
        return {1, 2}

    with pytest.raises(dm.UsageError, match=r"of type set can't be kept.*annotate what the program returns"):
        dm.evaluate(program, rows(2), lambda gold, got: True, name="n")
    assert dm.evaluate(program, rows(2), lambda gold, got: True).score == 1.0


def test_equal_rows_are_run_once_each_and_restored() -> None:
    count, _ = calls_of(predict, rows(2) * 2, concurrency=1)
    assert count == 2  # the second of a pair finds the first
    assert calls_of(predict, rows(2) * 2)[0] == 0


class Secret(dm.Signature):
    account: str = dm.Input(sensitive=True)
    team: str = dm.Output()


def test_sensitive_content_is_not_kept_yet_scores_are() -> None:
    lm = FunctionLM(lambda request: '{"team": "billing"}')
    data = [Secret(account=f"canary-{i}", team="billing") for i in range(3)]

    def metric(gold: Secret, got: Secret) -> bool:
        return got.team == gold.team

    def other(gold: Secret, got: Secret) -> bool:
        return got.team != gold.team

    ask = dm.Predict(Secret, lm=lm)
    dm.evaluate(ask, data, metric, name="n")
    again = dm.evaluate(ask, data, metric, name="n")
    assert len(lm.requests) == 3
    assert again.score == 1.0
    assert [row.output for row in again.rows] == [None] * 3
    with Ledger.named("n") as ledger:
        content = b"".join(file.read_bytes() for file in file_of(ledger).path.parent.iterdir())
    assert b"canary" not in content
    assert dm.evaluate(ask, data, other, name="n").score == 0.0
    assert len(lm.requests) == 6  # nothing to score anew, so the rows are run anew


def test_traces_are_kept_for_metrics_that_read_them() -> None:
    def metric(gold: QA, got: QA, run: dm.Prediction[QA]) -> bool:
        (call,) = run.trace.predictor_calls()
        return call.outputs["answer"] == gold.answer and run.usage.calls == 1

    def other(gold: QA, got: QA, run: dm.Prediction[QA]) -> bool:
        (call,) = run.trace.predictor_calls()
        return call.inputs == {"question": gold.question} and run.usage.output_tokens > 0

    assert calls_of(predict, metric=metric, traces=True)[1].score == 1.0
    count, report = calls_of(predict, metric=other, traces=True)
    assert (count, report.score) == (0, 1.0)
    assert report.rows[0].trace is not None


def test_a_class_that_has_changed_is_run_anew() -> None:
    def first(question: str) -> Answer:
        return Answer(parts=(1,))

    dm.evaluate(first, rows(1), lambda gold, got: True, name="n")
    with Ledger.named("n") as ledger, file_of(ledger)._open() as connection:  # what no public way can break
        connection.execute("UPDATE outcomes SET body = replace(body, 'parts', 'pieces')")
        connection.commit()
    report = dm.evaluate(first, rows(1), lambda gold, got: got.parts == (1,), name="n")
    assert (report.score, report.rows[0].restored) == (1.0, False)


def test_what_was_paid_for_before_a_metric_failed_is_kept() -> None:
    def wrong(gold: QA, got: QA) -> float:
        return got.anwser  # type: ignore[attr-defined, no-any-return]  # the mistake

    with pytest.raises(dm.MetricError):
        calls_of(predict, rows(3), wrong, concurrency=1)
    count, report = calls_of(predict, rows(3))
    assert (count, report.score) == (2, 1.0)


async def test_a_full_disk_stops_with_a_typed_error(tmp_path: Path) -> None:
    lm = right()
    with Ledger(tmp_path / "a.sqlite") as ledger, Runner(predict(lm), correct, ledger=ledger, concurrency=1) as runner:
        with file_of(ledger)._open() as connection:  # as full as a disk can be made without one
            connection.execute("PRAGMA max_page_count = 1")
        with pytest.raises(dm.StateError, match="disk is full"):
            await runner.run(rows(200))
    assert len(lm.requests) < 200
