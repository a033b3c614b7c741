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
from declm.lm.leases import LEASES, Leases
from declm.text import Url, redact

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
_LAYOUT = """
CREATE TABLE IF NOT EXISTS {prefix}layout (version INTEGER PRIMARY KEY);
INSERT INTO {prefix}layout VALUES ({layout}) ON CONFLICT DO NOTHING;
"""

_MAKING = 8_161_016_020_309
"""Number of the lock of those who make tables: any that nobody else takes."""

_BUSY_S = 30.0
"""How long another process is waited for."""


class Store(Protocol):
    """A database; safe for several threads, and in a forked child."""

    is_remote: bool
    """Whether a statement takes the way over a network."""

    def read(self, statement: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """The rows that a query finds."""
        ...

    def write(self, *statements: tuple[str, Sequence[Values]]) -> None:
        """Run statements, each for several rows of values, in one transaction; on disk when this returns."""
        ...

    def claim(self, key: str) -> bool:
        """Take a key on, given as a digest; False while another process has it. It ends with the process."""
        ...

    def release(self, keys: Sequence[str]) -> None:
        """Give up keys that were claimed, once for each claim."""
        ...

    def close(self) -> None:
        """Give up all claims and close; using the store again opens it again."""
        ...


class SQLiteStore:
    """One file; claims are locks on another one beside it.

    WAL mode with `synchronous=FULL`: what has been acknowledged survives `kill -9` and loss of power; one commit takes
    0.3 to 4 ms, by the disk. Not for network file systems, whose locks SQLite can't rely on. Without locks on files
    (Windows), every claim is granted.

    Raises:
        StateError: the file can't be opened, is no ledger, or was written by a newer declm.
    """

    is_remote = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._leases: Leases | None = None
        self._pid = os.getpid()
        with self._open():
            pass

    def __str__(self) -> str:
        return repr(str(self.path))

    def read(self, statement: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """See `Store`."""
        with self._open() as connection:
            return connection.execute(statement, values).fetchall()

    def write(self, *statements: tuple[str, Sequence[Values]]) -> None:
        """See `Store`."""
        with self._open() as connection, connection:
            for statement, rows in statements:
                connection.executemany(statement, rows)

    def claim(self, key: str) -> bool:
        """See `Store`; the same process gets a key again."""
        with self._lock:
            if self._leases is None:
                self._leases = LEASES.join(self._claims)
        return self._leases.take(key)

    def release(self, keys: Sequence[str]) -> None:
        """See `Store`."""
        leases = self._leases
        if leases is not None:
            for key in keys:
                leases.free(key)

    def close(self) -> None:
        """See `Store`."""
        with self._lock:
            connection, self._connection = self._connection, None
            leases, self._leases = self._leases, None
        if connection is not None and self._pid == os.getpid():
            connection.close()
        if leases is not None:
            LEASES.leave(self._claims)

    @property
    def _claims(self) -> Path:
        return self.path.absolute().with_name(f"{self.path.name}.claims")

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection, None, None]:
        """One connection per process, one user at a time; SQLite's errors leave as `StateError`."""
        with self._lock:
            try:
                yield self._own_connection()
            except (sqlite3.Error, OSError) as error:
                raise StateError(f"the ledger {self} can't be used: {error}") from error

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
                raise StateError(_newer(self))
            if layout < LAYOUT:
                tables = _TABLES.format(prefix="", real="REAL", end=" WITHOUT ROWID")
                connection.executescript(f"BEGIN IMMEDIATE; {tables} PRAGMA user_version = {LAYOUT}; COMMIT;")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.close()
            raise
        return connection


class PostgresStore:
    """Tables `declm_...` of a PostgreSQL database; per process one connection for them, and one that holds the claims.

    Claims are advisory locks of a session, which the server frees when its connection ends: at once if the
    process dies, and within some 20 seconds if its machine does. A pooler must not share the session.

    Raises:
        StateError: the server can't be reached, refuses, or has tables of a newer declm.
        MissingExtra: psycopg is not installed.
    """

    is_remote = True

    def __init__(self, url: Url) -> None:
        self._url = url
        self._locks = {False: threading.Lock(), True: threading.Lock()}
        self._connections: dict[bool, Any] = {}
        self._pid = os.getpid()
        # One process at a time: PostgreSQL stumbles over tables that two make at once.
        tables = "SELECT pg_advisory_xact_lock({making}); " + _TABLES + _LAYOUT
        made = tables.format(making=_MAKING, layout=LAYOUT, prefix="declm_", real="DOUBLE PRECISION", end="")
        self._run(lambda connection: connection.execute(made))
        ((version,),) = self.read("SELECT MAX(version) FROM declm_layout")
        if version > LAYOUT:
            self.close()
            raise StateError(_newer(self))

    def __str__(self) -> str:
        return repr(self._url)

    def read(self, statement: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """See `Store`."""
        text = _translated(statement)
        found: list[tuple[Any, ...]] = self._run(lambda connection: connection.execute(text, values).fetchall())
        return found

    def write(self, *statements: tuple[str, Sequence[Values]]) -> None:
        """See `Store`."""
        todo = [(_translated(text), [_storable(row) for row in rows]) for text, rows in statements if rows]

        def written(connection: Any) -> None:
            with connection.pipeline(), connection.transaction():
                for text, rows in todo:
                    connection.cursor().executemany(text, rows)

        self._run(written)

    def claim(self, key: str) -> bool:
        """See `Store`."""
        query = "SELECT pg_try_advisory_lock(%s)"
        return bool(self._run(lambda connection: connection.execute(query, (_number(key),)).fetchone()[0], claims=True))

    def release(self, keys: Sequence[str]) -> None:
        """See `Store`."""
        query, numbers = (
            "SELECT pg_advisory_unlock(key) FROM unnest(%s::bigint[]) AS key",
            [_number(key) for key in keys],
        )
        self._run(lambda connection: connection.execute(query, (numbers,)), claims=True)

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
                raise StateError(f"the ledger {self} can't be used: {redact(str(error).strip())}") from None

    def _own_connection(self, *, claims: bool) -> Any:
        if self._pid != os.getpid():
            for connection in self._connections.values():
                keep_alive(connection)
            self._connections, self._pid = {}, os.getpid()
        known = self._connections.get(claims)
        if known is None or known.closed:
            known = self._connections[claims] = _driver().connect(str(self._url), autocommit=True)
            if claims:  # the server soon notices a machine that is gone
                known.execute(
                    "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
                )
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
    named = re.sub(r"\b(outcomes|scores|notes)\b", r"declm_\1", statement)
    return named.replace("declm_declm_", "declm_").replace("?", "%s")


def _number(key: str) -> int:
    """A digest as PostgreSQL's bigint."""
    return int(key[:16], 16) - 2**63


def _storable(row: Values) -> Values:
    """Values without what PostgreSQL's texts can't hold: zeros, and halves of surrogate pairs."""
    return [
        value.replace("\0", "\ufffd").encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for value in row
    ]


def _newer(store: Store) -> str:
    return f"the ledger {store} was written by a newer declm; upgrade declm"
