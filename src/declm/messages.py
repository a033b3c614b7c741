"""What goes to an LM and what comes back: `Message`, `Request`, `Response`, `Chunk`, `Capabilities`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from declm.usage import NOTHING, Usage

Finish = Literal["stop", "length", "filter"]

NativeMode = Literal["json_schema", "tools", "json"]
"""How a provider's API takes the wanted shape: as schema of the reply, as a tool to call, as plain JSON mode."""

SchemaRules = Literal["all", "openai", "azure", "anthropic", "gemini"]
"""Whose subset of JSON schema holds; `all` for engines that take everything that declm says."""


def _nothing() -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Messages(tuple[Message, ...]):
    """Messages in order; prints as a readable transcript."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n\n".join(f"[{message.role}]\n{message.content}" for message in self)


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a reply: its text, its natural log-probability, and the likeliest alternatives."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """One question to an LM, free of any provider's wire format.

    Args:
        messages: the constant prefix (instructions, demonstrations) first, the question last.
        schema: JSON schema of the wanted reply where the format asks for structure; an LM that
            can't constrain its output ignores it.
        options: sampling and provider options of this request; they win over the LM's own.
        sample: index among several samples of one prompt; part of cache keys, never sent.
        role: which LM answers (`task`, `extractor`, `proposer`, `judge`, ...).
        cacheable: False keeps the request and its reply out of every cache.
        logprobs: alternatives per token whose log-probabilities are wanted; 0 for none.
        asked: how often the same has been asked before, since the replies could not be accepted.
    """

    messages: tuple[Message, ...]
    schema: Mapping[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=_nothing)
    sample: int = 0
    role: str = "task"
    cacheable: bool = True
    logprobs: int = 0
    asked: int = 0


@dataclass(frozen=True, slots=True)
class Response:
    """One reply of an LM.

    `finish` is `length` for a reply that was cut and `filter` for one that was withheld; `cached`
    says that it came from a cache, in which case `usage` counts no call. `tokens` are filled where
    the request asked for log-probabilities.
    """

    text: str
    reasoning: str | None = None
    finish: Finish = "stop"
    usage: Usage = NOTHING
    model: str = ""
    cached: bool = False
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a reply that is streamed.

    The pieces of `text` and `reasoning` come in order and join to those of the reply. The last chunk
    holds no piece but `response`: the whole reply, as the LM would have given it in one.
    """

    text: str = ""
    reasoning: str = ""
    response: Response | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an LM can do, as data, so that formats and searches need not know it.

    Args:
        structured: it can constrain its reply to a JSON schema.
        tools: it takes native tool definitions.
        native: the best mode that the provider's own API has for structured output, None if it
            has none or is unknown.
        schemas: the subset of JSON schema that it takes.
        context_tokens: size of its window, None if unknown.
        concurrency: calls in flight that serve it best.
        logprobs: alternatives per token that it gives log-probabilities for; 0 for none.
        priced: its price per token is known (0 for a local engine).
    """

    structured: bool = False
    tools: bool = False
    native: NativeMode | None = None
    schemas: SchemaRules = "all"
    context_tokens: int | None = None
    concurrency: int = 16
    logprobs: int = 0
    priced: bool = True


@dataclass(slots=True)
class Fields:
    """What a format read from a reply.

    Args:
        values: outputs by key, as JSON that the signature validates.
        problems: what is wrong with outputs that stand in the reply and can't be read, by key.
        repairs: what had to be mended, in words.
    """

    values: dict[str, Any]
    problems: Mapping[str, str] = field(default_factory=_nothing)
    repairs: tuple[str, ...] = ()
