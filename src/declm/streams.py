"""Watch a program while it runs: what its predictors have written so far, as it is written.

A program runs in a thread or task of its own and tells a listener, which a context variable holds;
predictors that find one ask their LM for a stream instead of a whole reply.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, TypeAlias

Piece: TypeAlias = tuple[str, Any]
"""Path of a predictor and what it has written so far; the path is empty for the program's own result."""

Listener = Callable[[Piece], None]

_listener: contextvars.ContextVar[Listener | None] = contextvars.ContextVar("declm_listener", default=None)


class Closed(BaseException):
    """Nobody listens any more: the program that was watched ends here. No `except Exception` may catch it."""


def listener() -> Listener | None:
    """Who wants to be told of partial outputs here, if anybody does."""
    return _listener.get()


def pieces(run: Callable[[], Any]) -> Generator[Piece]:
    """Run a function in a thread and yield what its predictors write, then its result.

    Closing the iterator stops the function at the next piece, and its LM stream with it.
    """
    told: queue.SimpleQueue[Piece | BaseException] = queue.SimpleQueue()
    closed = threading.Event()

    def tell(piece: Piece) -> None:
        if closed.is_set():
            raise Closed
        told.put(piece)

    def work() -> None:
        _listener.set(tell)
        try:
            result = run()
        except BaseException as error:  # noqa: BLE001  # raised again where the iterator is read
            told.put(error)
        else:
            told.put(("", result))

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(work,), name="declm-stream", daemon=True).start()
    try:
        while True:
            piece = told.get()
            if isinstance(piece, BaseException):
                raise piece
            yield piece
            if not piece[0]:
                return
    finally:
        closed.set()


async def apieces(run: Callable[[], Coroutine[Any, Any, Any]]) -> AsyncGenerator[Piece]:
    """The same on the event loop: closing the iterator cancels the coroutine and waits for it."""
    loop, told, closed = asyncio.get_running_loop(), asyncio.Queue[Piece](), threading.Event()

    def tell(piece: Piece) -> None:
        if closed.is_set():
            raise Closed
        loop.call_soon_threadsafe(told.put_nowait, piece)  # a synchronous program tells from its thread

    async def work() -> None:
        _listener.set(tell)
        tell(("", await run()))

    task = asyncio.create_task(work())
    try:
        while True:
            piece = await _next(told, task)
            yield piece
            if not piece[0]:
                return
    finally:
        closed.set()
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError, Closed):
                await task


async def _next(told: asyncio.Queue[Piece], task: asyncio.Task[None]) -> Piece:
    """The next piece, or the error that ended the task."""
    getting = asyncio.ensure_future(told.get())
    try:
        await asyncio.wait({getting, task}, return_when=asyncio.FIRST_COMPLETED)
        if not getting.done() and task.done() and task.exception() is None:
            await getting  # told from the loop's next round
        if getting.done():
            return getting.result()
    finally:
        getting.cancel()
    task.result()
    raise AssertionError("unreachable: a task that ends without an error has told its result")
