"""The cache file: modes, threads, processes, damage, full and read-only disks."""

from __future__ import annotations

import logging
import os
import pickle
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from declm.lm.store import Store

VALUE = {"text": "hello", "n": [1, 2]}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache" / "replies.db")


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "declm" and r.levelno >= logging.WARNING]


def test_values_come_back_equal(store: Store) -> None:
    store.put("k", VALUE)
    assert store.get("k") == VALUE
    assert store.get("other") is None


def test_a_value_can_be_replaced(store: Store) -> None:
    store.put("k", VALUE)
    store.put("k", {"text": "new"})
    assert store.get("k") == {"text": "new"}


def test_another_store_of_the_same_file_sees_the_values(store: Store) -> None:
    store.put("k", VALUE)
    assert Store(store.path).get("k") == VALUE


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_folder_and_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = Store(tmp_path / "deep" / "cache" / "replies.db")
        store.put("k", VALUE)
        assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
        files = list(store.path.parent.iterdir())
        assert len(files) == 3
        assert {stat.S_IMODE(f.stat().st_mode) for f in files} == {0o600}
    finally:
        os.umask(before)


DAMAGE: list[tuple[str, object]] = [
    ("body", "{not json"),
    ("body", '{"text": "hell0", "n": [1,2]}'),
    ("body", "null"),
    ("body", b"\x80\x04\x95"),
    ("body", ""),
    ("crc", 0),
]


@pytest.mark.parametrize(("column", "value"), DAMAGE)
def test_damaged_rows_are_misses_with_one_warning_and_heal(
    store: Store, column: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    for index in range(20):
        store.put(str(index), VALUE)
    store.close()
    raw = sqlite3.connect(store.path)
    raw.execute(f"UPDATE replies SET {column} = ?", (value,))
    raw.commit()
    raw.close()
    assert [store.get(str(i)) for i in range(20)] == [None] * 20
    assert len(warnings_of(caplog)) == 1
    for index in range(20):
        store.put(str(index), VALUE)
    assert [store.get(str(i)) for i in range(20)] == [VALUE] * 20


def test_a_planted_pickle_is_data(store: Store) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return exec, ("raise SystemExit('executed')",)

    store.put("k", VALUE)
    store.close()
    raw = sqlite3.connect(store.path)
    raw.execute("UPDATE replies SET body = ?", (pickle.dumps(Bomb()),))
    raw.commit()
    raw.close()
    assert store.get("k") is None


@pytest.mark.parametrize("content", [b"", b"this is no database, it is somebody's text file", os.urandom(5000)])
def test_a_file_that_is_no_database_is_set_aside_and_replaced(
    store: Store, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    store.path.parent.mkdir()
    store.path.write_bytes(content)
    for _ in range(3):
        store.put("k", VALUE)
    assert store.get("k") == VALUE
    if content:
        assert store.path.with_name("replies.db.damaged").read_bytes() == content
        assert len(warnings_of(caplog)) == 1


@pytest.mark.parametrize("offset", [100, 1000, 4096, 5000, 9000])
def test_a_torn_file_never_makes_a_call_fail(store: Store, offset: int) -> None:
    for index in range(200):
        store.put(str(index), VALUE)
    store.close()
    data = store.path.read_bytes()
    store.path.write_bytes(data[:offset] + b"\xff" * 3000 + data[offset + 3000 :])
    for index in range(200):
        assert store.get(str(index)) in (None, VALUE)
        store.put(str(index), VALUE)
    assert Store(store.path).get("7") == VALUE


def test_a_place_that_can_not_be_written_is_left_alone_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file" / "replies.db")
    for index in range(300):
        store.put(str(index), VALUE)
        assert store.get(str(index)) is None
    assert len(warnings_of(caplog)) == 1


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    store = Store(tmp_path / "locked" / "replies.db")
    store.put("k", VALUE)
    assert store.get("k") is None


FULL_DISK = """
import logging, resource, signal, sys
from pathlib import Path
from declm.lm.store import Store

logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s")
store = Store(Path(sys.argv[1]))
store.put("before", {"text": "kept"})
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for index in range(300):
    store.put(str(index), {"text": "x" * 2000})
print(store.get("before"))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_full_disk_costs_one_warning_and_no_call(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "replies.db")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    warning, value = done.stdout.splitlines()
    assert "can't be used" in warning
    assert value == "{'text': 'kept'}"


def test_threads_share_a_store(store: Store) -> None:
    failures = list[str]()

    def work(worker: int) -> None:
        for index in range(50):
            store.put(f"{worker}-{index}", {"text": f"{worker}-{index}"})
            if store.get(f"{worker}-{index}") != {"text": f"{worker}-{index}"}:
                failures.append(f"{worker}-{index}")

    threads = [threading.Thread(target=work, args=(w,)) for w in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


WRITER = """
import sys
from pathlib import Path
from declm.lm.store import Store

store = Store(Path(sys.argv[1]))
for index in range(200):
    store.put(f"{sys.argv[2]}-{index}", {"text": "x"})
"""


def test_processes_share_a_file_without_losing_rows(store: Store) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(store.path), str(w)]) for w in range(3)]
    assert [w.wait(30) for w in writers] == [0, 0, 0]
    missing = [k for w in range(3) for i in range(200) if store.get(k := f"{w}-{i}") is None]
    assert missing == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_opens_its_own_connection(store: Store) -> None:
    store.put("parent", VALUE)
    child = os.fork()
    if not child:
        try:
            store.put("child", VALUE)
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert (store.get("parent"), store.get("child")) == (VALUE, VALUE)
    store.put("again", VALUE)
    assert Store(store.path).get("again") == VALUE
