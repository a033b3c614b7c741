"""The ways to a provider: our own OpenAI wire and litellm's codecs over pooled connections, litellm for the rest."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from types import ModuleType
from typing import Any, TypeAlias

from declm.lm.codecs import Codec
from declm.lm.connections import fetch, listen
from declm.lm.wire import BrokenOff, Listener, Refused, Reply, complaint, parsed, read
from declm.messages import Chunk

Put: TypeAlias = Callable[[Chunk], None]
"""Takes the pieces of a reply that is streamed."""


async def ask_openai(
    url: str, headers: Mapping[str, str], body: bytes, limit_s: float | None, put: Put | None, *, tools: bool
) -> Reply:
    """Ask a server that speaks OpenAI's wire; with `put`, as a stream.

    Raises:
        Refused: it said no.
        Unreadable: what it said is no chat completion.
        BrokenOff: its stream ended too early.
        Exception: what `declm.lm.connections.fetch` raises.
    """
    if put is None:
        content = parsed(await fetch(url, headers, body, limit_s))
        if content.get("error") and not content.get("choices"):  # some routers fail with a status of success
            raise Refused(complaint(content), _status(content["error"]))
        return read(content)
    listener = Listener(tools)
    async with aclosing(listen(url, headers, body, limit_s)) as events:
        async for data in events:
            if data == b"[DONE]":
                listener.finish = listener.finish or "stop"
                break
            piece = listener.hear(parsed(data))
            if piece is not None:
                put(piece)
    return _ended(listener, put)


async def ask_coded(
    codec: Codec,
    messages: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any],
    limit_s: float | None,
    put: Put | None,
) -> Reply:
    """Ask a provider in its own words, which litellm's codec writes and reads; errors as in `ask_openai`.

    Raises:
        NotCoded: litellm itself must be asked; nothing has been sent.
    """
    written = codec.write(messages, options, stream=put is not None)
    if put is None:
        return codec.read(written, await fetch(written.url, written.headers, written.body, limit_s))
    listener = Listener("tools" in options)
    async with (
        aclosing(listen(written.url, written.headers, written.body, limit_s)) as data,
        aclosing(_lines(data, listener)) as lines,
        aclosing(codec.listen(lines)) as events,
    ):
        async for event in events:
            piece = listener.hear(event)
            if piece is not None:
                put(piece)
    return _ended(listener, put)


async def _lines(events: AsyncGenerator[bytes], listener: Listener) -> AsyncGenerator[str]:
    """Events as litellm's codecs read them, which would raise anything for one that tells of a failure."""
    async for data in events:
        if data == b"[DONE]":
            listener.finish = listener.finish or "stop"
            return
        content = parsed(data)
        if content.get("error"):
            raise Refused(complaint(content))
        yield f"data: {data.decode('utf-8', 'replace')}"


def _ended(listener: Listener, put: Put) -> Reply:
    rest = listener.held_back()
    if rest is not None:
        put(rest)
    return listener.reply()


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
    chunks = list[Any]()
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
