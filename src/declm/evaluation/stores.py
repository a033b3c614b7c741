"""Where a ledger lives: a SQLite file on one machine, or a PostgreSQL database that several machines share.

Statements are written once, with `?` for values, in what both databases understand.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from declm.errors import MissingExtra, StateError
from declm.files import unlocked
from declm.lm.forks import keep_alive

LAYOUT = 1
"""Version of the tables; kept in SQLite's `user_version`."""

Values = Sequence[Any]

_TABLES = """
CREATE TABLE IF NOT EXISTS {prefix}outcomes (
    program TEXT NOT NULL, state TEXT NOT NULL, row TEXT NOT NULL, lm TEXT NOT NULL, sample INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (program, state, row, lm, sample)
){end};
CREATE TABLE IF NOT EXISTS {prefix}scores (
    program TEXT NOT NULL, state TEXT NOT NULL, row TEXT NOT NULL, lm TEXT NOT NULL, sample INTEGER NOT NULL,
    metric TEXT NOT NULL, value {real} NOT NULL, feedback TEXT NOT NULL,
    PRIMARY KEY (program, state, row, lm, sample, metric)
){end};
CREATE TABLE IF NOT EXISTS {prefix}notes (key TEXT PRIMARY KEY, body TEXT NOT NULL){end};
"""
_CLAIMS = """
CREATE TABLE IF NOT EXISTS {prefix}claims (key TEXT PRIMARY KEY, owner TEXT NOT NULL, until {real} NOT NULL){end};
"""
_RELEASE = "DELETE FROM claims WHERE key = ? AND owner = ?"

_HOLDER = "SELECT owner FROM claims WHERE key = ?"

_BUSY_S = 30.0
"""How long another process is waited for."""


