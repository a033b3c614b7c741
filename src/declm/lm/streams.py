"""Replies that arrive in pieces: how they get from the thread that receives them to their reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Protocol

from declm.messages import Chunk, Request, Response
from declm.usage import Usage

_BYTES_PER_TOKEN = 4


class Call(Protocol):
    """One send of a transport, which works in a thread of its own."""

    def start(self, put: Callable[[Chunk], None]) -> Future[Any]:
        """Send; `put` is called with each piece, in any thread. The future is done when all have come."""
        ...

    def response(self) -> Response:
        """The whole reply, once the future is done; raises what went wrong."""
        ...

    def stop(self) -> None:
        """End the work soon, whatever its state; called at the end of every stream."""
        ...


def receive(call: Call) -> Generator[Chunk]:
    """Start a call and give its chunks as they come; closing stops it."""
    arrived = SimpleQueue[Chunk | None]()
    try:
        call.start(arrived.put).add_done_callback(lambda _: arrived.put(None))
        while (chunk := arrived.get()) is not None:
            yield chunk
        yield Chunk(response=call.response())
    finally:
        call.stop()


async def areceive(call: Call) -> AsyncGenerator[Chunk]:
    """Start a call and give its chunks to this event loop as they come; closing stops it."""
    loop = asyncio.get_running_loop()
    arrived = asyncio.Queue[Chunk | None]()

    def put(chunk: Chunk | None) -> None:
        with suppress(RuntimeError):  # the loop has been closed: nobody reads any more
            loop.call_soon_threadsafe(arrived.put_nowait, chunk)

    try:
        call.start(put).add_done_callback(lambda _: put(None))
        while (chunk := await arrived.get()) is not None:
            yield chunk
        yield Chunk(response=call.response())
    finally:
        call.stop()


def rough_usage(request: Request, text: str) -> Usage:
    """What a reply that was left after `text` has cost: one call, and a token per four bytes of UTF-8."""
    prompt = sum(len(message.content.encode("utf-8", "replace")) for message in request.messages)
    reply = len(text.encode("utf-8", "replace"))
    return Usage(
        calls=1,
        input_tokens=max(1, prompt // _BYTES_PER_TOKEN),
        output_tokens=max(1, reply // _BYTES_PER_TOKEN),
    )
