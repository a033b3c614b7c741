"""Several processes at one search: they divide its rows, and come to the same end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import resumed_search
from fault_server import FaultServer, completion, serving
from postgres_server import serving_postgres
from search_cases import two_steps
from test_resume import as_request, kill_at, start

from declm.evaluation import Ledger
from declm.evaluation.stores import PostgresStore

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="processes as POSIX has them"),
    pytest.mark.timeout(240),
]


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
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving_postgres(tmp_path_factory.mktemp("postgres")) as url:
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
    began_s = time.monotonic()
    alone = results([start(database, slow.url)])
    one_s = time.monotonic() - began_s
    whole = slow.count
    clear(database)
    slow.bodies.clear()
    began_s = time.monotonic()
    found = results([start(database, slow.url) for _ in range(4)])
    four_s = time.monotonic() - began_s
    assert found == alone * 4
    assert slow.count == whole
    print(f"one {one_s:.1f} s, four {four_s:.1f} s")  # noqa: T201


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


def test_a_postgres_ledger_keeps_what_a_file_keeps(database: str) -> None:
    clear(database)
    with Ledger(database) as one, Ledger(database) as other:
        one.keep_note("a", {"b": 1})
        assert other.note("a") == {"b": 1}
        assert one.claim("row")
        assert one.claim("row")
        assert not other.claim("row")
        one.release(["row"])
        assert other.claim("row")


def test_an_address_without_a_server_is_told_without_its_password() -> None:
    with pytest.raises(Exception, match=r"postgresql://\.\.\.@127.0.0.1:1/none.*can't be used") as caught:
        Ledger.named("postgresql://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(caught.value)


def clear(url: str) -> None:
    """Forget everything."""
    store = PostgresStore(url)
    store.write(*((f"DELETE FROM {table} WHERE ? = 1", [(1,)]) for table in ("outcomes", "scores", "notes", "claims")))
    store.close()
