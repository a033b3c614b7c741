"""Several processes at one search: they divide its rows, and come to the same end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import resumed_search
from fault_server import FaultServer, completion, serving
from postgres_server import serving_postgres
from search_cases import two_steps
from test_resume import as_request, kill_at, start

import declm as dm
from declm.evaluation import Entry, Key, Ledger
from declm.evaluation.stores import PostgresStore
from declm.score import Score
from declm.testing import ScriptedLM
from declm.text import Url, digest

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="processes as POSIX has them"),
    pytest.mark.timeout(240),
]


ROW = digest("a row")


@contextmanager
def taking(pause_s: float) -> Generator[FaultServer]:
    """A server that takes its time for an answer."""

    def answer(body: Any) -> Any:
        time.sleep(pause_s)
        return completion(two_steps(as_request(body)))

    with serving() as server:
        server.answer = answer
        yield server


@pytest.fixture
def slow() -> Iterator[FaultServer]:
    """A server that takes 200 ms for an answer."""
    with taking(0.2) as server:
        yield server


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with serving_postgres() as url:
        yield url


def results(processes: list[subprocess.Popen[str]]) -> list[Any]:
    """What processes came to."""
    found = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        found.append(json.loads(out))
    return found


def test_two_processes_divide_a_search_between_them(tmp_path: Path) -> None:
    with taking(0.01) as server:
        expected = resumed_search.run(None, server.url)
        whole = server.count
        server.bodies.clear()
        ledger = tmp_path / "search.sqlite"
        found = results([start(ledger, server.url) for _ in range(2)])
    assert found == [expected] * 2
    assert server.count == whole


@pytest.mark.slow
def test_four_processes_share_a_database(database: str, slow: FaultServer) -> None:
    alone = results([start(database, slow.url)])
    whole = slow.count
    clear(database)
    slow.bodies.clear()
    found = results([start(database, slow.url) for _ in range(4)])
    assert found == alone * 4
    assert slow.count == whole


@pytest.mark.slow
def test_a_killed_process_changes_nothing(database: str, slow: FaultServer) -> None:
    expected = resumed_search.run(None, slow.url)
    whole = slow.count
    clear(database)
    slow.bodies.clear()
    others = [start(database, slow.url) for _ in range(3)]
    kill_at(start(database, slow.url), lambda: slow.count, whole // 3)
    assert results(others) == [expected] * 3
    assert whole <= slow.count <= whole + 32  # two calls for each of 16 rows in flight


def test_claims_in_a_database_are_exclusive_until_released_or_closed(database: str) -> None:
    one, other = Ledger(database), Ledger(database)
    assert one.claim(ROW)
    assert one.claim(ROW)
    assert not other.claim(ROW)
    one.release([ROW, ROW])
    assert other.claim(ROW)
    other.close()
    assert one.claim(ROW)
    one.close()


def test_a_database_keeps_what_a_file_keeps(database: str) -> None:
    clear(database)
    key = Key("p", "s", "r", "m")
    with Ledger(database) as one, Ledger(database) as other:
        one.keep_note("a", {"b": 1})
        assert other.note("a") == {"b": 1}
        one.record(Entry(key, {"output": "ä\ud800\0"}, "metric", Score(0.5, "so so")))
        assert other.outcomes([key], "metric") == {key: ({"output": "ä\ud800\0"}, Score(0.5, "so so"))}
        assert other.outcomes([key], "another metric") == {key: ({"output": "ä\ud800\0"}, None)}


def test_words_that_a_database_cannot_hold_are_kept_as_far_as_it_can(database: str) -> None:
    key = Key("p", "s", "odd", "m")
    with Ledger(database) as ledger:
        ledger.record(Entry(key, {}, "metric", Score(0.5, "zero \0, half \ud800")))
        assert ledger.outcomes([key], "metric")[key][1] == Score(0.5, "zero \ufffd, half ?")


def test_processes_may_make_the_tables_at_once(database: str) -> None:
    store = PostgresStore(Url(database))
    for _ in range(3):
        store.write(*((f"DROP TABLE declm_{table}", [()]) for table in ("outcomes", "scores", "notes", "layout")))
        with ThreadPoolExecutor(8) as pool:
            for ledger in list(pool.map(lambda _: Ledger(database), range(8))):
                ledger.close()
    store.close()


def test_tables_of_a_newer_declm_are_refused(database: str) -> None:
    store = PostgresStore(Url(database))
    store.write(("INSERT INTO declm_layout VALUES (?)", [(99,)]))
    try:
        with pytest.raises(dm.StateError, match=r"was written by a newer declm; upgrade declm"):
            Ledger(database)
    finally:
        store.write(("DELETE FROM declm_layout WHERE version = ?", [(99,)]))
        store.close()


@pytest.mark.parametrize(
    "address", ["postgresql://me:secret@127.0.0.1:1/no", "postgresql://127.0.0.1:1/no?password=secret"]
)
def test_a_database_that_is_away_is_told_without_its_password(address: str) -> None:
    with pytest.raises(dm.StateError, match=r"the ledger .*127.0.0.1:1/no.* can't be used") as caught:
        Ledger.named(address)
    assert "secret" not in str(caught.value) + repr(caught.value.__cause__)


def test_no_password_reaches_a_report_or_a_message(database: str, tmp_path: Path) -> None:
    address = database.replace("declm@", "declm:hunter2secret@")
    row = dm.define("question -> answer")(question="?", answer="yes")
    program = dm.Predict("question -> answer", lm=ScriptedLM(['{"answer": "yes"}']))
    report = dm.evaluate(program, [row], lambda gold, got: gold.answer == got.answer, name=address, progress=False)
    assert report.score == 1.0
    report.save(tmp_path / "report.json")
    assert "hunter2secret" not in (tmp_path / "report.json").read_text() + repr(report) + str(report)
    with pytest.raises(dm.UsageError) as caught:
        Ledger.named("mysql://declm:hunter2secret@127.0.0.1/none")
    assert "hunter2secret" not in str(caught.value)


def clear(url: str) -> None:
    """Forget everything."""
    store = PostgresStore(Url(url))
    store.write(*((f"DELETE FROM {table} WHERE ? = 1", [(1,)]) for table in ("outcomes", "scores", "notes")))
    store.close()
