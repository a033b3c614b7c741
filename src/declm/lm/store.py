"""Replies on disk: one SQLite table of JSON texts that no fault can make a call fail.

The journal is a write-ahead log (WAL), which many processes share at full speed; on a network file
system, where that does not work, it is a rollback journal.

A cache is a convenience, so damage and full disks are no errors: a row that can't be read is a miss
and is written anew, a file that is no database is replaced, and a store that can't be written is left
alone. Each is logged once per process (logger `declm`).
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import sqlite3
import threading
import zlib
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, cast

from declm.files import is_remote, make_private, unlocked
from declm.lm.forks import keep_alive
from declm.lm.leases import Leases

_log = logging.getLogger("declm")

_BUSY_S = 2.0
"""How long another process is waited for that has locked the file."""

_CREATE = "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, body TEXT NOT NULL, crc INTEGER NOT NULL)"
_READ = "SELECT body, crc FROM replies WHERE key = ?"
_WRITE = "INSERT OR REPLACE INTO replies (key, body, crc) VALUES (?, ?, ?)"


class Store:
    """Texts by key in one file, for any number of threads and processes.

    A connection serves one thread at a time and never crosses a fork. Satisfies `declm.lm.replies.Replies`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._reported: set[str] = set()
        self._leases = Leases(Path(f"{path}.asking"))
        self._fails = False
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._abandon)

    def get(self, key: str) -> Mapping[str, Any] | None:
        """The value of a key; None if there is none that can be trusted."""
        row: Any = None
        try:
            with self._connection() as connection:
                row = connection.execute(_READ, (key,)).fetchone()
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
        return None if row is None else self._decode(row)

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep a value; a store that can't be written keeps nothing."""
        body = json.dumps(value, separators=(",", ":"))  # ASCII, so that a lone surrogate survives
        try:
            with self._connection() as connection:
                connection.execute(_WRITE, (key, body, zlib.crc32(body.encode())))
            self._fails = False
        except (sqlite3.Error, OSError) as error:
            self._failed(error)

    def take(self, key: str) -> bool:
        """Whether this process may ask; always, as long as nobody can be told the answer through this file."""
        return self._fails or self._leases.take(key)

    def land(self, key: str) -> None:
        """The reply is there, and will be put in a moment if it is worth it."""
        self._leases.land(key)

    def free(self, key: str) -> None:
        """Let other processes ask."""
        self._leases.free(key)

    def close(self) -> None:
        """Close the connections that are idle; the next use opens anew."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _decode(self, row: tuple[Any, Any]) -> Mapping[str, Any] | None:
        body, crc = row
        if isinstance(body, str) and crc == zlib.crc32(body.encode("utf-8", "replace")):
            try:
                value: Any = json.loads(body)
            except (ValueError, RecursionError):
                value = None
            if isinstance(value, dict):
                return cast("dict[str, Any]", value)  # a JSON object has text keys
        self._report("damaged", f"the reply cache {str(self.path)!r} holds damaged rows; they are asked for again")
        return None

    @contextlib.contextmanager
    def _connection(self) -> Generator[sqlite3.Connection]:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self._open()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._idle.append(connection)

    def _open(self) -> sqlite3.Connection:
        make_private(self.path.parent)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite gives its side files the same mode
        return unlocked(self._connected, _BUSY_S)

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA journal_mode={self._journal()}")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(_CREATE)
        except BaseException:
            connection.close()
            raise
        return connection

    def _journal(self) -> str:
        if not is_remote(self.path):
            return "WAL"
        self._report(
            "remote",
            f"the reply cache {str(self.path)!r} lies on a network file system, where it is slow and files may break; "
            "set DECLM_CACHE_DIR to a local folder, or share replies by cache='redis://...'",
        )
        return "DELETE"

    def _failed(self, error: sqlite3.Error | OSError) -> None:
        self._fails = True
        if type(error) is sqlite3.DatabaseError:  # "malformed", "not a database"; its subclasses are other faults
            self._set_aside()
            self._report(
                "replaced",
                f"the reply cache {str(self.path)!r} is damaged ({error}); it was renamed to *.damaged and starts anew",
            )
        else:
            self._report("unusable", f"the reply cache {str(self.path)!r} can't be used ({error}); calls go on without")

    def _set_aside(self) -> None:
        """Rename the file, which may be something of the user's, and drop SQLite's side files."""
        self.close()
        with contextlib.suppress(OSError):  # another process was first, or we may not: then the store is unusable
            self.path.replace(f"{self.path}.damaged")
            for suffix in ("-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)

    def _report(self, kind: str, message: str) -> None:
        with self._lock:
            known = kind in self._reported
            self._reported.add(kind)
        if not known:
            _log.warning(message)

    def _abandon(self) -> None:
        for connection in self._idle:
            keep_alive(connection)
        self._idle = []
        self._lock = threading.Lock()
