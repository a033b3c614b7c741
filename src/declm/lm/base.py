"""The seam of this package: `Layer`, an LM around another LM, written once for sync and async.

A layer's logic is a generator. It yields `Send` (ask the LM inside), `Sleep` and `Wait` (for another
call), and receives the response or the error. Two short drivers run it, so caching, retrying and
metering know nothing of threads, event loops or clocks, and compose: `cached(retried(metered(transport)))`.

Two more drivers stream: they pass the pieces of the inside LM's reply on to the reader, and give the
steps the whole response at its end. So a layer's steps serve all four kinds of call.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import Future
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from typing import TypeAlias

from declm import protocols
from declm.messages import Capabilities, Chunk, Request, Response


def _nothing() -> list[Chunk]:
    return []


@dataclass(frozen=True, slots=True)
class Send:
    """Ask the LM inside; the generator receives its response, or its error is raised there.

    `shown` is filled by the driver: the pieces of the reply that a reader has been given so far. A
    reader that stops listening raises GeneratorExit there, or its task's CancelledError.

    Args:
        request: what to ask.
        to: another LM than the one inside, for layers around several.
        quiet: give a reader nothing of the reply, which may yet be thrown away.
    """

    request: Request
    to: protocols.LM | None = None
    quiet: bool = False
    shown: list[Chunk] = field(default_factory=_nothing, init=False, compare=False)


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait; the generator receives None."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until `done` is settled, or for `seconds`; the generator receives None.

    `thread` is where it will be settled: a driver that blocks goes on at once if that is its own. `done`
    is marked as running, so that a task that is cancelled can't cancel it.
    """

    done: Future[None]
    seconds: float
    thread: int


Steps: TypeAlias = Generator[Send | Sleep | Wait, Response | None, Response]


class Layer(ABC):
    """An LM that adds one behaviour to the LM `inner`; satisfies `declm.protocols.LM`."""

    def __init__(self, inner: protocols.LM) -> None:
        self._inner = inner

    @property
    def model(self) -> str:
        """Of the LM inside."""
        return self._inner.model

    @property
    def identity(self) -> str:
        """Of the LM inside."""
        return self._inner.identity

    @property
    def capabilities(self) -> Capabilities:
        """Of the LM inside."""
        return self._inner.capabilities

    @abstractmethod
    def steps(self, request: Request) -> Steps:
        """Answer one request, leaving all waiting to the driver."""

    def complete(self, request: Request) -> Response:
        """Run the steps in this thread; errors as in `declm.protocols.LM.complete`."""
        return _run(self.steps(request), self._inner)

    async def acomplete(self, request: Request) -> Response:
        """Run the steps in this event loop."""
        return await _arun(self.steps(request), self._inner)

    def stream(self, request: Request) -> Generator[Chunk]:
        """Run the steps in this thread, passing pieces on; see `declm.protocols.LM.stream`."""
        return _stream(self.steps(request), self._inner)

    def astream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Run the steps in this event loop, passing pieces on."""
        return _astream(self.steps(request), self._inner)

    def commit(self, request: Request, response: Response) -> None:
        """Hand a validated reply to the LM inside."""
        self._inner.commit(request, response)


def received(response: Response | None) -> Response:
    """What a `Send` gave; narrows the type of the generator's input."""
    assert response is not None  # the drivers answer every `Send` with a response
    return response


def _pause(step: Sleep | Wait) -> None:
    if isinstance(step, Sleep):
        time.sleep(step.seconds)
    elif step.thread != threading.get_ident():
        concurrent.futures.wait([step.done], step.seconds)


async def _apause(step: Sleep | Wait) -> None:
    if isinstance(step, Sleep):
        await asyncio.sleep(step.seconds)
        return
    done = asyncio.wrap_future(step.done)
    try:
        await asyncio.wait([done], timeout=step.seconds)
    finally:
        done.cancel()  # it may be settled after this event loop has been closed


def _run(steps: Steps, inner: protocols.LM) -> Response:
    try:
        step = next(steps)
        while True:
            if not isinstance(step, Send):
                _pause(step)
                step = steps.send(None)
                continue
            try:
                response = (step.to or inner).complete(step.request)
            except BaseException as error:  # noqa: BLE001  # the layer decides; what it does not catch goes on
                step = steps.throw(error)
            else:
                step = steps.send(response)
    except StopIteration as stop:
        answer: Response = stop.value
        return answer
    finally:
        steps.close()  # where a pause was cut short: others may wait for what these steps hold


async def _arun(steps: Steps, inner: protocols.LM) -> Response:
    try:
        step = next(steps)
        while True:
            if not isinstance(step, Send):
                await _apause(step)
                step = steps.send(None)
                continue
            try:
                response = await (step.to or inner).acomplete(step.request)
            except BaseException as error:  # noqa: BLE001  # the layer decides; what it does not catch goes on
                step = steps.throw(error)
            else:
                step = steps.send(response)
    except StopIteration as stop:
        answer: Response = stop.value
        return answer
    finally:
        steps.close()  # where a pause was cut short: others may wait for what these steps hold


def _stream(steps: Steps, inner: protocols.LM) -> Generator[Chunk]:
    send: Send | None = None
    try:
        step = next(steps)
        while True:
            if not isinstance(step, Send):
                _pause(step)
                step = steps.send(None)
                continue
            send = step
            try:
                response = yield from _relay(send, inner)
            except BaseException as error:  # noqa: BLE001  # as above; also the reader's leaving
                step = steps.throw(error)
            else:
                step = steps.send(response)
    except StopIteration as stop:
        answer: Response = stop.value
    finally:
        steps.close()
    yield from _ending(answer, send)


def _relay(send: Send, inner: protocols.LM) -> Generator[Chunk, None, Response | None]:
    with closing((send.to or inner).stream(send.request)) as chunks:
        for chunk in chunks:
            if chunk.response is not None:
                return chunk.response
            if not send.quiet:
                send.shown.append(chunk)
                yield chunk
    return None


async def _astream(steps: Steps, inner: protocols.LM) -> AsyncGenerator[Chunk]:
    send: Send | None = None
    try:
        step = next(steps)
        while True:
            if not isinstance(step, Send):
                await _apause(step)
                step = steps.send(None)
                continue
            send, response = step, None
            try:
                async with aclosing((send.to or inner).astream(send.request)) as chunks:
                    async for chunk in chunks:
                        if chunk.response is not None:
                            response = chunk.response
                            break
                        if not send.quiet:
                            send.shown.append(chunk)
                            yield chunk
            except BaseException as error:  # noqa: BLE001  # as above; also the reader's leaving
                step = steps.throw(error)
            else:
                step = steps.send(response)
    except StopIteration as stop:
        answer: Response = stop.value
    finally:
        steps.close()
    for chunk in _ending(answer, send):
        yield chunk


def _ending(answer: Response, send: Send | None) -> Generator[Chunk]:
    """What closes a stream: the response, after its text if the reader has been given nothing of it."""
    if (send is None or send.quiet) and (answer.text or answer.reasoning):
        yield Chunk(answer.text, answer.reasoning or "")
    yield Chunk(response=answer)
