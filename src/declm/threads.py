"""Threads for synchronous user code under an event loop.

Unlike those of `concurrent.futures`, which Python joins at exit, these are daemons: a program that
hangs in a call can't keep the interpreter from ending after Ctrl-C.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[], Any]
    future: asyncio.Future[Any]
    context: contextvars.Context


class Threads:
    """Up to `limit` threads, started as they are needed; used from one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._started = 0
        self._unfinished = 0

    async def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function in a thread, with the context variables in force here.

        If the caller is cancelled the function runs on, and its result is dropped.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        if self._unfinished >= self._started and self._started < self._limit:
            threading.Thread(target=self._serve, args=(loop,), name="declm-row", daemon=True).start()
            self._started += 1
        self._unfinished += 1
        self._jobs.put(_Job(lambda: function(*args, **kwargs), future, contextvars.copy_context()))
        return await future

    def close(self) -> None:
        """Let the threads end once they are idle; does not wait for them."""
        for _ in range(self._started):
            self._jobs.put(None)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        while (job := self._jobs.get()) is not None:
            result: Any = None
            error: BaseException | None = None
            try:
                result = job.context.run(job.work)
            except BaseException as raised:  # noqa: BLE001  # handed to the coroutine that waits
                error = raised
            try:
                loop.call_soon_threadsafe(self._settle, job.future, result, error)
            except RuntimeError:
                return  # the loop has been closed: nobody waits any more
            del job, result, error  # an idle thread must not keep a row alive

    def _settle(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._unfinished -= 1
        if future.cancelled():
            return
        if isinstance(error, StopIteration):
            future.set_exception(RuntimeError(f"the function raised {error!r}"))  # a future refuses StopIteration
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
