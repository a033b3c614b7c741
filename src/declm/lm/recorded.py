"""Calls onto a tape, and replies from it."""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator, Generator

from declm import protocols
from declm.errors import LMError, UsageError
from declm.lm.base import Layer, Send, Steps, received
from declm.lm.tapes import Tape
from declm.messages import Capabilities, Chunk, Request, Response


def label(lm: protocols.LM) -> str:
    """How a tape calls an LM: its model, of a file on this machine the name alone."""
    name = lm.model
    return f"local/{name.replace(chr(92), '/').rsplit('/', 1)[-1]}" if name.startswith("local/") else name


class Recorded(Layer):
    """Puts every call on a tape, whether the cache or the provider answers it; stands outermost."""

    def __init__(self, inner: protocols.LM, tape: Tape) -> None:
        super().__init__(inner)
        self._tape = tape
        self._label = tape.label(label(inner), repr(inner))

    @property
    def capabilities(self) -> Capabilities:
        """Of the LM inside; noted on the tape, for prompts depend on them."""
        found = self._tape.capabilities[self._label] = super().capabilities
        return found

    def steps(self, request: Request) -> Steps:
        """Send, and note how it ended.

        Raises:
            UsageError: the request holds a sensitive value, which no file may hold.
        """
        if not request.cacheable:
            raise UsageError("a call with a sensitive field can't be recorded: what it says must stand in no file")
        exchange = self._tape.begin(self._label, request)
        try:
            response = exchange.response = received((yield Send(request)))
        except LMError as error:
            exchange.error = error
            raise
        return response


class Replayed:
    """Answers from a tape as an LM did that may be away; satisfies `declm.protocols.LM`.

    Args:
        lm: the LM; nothing is asked of it but its name and its `repr`.
        tape: where its replies are.
    """

    def __init__(self, lm: protocols.LM, tape: Tape) -> None:
        self._tape = tape
        name = label(lm)
        numbered = tape.label(name, repr(lm))
        self.model = numbered if tape.holds(numbered) else name  # one that is built anew for each call

    @property
    def identity(self) -> str:
        """Its name."""
        return f"{self.model} on tape"

    @property
    def capabilities(self) -> Capabilities:
        """As recorded."""
        return self._tape.capabilities.get(self.model, Capabilities())

    def complete(self, request: Request) -> Response:
        """The recorded reply.

        Raises:
            NotRecorded: the tape holds none for this request.
            LMError: the call failed when it was recorded.
        """
        exchange = self._tape.next(self.model, request)
        if exchange.response is None:
            assert exchange.error is not None  # a tape keeps what has ended
            raise copy.copy(exchange.error)
        return exchange.response

    async def acomplete(self, request: Request) -> Response:
        """The recorded reply; errors as in `complete`."""
        return self.complete(request)

    def stream(self, request: Request) -> Generator[Chunk]:
        """The recorded reply in one piece; errors as in `complete`."""
        response = self.complete(request)
        yield Chunk(response.text, response.reasoning or "")
        yield Chunk(response=response)

    async def astream(self, request: Request) -> AsyncGenerator[Chunk]:
        """The recorded reply in one piece; errors as in `complete`."""
        for chunk in self.stream(request):
            yield chunk

    def commit(self, request: Request, response: Response) -> None:
        """Do nothing: the tape holds it."""
