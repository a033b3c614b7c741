"""LMs for tests: replies from a script or a function, no network, every request kept."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from dataclasses import replace

from declm import settings
from declm.errors import UsageError
from declm.messages import Capabilities, Chunk, Message, Request, Response
from declm.usage import Usage


class FunctionLM:
    """An LM that is a Python function of the request; satisfies `declm.protocols.LM`.

    Replies are never cached. Tokens are counted as words, calls cost nothing.

    Args:
        function: gives the reply to a request, or raises.
        name: of the model.
        capabilities: what it claims to do; default nothing special.
        chunk: characters in a piece of a streamed reply; the last piece may be shorter.

    Raises:
        UsageError: `chunk` is below 1.

    Example:
        >>> lm = FunctionLM(lambda request: '{"answer": "42"}')
        >>> lm.complete(Request(messages=())).text
        '{"answer": "42"}'
    """

    def __init__(
        self,
        function: Callable[[Request], str | Response],
        *,
        name: str = "function",
        capabilities: Capabilities | None = None,
        chunk: int = 8,
    ) -> None:
        if chunk < 1:
            raise UsageError(f"chunk={chunk!r} must be a number of characters from 1")
        self._chunk = chunk
        self._function = function
        self._capabilities = capabilities or Capabilities()
        self._lock = threading.Lock()
        self.model = name
        self.requests: list[Request] = []
        self._prefix: tuple[tuple[Message, ...], int] = (), 0

    @property
    def identity(self) -> str:
        """The name."""
        return self.model

    @property
    def capabilities(self) -> Capabilities:
        """As given to the constructor."""
        return self._capabilities

    def complete(self, request: Request) -> Response:
        """Call the function."""
        with settings.charged() as bill:
            with self._lock:
                self.requests.append(request)
            bill.usage = Usage(calls=1)
            response = self._counted(request, self._function(request))
            bill.usage = response.usage
        return response

    def _counted(self, request: Request, reply: str | Response) -> Response:
        if isinstance(reply, Response) and reply.usage.calls:
            return reply
        words = self._words(request.messages)
        if isinstance(reply, str):
            usage = Usage(calls=1, input_tokens=words, output_tokens=_words(reply))
            return Response(reply, usage=usage, model=self.model)
        return replace(reply, usage=Usage(calls=1, input_tokens=words, output_tokens=_words(reply.text)))

    def _words(self, messages: tuple[Message, ...]) -> int:
        """Words of all messages; those of instructions and demonstrations, which come again, are counted once."""
        prefix, known = messages[:-1], self._prefix
        if prefix != known[0]:
            known = self._prefix = prefix, sum(_words(message.content) for message in prefix)
        return known[1] + sum(_words(message.content) for message in messages[-1:])

    async def acomplete(self, request: Request) -> Response:
        """Call the function, after giving way to other tasks once, as every real LM does."""
        await asyncio.sleep(0)
        return self.complete(request)

    def stream(self, request: Request) -> Generator[Chunk]:
        """Call `complete`, and give its reasoning and then its text in pieces of `chunk` characters."""
        yield from self._pieces(self.complete(request))

    async def astream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Call `acomplete`, and give its reply in pieces, giving way to other tasks before each."""
        for chunk in self._pieces(await self.acomplete(request)):
            await asyncio.sleep(0)
            yield chunk

    def _pieces(self, response: Response) -> Generator[Chunk]:
        reasoning, text, size = response.reasoning or "", response.text, self._chunk
        for start in range(0, len(reasoning), size):
            yield Chunk(reasoning=reasoning[start : start + size])
        for start in range(0, len(text), size):
            yield Chunk(text[start : start + size])
        yield Chunk(response=response)

    def commit(self, request: Request, response: Response) -> None:
        """Do nothing: there is no cache."""


def _words(text: str) -> int:
    return len(text.split())


class ScriptedLM(FunctionLM):
    """An LM that gives prepared replies in order; an exception in the script is raised.

    Args:
        replies: in order.
        name: of the model.
        capabilities: what it claims to do; default nothing special.
        chunk: characters in a piece of a streamed reply.

    Raises:
        UsageError: more requests came than there are replies.

    Example:
        >>> lm = ScriptedLM(["first", "second"])
        >>> lm.complete(Request(messages=())).text
        'first'
    """

    def __init__(
        self,
        replies: Sequence[str | Response | Exception],
        *,
        name: str = "scripted",
        capabilities: Capabilities | None = None,
        chunk: int = 8,
    ) -> None:
        super().__init__(self._next, name=name, capabilities=capabilities, chunk=chunk)
        self._replies = list(replies)
        self._given = 0

    def _next(self, request: Request) -> str | Response:
        with self._lock:
            if self._given >= len(self._replies):
                raise UsageError(f"the script has {len(self._replies)} replies, and another request came")
            reply = self._replies[self._given]
            self._given += 1
        if isinstance(reply, Exception):
            raise reply
        return reply
