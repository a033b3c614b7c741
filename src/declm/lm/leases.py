"""Who asks for a key: leases among the processes of one machine, as locks on a file.

A lock is a byte of an empty file beside the cache, and the kernel frees it when its process dies, however
that happens: no clock, no heartbeat, nothing to clean up, and nothing is written to a disk that may be full.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from declm.lm.flights import GRACE_S

if sys.platform != "win32":
    import fcntl


class Leases:
    """Two locks per key: one while its holder asks, one from the landing until the reply is kept.

    Within a process `Flights` sees to it that one caller leads. Where there are no locks (Windows, some
    network file systems) everybody gets the lease, and processes may ask the same twice.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()  # a generator that is collected frees its lease, perhaps inside of `_handle`
        self._file: int | None = None
        self._seen: dict[str, float] = {}
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._abandon)

    def take(self, key: str) -> bool:
        """Whether this process may ask; False if another one does, or has just been answered."""
        asking, landed = _places(key)
        if not self._locked(asking):
            return False
        if self._locked(landed):
            self._free(landed)
        elif time.monotonic() - self._seen.setdefault(key, time.monotonic()) < GRACE_S:
            self._free(asking)
            return False
        self._seen.pop(key, None)
        return True

    def land(self, key: str) -> None:
        """The reply is there and not kept yet: others wait `GRACE_S` at most."""
        asking, landed = _places(key)
        self._locked(landed)
        self._free(asking)

    def free(self, key: str) -> None:
        """Let others ask."""
        for place in _places(key):
            self._free(place)

    def _locked(self, place: int) -> bool:
        """Lock a byte if nobody else has; True as well where there are no locks."""
        if sys.platform == "win32":
            return True
        try:
            handle = self._handle()
        except OSError:
            return True
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):  # POSIX allows either
            return False
        except OSError:
            return True
        return True

    def _free(self, place: int) -> None:
        if sys.platform != "win32":
            with contextlib.suppress(OSError):
                fcntl.lockf(self._handle(), fcntl.LOCK_UN, 1, place)

    def _handle(self) -> int:
        # Kept open for good: closing any handle of a file frees all locks that the process has on it.
        with self._lock:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            return self._file

    def close(self) -> None:
        """Free all locks and close the file; the next lease opens it again."""
        with self._lock:
            handle, self._file = self._file, None
        if handle is not None:
            os.close(handle)

    def _abandon(self) -> None:
        # The handle serves the child too, which has none of its parent's locks.
        self._lock = threading.RLock()
        self._seen = {}


class SharedLeases:
    """One `Leases` per file and process, for users that come and go: closing a second handle would free all locks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Path, Leases] = {}
        self._users: Counter[Path] = Counter()

    def join(self, path: Path) -> Leases:
        """The leases of a file; `leave` it when they are no longer needed."""
        with self._lock:
            self._users[path] += 1
            if path not in self._known:
                self._known[path] = Leases(path)
            return self._known[path]

    def leave(self, path: Path) -> None:
        """The last user to leave frees all locks."""
        with self._lock:
            self._users[path] -= 1
            if not self._users[path]:
                self._known[path].close()


LEASES = SharedLeases()


def _places(key: str) -> tuple[int, int]:
    """The two bytes of a key; two keys that share them wait for each other, which is rare and harmless."""
    place = int(key[:15], 16) * 2
    return place, place + 1