class Store(Protocol):
    """A database; safe for several threads, and in a forked child."""

    is_remote: bool
    """Whether a statement takes the way over a network."""

    def read(self, statement: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """The rows that a query finds."""
        ...

    def write(self, *statements: tuple[str, Sequence[Values]], release: Sequence[Values] = ()) -> None:
        """Run statements, each for several rows of values, in one transaction; on disk when this returns.

        Claims are released with it, given by key and owner.
        """
        ...

    def claim(self, statement: str, values: Values) -> int:
        """Run a statement on the table of claims, which need not survive a crash; returns the rows that changed."""
        ...

    def holder(self, key: str) -> str | None:
        """Who has claimed a key."""
        ...

    def close(self) -> None:
        """Close; using the store again opens it again."""
        ...


class SQLiteStore:
    """One file, with the claims in another beside it.

    WAL mode with `synchronous=FULL`: what has been acknowledged survives `kill -9` and loss of power; one commit takes
    0.3 to 4 ms, by the disk. Not for network file systems, whose locks SQLite can't rely on.

    Raises:
        StateError: the file can't be opened, is no ledger, or was written by a newer declm.
    """

    is_remote = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connections: dict[bool, sqlite3.Connection] = {}
        self._pid = os.getpid()
        with self._open():
            pass

    def __str__(self) -> str:
        return repr(str(self.path))

    def read(self, statement: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """See `Store`."""
        with self._open() as connection:
            return connection.execute(statement, values).fetchall()

    def write(self, *statements: tuple[str, Sequence[Values]], release: Sequence[Values] = ()) -> None:
        """See `Store`."""
        if statements:
            with self._open() as connection, connection:
                for statement, rows in statements:
                    connection.executemany(statement, rows)
        if release:
            with self._open(claims=True) as connection, connection:
                connection.executemany(_RELEASE, release)

    def claim(self, statement: str, values: Values) -> int:
        """See `Store`."""
        with self._open(claims=True) as connection, connection:
            return connection.execute(statement, values).rowcount

    def holder(self, key: str) -> str | None:
        """See `Store`."""
        with self._open(claims=True) as connection:
            found = connection.execute(_HOLDER, (key,)).fetchone()
        return found[0] if found else None

    def close(self) -> None:
        """See `Store`."""
        with self._lock:
            connections, self._connections = self._connections, {}
        if self._pid == os.getpid():
            for connection in connections.values():
                connection.close()

    @contextmanager
    def _open(self, *, claims: bool = False) -> Generator[sqlite3.Connection, None, None]:
        """One connection per process, one user at a time; SQLite's errors leave as `StateError`."""
        with self._lock:
            try:
                yield self._own_connection(claims=claims)
            except (sqlite3.Error, OSError) as error:
                raise StateError(f"the ledger {self} can't be used: {error}") from error

    def _own_connection(self, *, claims: bool) -> sqlite3.Connection:
        if self._pid != os.getpid():
            for connection in self._connections.values():
                keep_alive(connection)  # the parent's: a forked child must neither use nor close it
            self._connections, self._pid = {}, os.getpid()
        known = self._connections.get(claims)
        if known is None:
            connect = self._claims if claims else self._connected
            known = self._connections[claims] = unlocked(connect, _BUSY_S)
        return known

    def _file(self, path: Path) -> sqlite3.Connection:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite itself would make it readable for all
        return sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False)

    def _connected(self) -> sqlite3.Connection:
        connection = self._file(self.path)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            (layout,) = connection.execute("PRAGMA user_version").fetchone()
            if layout > LAYOUT:
                raise StateError(f"the ledger {self} was written by a newer declm; upgrade declm")
            if layout < LAYOUT:
                tables = _TABLES.format(prefix="", real="REAL", end=" WITHOUT ROWID")
                connection.executescript(f"BEGIN IMMEDIATE; {tables} PRAGMA user_version = {LAYOUT}; COMMIT;")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.close()
            raise
        return connection

    def _claims(self) -> sqlite3.Connection:
        connection = self._file(self.path.with_name(f"{self.path.name}.claims"))
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(_CLAIMS.format(prefix="", real="REAL", end=" WITHOUT ROWID"))
        return connection


class PostgresStore:
    """Tables `declm_...` of a PostgreSQL database; per process one connection, and another one for the claims.

    Raises:
        StateError: the server can't be reached, or refuses.
        MissingExtra: psycopg is not installed.
    """

    is_remote = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._locks = {False: threading.Lock(), True: threading.Lock()}
        self._connections: dict[bool, Any] = {}
        self._pid = os.getpid()
        tables = (_TABLES + _CLAIMS).format(prefix="declm_", real="DOUBLE PRECISION", end="")
        self._run(lambda connection: connection.execute(tables))

    def __str__(self) -> str:
        return repr(re.sub(r"//[^/@]*@", "//...@", self._url))  # no passwords in messages

    def read(self, statement: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """See `Store`."""
        text = _translated(statement)
        found: list[tuple[Any, ...]] = self._run(lambda connection: connection.execute(text, values).fetchall())
        return found

    def write(self, *statements: tuple[str, Sequence[Values]], release: Sequence[Values] = ()) -> None:
        """See `Store`."""
        todo = [(_translated(text), rows) for text, rows in (*statements, (_RELEASE, release)) if rows]

        def written(connection: Any) -> None:
            with connection.pipeline(), connection.transaction():
                for text, rows in todo:
                    connection.cursor().executemany(text, rows)

        self._run(written)

    def claim(self, statement: str, values: Values) -> int:
        """See `Store`."""
        text = _translated(statement)
        return int(self._run(lambda connection: connection.execute(text, values).rowcount, claims=True))

    def holder(self, key: str) -> str | None:
        """See `Store`."""
        found = self.read(_HOLDER, (key,))
        return found[0][0] if found else None

    def close(self) -> None:
        """See `Store`."""
        connections, self._connections = self._connections, {}
        if self._pid == os.getpid():
            for connection in connections.values():
                connection.close()

    def _run(self, work: Callable[[Any], Any], *, claims: bool = False) -> Any:
        """Do something over a connection, and over a new one if that one is broken: what we do can be done twice."""
        psycopg = _driver()
        with self._locks[claims]:
            try:
                try:
                    return work(self._own_connection(claims=claims))
                except psycopg.OperationalError:
                    self._connections.pop(claims, None)  # a server that was started anew takes the next one
                    return work(self._own_connection(claims=claims))
            except psycopg.Error as error:
                raise StateError(f"the ledger {self} can't be used: {str(error).strip()}") from error

    def _own_connection(self, *, claims: bool) -> Any:
        if self._pid != os.getpid():
            for connection in self._connections.values():
                keep_alive(connection)
            self._connections, self._pid = {}, os.getpid()
        known = self._connections.get(claims)
        if known is None or known.closed:
            known = self._connections[claims] = _driver().connect(self._url, autocommit=True)
            if claims:
                known.execute("SET synchronous_commit = off")  # a lost claim costs nothing
        return known


def _driver() -> Any:
    """The library that talks to PostgreSQL."""
    try:
        import psycopg
    except ImportError as error:
        raise MissingExtra("postgres", "psycopg") from error
    return psycopg


def _translated(statement: str) -> str:
    """A statement in PostgreSQL's placeholders, on our tables there."""
    named = re.sub(r"\b(outcomes|scores|notes|claims)\b", r"declm_\1", statement)
    return named.replace("declm_declm_", "declm_").replace("?", "%s")
