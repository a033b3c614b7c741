"""The event loop that carries all calls to providers, in a daemon thread of its own.

Sync and async callers hand their coroutine over and wait. So there is one code path and one pool of
connections for both; a deadline or Ctrl-C closes the socket instead of leaving a thread behind; and
`asyncio.run` may be called any number of times without a client outliving its loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from declm.lm.forks import keep_alive

T = TypeVar("T")


@dataclass(eq=False)
class Traffic:
    """One event loop per process, started by the first call."""

    _loop: asyncio.AbstractEventLoop | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine there; cancelling the future cancels the coroutine."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._running())

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="declm-traffic", daemon=True).start()
            return self._loop

    def abandon(self) -> None:
        """Start afresh in a forked child: the thread stayed in the parent."""
        if self._loop is not None:
            keep_alive(self._loop)
        self._loop = None
        self._lock = threading.Lock()


TRAFFIC = Traffic()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=TRAFFIC.abandon)
