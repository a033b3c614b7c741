"""The ways to a provider: our own OpenAI wire and litellm's codecs over pooled connections, litellm for the rest."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

from declm.lm.codecs import Codec
from declm.lm.connections import fetch, listen
from declm.lm.wire import BrokenOff, Listener, Refused, Reply, complaint, parsed, read
from declm.messages import Chunk

Put: TypeAlias = Callable[[Chunk], None]
"""Takes the pieces of a reply that is streamed."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request as it goes over our own connections, and how its answer is understood.

    Args:
        read: the reply that a body holds; raises `declm.lm.wire.Unreadable`.
        events: a reply's events in OpenAI's shape, by the data of those that came.
        tools: whether tools were offered.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes
    read: Callable[[bytes], Reply]
    events: Callable[[AsyncGenerator[bytes], Listener], AsyncGenerator[Mapping[str, Any]]]
    tools: bool


def openai_question(url: str, headers: Mapping[str, str], body: bytes, *, tools: bool) -> Question:
    """One for a server that speaks OpenAI's wire."""
    return Question(url, headers, body, _read, _events, tools)


def coded_question(
    codec: Codec, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any], *, stream: bool
) -> Question:
    """One in a provider's own words, which litellm's codec writes and reads.

    Raises:
        NotCoded: litellm itself must be asked.
    """
    written = codec.write(messages, options, stream=stream)

    async def events(data: AsyncGenerator[bytes], listener: Listener) -> AsyncGenerator[Mapping[str, Any]]:
        async with aclosing(_lines(data, listener)) as lines, aclosing(codec.listen(lines)) as heard:
            async for event in heard:
                yield event

    read = functools.partial(codec.read, written)
    return Question(written.url, written.headers, written.body, read, events, "tools" in options)


async def ask(question: Question, limit_s: float | None, put: Put | None) -> Reply:
    """Send a question; with `put`, as a stream.

    Raises:
        Refused: the server said no.
        Unreadable: what it said is no chat completion.
        BrokenOff: its stream ended too early.
        Exception: what `declm.lm.connections.fetch` raises.
    """
    if put is None:
        return question.read(await fetch(question.url, question.headers, question.body, limit_s))
    listener = Listener(question.tools)
    async with (
        aclosing(listen(question.url, question.headers, question.body, limit_s)) as data,
        aclosing(question.events(data, listener)) as events,
    ):
        async for event in events:
            piece = listener.hear(event)
            if piece is not None:
                put(piece)
    rest = listener.held_back()
    if rest is not None:
        put(rest)
    return listener.reply()


def _read(body: bytes) -> Reply:
    content = parsed(body)
    if content.get("error") and not content.get("choices"):  # some routers fail with a status of success
        raise Refused(complaint(content), _status(content["error"]))
    return read(content)


async def _events(data: AsyncGenerator[bytes], listener: Listener) -> AsyncGenerator[Mapping[str, Any]]:
    async with aclosing(_until_done(data, listener)) as events:
        async for event in events:
            yield parsed(event)


async def _lines(data: AsyncGenerator[bytes], listener: Listener) -> AsyncGenerator[str]:
    """Events as litellm's codecs read them, which would raise anything for one that tells of a failure."""
    async with aclosing(_until_done(data, listener)) as events:
        async for event in events:
            content = parsed(event)
            if content.get("error"):
                raise Refused(complaint(content))
            yield f"data: {event.decode('utf-8', 'replace')}"


async def _until_done(data: AsyncGenerator[bytes], listener: Listener) -> AsyncGenerator[bytes]:
    async for event in data:
        if event == b"[DONE]":
            listener.finish = listener.finish or "stop"
            return
        yield event


def _status(error: Mapping[str, Any] | str) -> int | None:
    code = None if isinstance(error, str) else error.get("code")
    return code if isinstance(code, int) and 300 <= code < 600 else None


async def ask_litellm(litellm: ModuleType, call: Mapping[str, Any], put: Put | None) -> tuple[Reply, float | None]:
    """Ask any provider; with `put`, as a stream. Returns the reply and its price in USD, if that is known.

    Raises:
        Exception: anything.
    """
    whole = await litellm.acompletion(**call) if put is None else await _streamed(litellm, call, put)
    # Documented by litellm under this name.
    return read(whole.model_dump()), whole._hidden_params.get("response_cost")


async def _streamed(litellm: ModuleType, call: Mapping[str, Any], put: Put) -> Any:
    """Pass pieces on as they come; the whole as litellm puts it together."""
    stream = await litellm.acompletion(**{**call, "stream": True, "stream_options": {"include_usage": True}})
    chunks: list[Any] = []
    listener = Listener("tools" in call)
    try:
        async for chunk in stream:
            chunks.append(chunk)
            piece = listener.hear(chunk.model_dump())
            if piece is not None:
                put(piece)
    finally:
        await stream.aclose()
    # litellm ends every stream with "stop", also one that the server never finished.
    if not (getattr(stream, "received_finish_reason", "other") or getattr(stream, "intermittent_finish_reason", "")):
        raise BrokenOff("the stream ended before the reply did")
    rest = listener.held_back()
    if rest is not None:
        put(rest)
    return litellm.stream_chunk_builder(chunks, messages=call["messages"])
