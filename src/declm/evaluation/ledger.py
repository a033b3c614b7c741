"""The ledger: finished rows on disk, so that nothing is paid for twice.

SQLite in WAL mode with `synchronous=FULL`: a row that has been acknowledged survives `kill -9` and
loss of power; one commit takes 0.3 to 4 ms, by the disk. Content is JSON. Not for network file systems, whose locks
SQLite can't rely on.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import Self

from declm.errors import StateError, UsageError
from declm.files import cache_dir, unlocked
from declm.lm.forks import keep_alive
from declm.score import Score

LAYOUT = 1
"""Version of the tables; kept in SQLite's `user_version`."""

_TABLES = """
CREATE TABLE IF NOT EXISTS outcomes (
    program TEXT NOT NULL, state TEXT NOT NULL, row TEXT NOT NULL, lm TEXT NOT NULL, sample INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (program, state, row, lm, sample)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS scores (
    program TEXT NOT NULL, state TEXT NOT NULL, row TEXT NOT NULL, lm TEXT NOT NULL, sample INTEGER NOT NULL,
    metric TEXT NOT NULL, value REAL NOT NULL, feedback TEXT NOT NULL,
    PRIMARY KEY (program, state, row, lm, sample, metric)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
"""
_BUSY_S = 30.0
"""How long another process is waited for."""

_WHERE = "program = ? AND state = ? AND row = ? AND lm = ? AND sample = ?"


@dataclass(frozen=True, slots=True)
class Key:
    """What an outcome depends on, as hashes; `sample` tells several samples of one prompt apart."""

    program: str
    state: str
    row: str
    lm: str
    sample: int = 0

    @property
    def columns(self) -> tuple[str, str, str, str, int]:
        """The values in the order of the tables."""
        return self.program, self.state, self.row, self.lm, self.sample


@dataclass(frozen=True, slots=True)
class Entry:
    """What is written about one row: its outcome, its score under a metric (by hash), or both."""

    key: Key
    outcome: Mapping[str, Any] | None = None
    metric: str = ""
    score: Score | None = None


class Ledger:
    """Outcomes and scores of rows in one file; safe for several threads and processes.

    Outcomes are kept apart from scores, which are keyed by the metric as well: a changed metric
    scores kept outputs anew, without any LM call.

    Raises:
        StateError: the file can't be opened, is no ledger, or was written by a newer declm.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._pid = os.getpid()
        with self._open():
            pass

    @classmethod
    def named(cls, name: str) -> Ledger:
        """The ledger of that name in the user's cache folder; a path with a suffix names any file.

        Raises:
            UsageError: the name is neither.
        """
        path = Path(name)
        if path.suffix in (".sqlite", ".db"):
            return cls(path)
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise UsageError(f"name={name!r}: use letters, digits, '.', '_' and '-', or a path that ends in .sqlite")
        return cls(cache_dir("ledgers") / f"{name}.sqlite")

    def outcome(self, key: Key) -> dict[str, Any] | None:
        """The kept outcome of a row, or None."""
        with self._open() as connection:
            found = connection.execute(f"SELECT body FROM outcomes WHERE {_WHERE}", key.columns).fetchone()  # noqa: S608  # a constant
        return None if found is None else self._decoded(found[0])

    def score(self, key: Key, metric: str) -> Score | None:
        """The kept score of a row under a metric (by hash), or None."""
        query = f"SELECT value, feedback FROM scores WHERE {_WHERE} AND metric = ?"  # noqa: S608  # a constant
        with self._open() as connection:
            found = connection.execute(query, (*key.columns, metric)).fetchone()
        return None if found is None else Score(found[0], found[1])

    def record(self, *entries: Entry) -> None:
        """Write entries in one transaction; on disk when this returns."""
        outcomes = [(*e.key.columns, _encoded(e.outcome)) for e in entries if e.outcome is not None]
        scores = [(*e.key.columns, e.metric, e.score.value, e.score.feedback) for e in entries if e.score is not None]
        with self._open() as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?)", outcomes)
            connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?, ?, ?, ?)", scores)

    def note(self, key: str) -> Any:
        """What was kept under a free key (a search keeps proposals so), or None."""
        with self._open() as connection:
            found = connection.execute("SELECT body FROM notes WHERE key = ?", (key,)).fetchone()
        return None if found is None else self._decoded(found[0])

    def keep_note(self, key: str, value: Any) -> None:
        """Keep a JSON value under a free key; on disk when this returns."""
        with self._open() as connection, connection:
            connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (key, _encoded(value)))

    def close(self) -> None:
        """Close the file; using the ledger again opens it again."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None and self._pid == os.getpid():
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def damage(self) -> str:
        """What to say of an entry that nobody of us has written."""
        return f"the ledger {str(self.path)!r} holds a damaged entry; delete the file"

    def _decoded(self, body: str) -> Any:
        try:
            return json.loads(body)
        except (ValueError, TypeError, RecursionError) as error:
            raise StateError(self.damage) from error

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection, None, None]:
        """One connection per process, one user at a time; SQLite's errors leave as `StateError`."""
        with self._lock:
            try:
                yield self._own_connection()
            except (sqlite3.Error, OSError) as error:
                raise StateError(f"the ledger {str(self.path)!r} can't be used: {error}") from error

    def _own_connection(self) -> sqlite3.Connection:
        if self._pid != os.getpid():
            keep_alive(self._connection)  # the parent's: a forked child must neither use nor close it
            self._connection, self._pid = None, os.getpid()
        if self._connection is None:
            self._connection = unlocked(self._connected, _BUSY_S)
        return self._connection

    def _connected(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite itself would make it readable for all
        connection = sqlite3.connect(self.path, timeout=_BUSY_S, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            (layout,) = connection.execute("PRAGMA user_version").fetchone()
            if layout > LAYOUT:
                raise StateError(f"the ledger {str(self.path)!r} was written by a newer declm; upgrade declm")
            if layout < LAYOUT:
                connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {LAYOUT}; COMMIT;")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.close()
            raise
        return connection


def _encoded(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))  # ASCII, so that a lone surrogate survives
