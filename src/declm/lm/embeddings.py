"""Transports that answer a request, whose messages are texts, with their vectors (see `vectors`)."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias, cast

from declm.errors import BadRequest, ContextTooLong, ServerError, TimedOut
from declm.lm.connections import fetch
from declm.lm.gateway import Gateway
from declm.lm.lanes import Put
from declm.lm.local import Local
from declm.lm.vectors import packed, read_vectors
from declm.lm.wire import PROVIDERS, Reply, Unreadable, address, headers, parsed
from declm.messages import Capabilities, Chunk, Request, Response
from declm.usage import Usage

Vectors: TypeAlias = Sequence[Sequence[float]]
Embed: TypeAlias = "Callable[[list[str]], Vectors | Awaitable[Vectors]]"

_PLAIN = frozenset({"dimensions", "encoding_format"})
"""Options that servers which speak OpenAI's wire take as they are."""
_ASIDE = frozenset({"extra_body", "extra_headers", "headers", "timeout", "drop_params"})


@dataclass(frozen=True, eq=False)
class EmbeddingGateway(Gateway):
    """Sends texts to a provider; our own wire where that serves, litellm for the rest."""

    _mode: ClassVar[str] = "embedding"

    def _is_direct(self, options: Mapping[str, Any]) -> bool:
        return super()._is_direct({k: v for k, v in options.items() if k not in _PLAIN})

    async def _ask(
        self, request: Request, options: Mapping[str, Any], limit_s: float | None, put: Put | None
    ) -> tuple[Reply, float | None]:
        texts = _texts(request)
        if self._provider in PROVIDERS and self._is_direct(options):
            content = await self._fetched(texts, options, limit_s)
        else:
            said = {k: v for k, v in options.items() if v is not None}
            call = {"model": self.model, "input": texts, "api_base": self.api_base, "api_key": self.api_key}
            asking = self._library().aembedding(**said, **call, num_retries=0, max_retries=0)
            content = (await asyncio.wait_for(asking, limit_s)).model_dump(warnings=False)
        lines, tokens = _read(self.model, content, len(texts))
        reply = Reply(lines, None, "stop", tokens or None, 0)
        usd = self._prices.usd(reply)
        return self._counted(request, reply), usd

    async def _fetched(self, texts: list[str], options: Mapping[str, Any], limit_s: float | None) -> Mapping[str, Any]:
        provider = PROVIDERS[self._provider]
        key, url = self.api_key or os.environ.get(provider.key), address(provider, self.api_base, "embeddings")
        if url is None:
            raise BadRequest(f"{self.model!r} needs an address: api_base='http://...'", model=self.model)
        if provider.needs_key and not key:
            raise LookupError("missing api key")
        said = {k: v for k, v in options.items() if k not in _ASIDE}
        more: Mapping[str, Any] = options.get("extra_body") or {}
        body = json.dumps({"model": self.model.partition("/")[2], "input": texts, **said, **more}).encode()
        return parsed(await fetch(url, headers(url, key, options), body, limit_s))


@dataclass(eq=False)
class _Whole(ABC):
    """What has no pieces to stream, and nothing to keep."""

    model: str
    capabilities: Capabilities = field(default=Capabilities(), init=False)

    @abstractmethod
    async def acomplete(self, request: Request) -> Response:
        """Answer with the vectors of the messages."""

    def complete(self, request: Request) -> Response:
        """As `acomplete`, in an event loop of its own."""
        return asyncio.run(self.acomplete(request))

    def stream(self, request: Request) -> Generator[Chunk]:
        """In one piece."""
        yield Chunk(response=self.complete(request))

    async def astream(self, request: Request) -> AsyncGenerator[Chunk]:
        """In one piece."""
        yield Chunk(response=await self.acomplete(request))

    def commit(self, request: Request, response: Response) -> None:  # noqa: B027  # there is nothing for others to add
        """Do nothing: there is no cache here."""


@dataclass(eq=False)
class LocalEmbeddings(_Whole):
    """Turns texts into vectors by a model file in this process; satisfies `declm.protocols.LM`.

    A model that was not trained to embed gives the mean of what it makes of each token.
    """

    local: Local

    @property
    def identity(self) -> str:
        """Of the file."""
        return self.local.identity

    async def acomplete(self, request: Request) -> Response:
        """In a thread of the engine, which stops at the next few texts where the caller has left."""
        texts, began_s, limit_s = _texts(request), time.monotonic(), request.options.get("timeout")
        left = threading.Event()
        try:
            future: Future[dict[str, Any]] = await asyncio.to_thread(self._start, texts, left)
            content = await asyncio.wait_for(asyncio.wrap_future(future), limit_s)
        except asyncio.TimeoutError as error:
            raise TimedOut(f"{self.model!r} did not finish within {limit_s:g} s", model=self.model) from error
        finally:
            left.set()
        if "error" in content:
            message = str(content["error"].get("message", content["error"]))
            kind = ContextTooLong if "too large" in message or "exceed" in message else ServerError
            raise kind(f"{self.model!r} can't embed a text: {message}", model=self.model)
        lines, tokens = _read(self.model, content, len(texts))
        usage = Usage(calls=1, input_tokens=tokens, seconds=time.monotonic() - began_s)
        return Response(lines, usage=usage, model=self.model)

    def _start(self, texts: Sequence[str], left: threading.Event) -> Future[dict[str, Any]]:
        return self.local.engine(embeds=True).embed(texts, left.is_set)


@dataclass(eq=False)
class FunctionEmbeddings(_Whole):
    """Turns texts into vectors by a function of the user's, which may be async; satisfies `declm.protocols.LM`."""

    function: Embed

    @property
    def identity(self) -> str:
        """Its name."""
        return self.model

    async def acomplete(self, request: Request) -> Response:
        """In another thread, unless it is async."""
        texts, began_s = _texts(request), time.monotonic()
        if inspect.iscoroutinefunction(self.function):
            found: Any = await self.function(texts)
        else:
            found = await asyncio.to_thread(self.function, texts)
            if inspect.isawaitable(found):
                found = await found
        try:
            vectors = list(cast("Vectors", found))
            lines = packed(vectors)
        except (TypeError, Unreadable) as error:
            raise ServerError(f"{self.model} gave no vectors: {error}", model=self.model) from error
        if len(vectors) != len(texts):
            raise ServerError(f"{self.model} gave {len(vectors)} vectors for {len(texts)} texts", model=self.model)
        return Response(lines, usage=Usage(calls=1, seconds=time.monotonic() - began_s), model=self.model)


def _read(model: str, content: Mapping[str, Any], texts: int) -> tuple[str, int]:
    """The vectors of an answer as lines, and the tokens of the texts."""
    try:
        return read_vectors(content, texts)
    except Unreadable as error:
        raise ServerError(f"{model!r}: {error}; is it an embedding model?", model=model) from error


def _texts(request: Request) -> list[str]:
    return [message.content for message in request.messages]
