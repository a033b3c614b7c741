"""The cache file: modes, threads, processes, damage, full and read-only disks."""

from __future__ import annotations

import logging
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from declm.lm.flights import GRACE_S
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


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    store = Store(tmp_path / "locked" / "replies.db")
    store.put("k", VALUE)
    assert store.get("k") is None


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


def test_on_a_network_file_system_there_is_no_shared_memory_and_one_warning(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("declm.lm.store.is_remote", lambda _path: True)  # no test can mount one
    for other in (store, Store(store.path)):
        other.put("k", VALUE)
        assert other.get("k") == VALUE
        store.close()
    assert {path.name for path in store.path.parent.iterdir()} == {"replies.db"}
    assert [message.count("network file system") for message in warnings_of(caplog)] == [1, 1]  # one a store


KEY = "0123456789abcdef" * 2

HOLDER = """
import sys
from pathlib import Path
from declm.lm.store import Store

store = Store(Path(sys.argv[1]))
store.get("k")
print(store.take(sys.argv[2]), flush=True)
for line in sys.stdin:
    store.land(sys.argv[2]) if line == "land\\n" else store.free(sys.argv[2])
    print(line, end="", flush=True)
"""


@pytest.fixture
def holder(store: Store) -> Iterator[subprocess.Popen[str]]:
    """A process that has taken the lease of `KEY`."""
    command = [sys.executable, "-c", HOLDER, str(store.path), KEY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


def tell(holder: subprocess.Popen[str], word: str) -> None:
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.write(f"{word}\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == f"{word}\n"


needs_locks = pytest.mark.skipif(sys.platform == "win32", reason="no leases between processes")


@needs_locks
def test_a_lease_keeps_other_processes_out_until_it_is_freed(store: Store, holder: subprocess.Popen[str]) -> None:
    assert not store.take(KEY)
    assert store.take("f" * 32)
    tell(holder, "free")
    assert store.take(KEY)
    assert store.take(KEY)


@needs_locks
def test_a_lease_ends_with_its_process(store: Store, holder: subprocess.Popen[str]) -> None:
    assert not store.take(KEY)
    holder.kill()
    holder.wait()
    assert store.take(KEY)


@needs_locks
def test_a_reply_that_has_landed_is_waited_for_a_moment_only(store: Store, holder: subprocess.Popen[str]) -> None:
    tell(holder, "land")
    began_s = time.monotonic()
    while not store.take(KEY):
        time.sleep(0.01)
    assert GRACE_S - 0.1 < time.monotonic() - began_s < GRACE_S + 0.5


@needs_locks
def test_a_file_that_can_not_be_written_makes_nobody_wait(store: Store, holder: subprocess.Popen[str]) -> None:
    assert not store.take(KEY)
    store.path.unlink()
    store.close()
    store.path.mkdir()
    store.put("k", VALUE)
    assert store.take(KEY)


STARTING = """
import sys, time
from pathlib import Path
from declm.lm.store import Store
while time.time() < float(sys.argv[2]): pass
store = Store(Path(sys.argv[1]))
store.put(sys.argv[3], {"text": "kept"})
store.close()
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_processes_that_open_a_new_file_at_once_wait_for_each_other(tmp_path: Path) -> None:
    for turn in range(30):
        command = [sys.executable, "-c", STARTING, str(tmp_path / f"{turn}.db"), str(time.time() + 0.5)]
        workers = [subprocess.Popen([*command, str(n)], stderr=subprocess.PIPE, text=True) for n in range(6)]
        assert [worker.communicate(timeout=60)[1] for worker in workers] == [""] * 6
        store = Store(tmp_path / f"{turn}.db")
        assert [store.get(str(n)) for n in range(6)] == [{"text": "kept"}] * 6
        store.close()
