"""The event loop that carries all calls to providers, in a thread of its own.

Sync and async callers hand their coroutine over and wait. So there is one code path and one pool of
connections for both; a deadline or Ctrl-C closes the socket instead of leaving a thread behind; and
`asyncio.run` may be called any number of times without a client outliving its loop.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from declm.lm.forks import keep_alive

T = TypeVar("T")

Ending: TypeAlias = Callable[[], Coroutine[Any, Any, None]]

_PATIENCE_S = 2.0


@dataclass(eq=False)
class Traffic:
    """One event loop per process, started by the first call."""

    _running: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None
    _endings: list[Ending] = field(default_factory=list[Ending])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine there; cancelling the future cancels the coroutine."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop())

    def at_close(self, ending: Ending) -> None:
        """Have something closed at the end, in the event loop; to be called there."""
        self._endings.append(ending)

    def close(self) -> None:
        """Cancel what runs and end the thread; the next `start` makes another.

        To be called before the interpreter goes: a thread that it stops in the middle of an import
        leaves the import lock behind, and every destructor that imports then waits for ever.
        """
        with self._lock:
            running, self._running = self._running, None
            endings, self._endings = self._endings, []
        if running is None:
            return
        loop, thread = running
        asyncio.run_coroutine_threadsafe(_cancel_all(endings), loop)
        thread.join(_PATIENCE_S)
        if not thread.is_alive():
            loop.close()

    def abandon(self) -> None:
        """Start afresh in a forked child: the thread stayed in the parent."""
        for thing in (self._running, *self._endings):
            keep_alive(thing)
        self._running, self._endings = None, []
        self._lock = threading.Lock()

    def _loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._running is None:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(target=loop.run_forever, name="declm-traffic", daemon=True)
                thread.start()
                self._running = loop, thread
            return self._running[0]


async def _cancel_all(endings: Iterable[Ending]) -> None:
    loop = asyncio.get_running_loop()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.gather(*(ending() for ending in endings), return_exceptions=True)
    loop.stop()


TRAFFIC = Traffic()
atexit.register(TRAFFIC.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=TRAFFIC.abandon)
