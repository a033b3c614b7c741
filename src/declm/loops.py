"""Run a coroutine from synchronous code, also where an event loop is already running."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end and return the result; context variables are carried.

    In a notebook or another running loop the coroutine gets a loop in a thread of its own, while
    this thread waits. Ctrl-C cancels it and is raised here.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    return run_apart(coroutine)


def run_apart(coroutine: Coroutine[Any, Any, T], *, patience_s: float = 1.0, stop: threading.Event | None = None) -> T:
    """Run to the end in a loop in a thread of its own, while this thread waits.

    Ctrl-C cancels the coroutine and is raised here at once if it ends, else after `patience_s`
    seconds, whatever blocks inside; the thread then lingers without holding up the exit.

    With `stop`, Ctrl-C sets it first, so that the coroutine can tell it from any other cancellation
    and may end with what it has by then: such a result is returned here.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    # Events, since Ctrl-C inside of `Thread.join` makes Python 3.10 to 3.12 take the thread for ended.
    ready, ended = threading.Event(), threading.Event()
    cell: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = []

    async def main() -> T:
        task = asyncio.ensure_future(coroutine)
        cell.append((asyncio.get_running_loop(), task))
        ready.set()
        return await task

    def work() -> None:
        try:
            results.append(asyncio.run(main()))
        except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
            errors.append(error)
        finally:
            ended.set()

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(work,), name="declm-loop", daemon=True)
    asked = _cancellations()
    try:
        thread.start()
        while not ended.wait(0.1):  # without a timeout, Windows would not see Ctrl-C
            if _cancellations() > asked:
                raise KeyboardInterrupt  # the loop that we block has taken Ctrl-C for itself
    except BaseException:
        if stop is not None:
            stop.set()
        ready.wait(patience_s)  # Ctrl-C may come while the thread starts, and its work must not go on alone
        with suppress(RuntimeError):  # the loop has just closed: there is nothing left to cancel
            for loop, task in cell:
                loop.call_soon_threadsafe(task.cancel)
        ended.wait(patience_s)
        if stop is not None and results:
            return results[0]
        raise
    if errors:
        raise errors[0]
    return results[0]


async def together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all at once; one result each, same order. The first error cancels the others and is raised."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _cancellations() -> int:
    """How often the task that runs here has been asked to end; `asyncio.run` turns Ctrl-C into that."""
    if sys.version_info < (3, 11):
        return 0
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return 0
    return task.cancelling() if task is not None else 0
