"""LMs for tests: replies from a script or a function, no network, every request kept."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from declm import settings
from declm.errors import UsageError
from declm.messages import Capabilities, Request, Response
from declm.usage import Usage


class FunctionLM:
    """An LM that is a Python function of the request; satisfies `declm.protocols.LM`.

    Replies are never cached. Tokens are counted as words, calls cost nothing.

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
    ) -> None:
        self._function = function
        self._capabilities = capabilities or Capabilities()
        self._lock = threading.Lock()
        self.model = name
        self.requests: list[Request] = []

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
        response = Response(text=reply, model=self.model) if isinstance(reply, str) else reply
        if response.usage.calls:
            return response
        words = sum(len(message.content.split()) for message in request.messages)
        usage = Usage(calls=1, input_tokens=words, output_tokens=len(response.text.split()))
        return replace(response, usage=usage)

    async def acomplete(self, request: Request) -> Response:
        """Call the function, after giving way to other tasks once, as every real LM does."""
        await asyncio.sleep(0)
        return self.complete(request)

    def commit(self, request: Request, response: Response) -> None:
        """Do nothing: there is no cache."""


class ScriptedLM(FunctionLM):
    """An LM that gives prepared replies in order; an exception in the script is raised.

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
    ) -> None:
        super().__init__(self._next, name=name, capabilities=capabilities)
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
