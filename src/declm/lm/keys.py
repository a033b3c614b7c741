"""Cache keys: a hash of all that shapes a reply, at the cost of what is new in a request."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from declm.messages import Message, Request
from declm.text import canonical

_LIMITS = frozenset({"timeout", "deadline"})
"""Options that say how long to wait, not what for."""

_KEPT = 64
"""Prefixes remembered: more than the candidates that a search has in flight."""


class _Hash(Protocol):
    """What `hashlib` returns, which has no public name."""

    def update(self, data: bytes, /) -> None: ...
    def copy(self) -> _Hash: ...
    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class _Prefix:
    """What a predictor's requests begin with, and the hash so far; never changed, only copied."""

    identity: str
    schema: Mapping[str, Any] | None
    messages: tuple[Message, ...]
    hash: _Hash


@dataclass(frozen=True, slots=True)
class _Rest:
    """Options and the like, and how they enter the hash."""

    options: Mapping[str, Any]
    sample: int
    logprobs: int
    written: bytes


_NOTHING = canonical([None, 0, 0]).encode()


class Keys:
    """The keys of one LM's requests.

    All requests of a predictor share its schema and its first messages (instructions, demonstrations) as
    objects, so that these are hashed once. Data is frozen, which is what makes that right.
    """

    def __init__(self) -> None:
        self._prefixes: dict[int, _Prefix] = {}
        self._rests: dict[int, _Rest] = {}

    def of(self, identity: str, request: Request) -> str | None:
        """The key, 32 hexadecimal digits; None if an option is no JSON, and so can't be compared."""
        try:
            prefix = self._prefix(identity, request)
            plain = not (request.options or request.sample or request.logprobs)
            rest = _NOTHING if plain else self._rest(request)
        except TypeError:
            return None
        hash = prefix.hash.copy()
        _add(hash, request.messages[len(prefix.messages) :])
        hash.update(rest)
        return hash.hexdigest()[:32]

    def _rest(self, request: Request) -> bytes:
        """What shapes the reply besides messages and schema: the same object for all calls of most predictors."""
        options, sample, logprobs = request.options, request.sample, request.logprobs
        known = self._rests.get(id(options))  # as below
        if known is not None and known.sample == sample and known.logprobs == logprobs:
            return known.written
        sent = {k: v for k, v in options.items() if k not in _LIMITS}
        written = canonical([sent or None, sample, logprobs]).encode("utf-8", "surrogatepass")
        if len(self._rests) >= _KEPT:
            self._rests.clear()
        self._rests[id(options)] = _Rest(options, sample, logprobs, written)
        return written

    def _prefix(self, identity: str, request: Request) -> _Prefix:
        messages, schema = request.messages, request.schema
        first = id(messages[0]) if messages else 0
        known = self._prefixes.get(first)  # it holds the message, so that no other can have this id
        if (
            known is not None
            and known.schema is schema
            and known.identity == identity
            and known.messages == messages[: len(known.messages)]
        ):
            return known
        # surrogatepass: a lone surrogate in a user's text must not make it unhashable.
        hash = hashlib.sha256(canonical([identity, schema]).encode("utf-8", "surrogatepass"))
        made = _Prefix(identity, schema, messages[:-1], hash)
        _add(hash, made.messages)
        if made.messages:
            if len(self._prefixes) >= _KEPT:
                self._prefixes.clear()
            self._prefixes[first] = made
        return made


def _add(hash: _Hash, messages: tuple[Message, ...]) -> None:
    """Add messages one by one, each with its length: where a prefix ends must not matter."""
    for message in messages:
        content = message.content.encode("utf-8", "surrogatepass")
        hash.update(b"%s %d " % (message.role.encode(), len(content)))
        hash.update(content)
