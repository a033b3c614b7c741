"""The reply cache of one place: a front in memory, the replies behind it, and the calls in flight."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from declm.errors import LMError
from declm.lm.flights import Flight, Flights
from declm.lm.redis_store import RedisStore
from declm.lm.store import Store
from declm.messages import Response, Token
from declm.text import Url
from declm.usage import Usage

FRONT_BYTES = 2 * 2**20
"""What the front of one cache may hold: some thousand replies, little beside the interpreter's own memory."""


class Replies(Protocol):
    """Where replies outlive the process; `Store` (SQLite) and `RedisStore` satisfy it.

    Nothing here raises or waits: a place that can't be used gives nothing and lets everybody ask. A lease
    says who asks for a key, so that other processes wait for the reply; it ends with its process.
    """

    def get(self, key: str) -> Mapping[str, Any] | None:
        """The JSON object of a key; None if there is none that can be trusted."""
        ...

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep a JSON object."""
        ...

    def take(self, key: str) -> bool:
        """Take the lease; False if another process asks, or has just been answered."""
        ...

    def land(self, key: str) -> None:
        """Shorten the lease to the moment that it takes to validate a reply and put it."""
        ...

    def free(self, key: str) -> None:
        """End the lease."""
        ...


class Cache:
    """All replies of one place, and who asks for more; shared by the threads of a process."""

    def __init__(self, replies: Replies, front_bytes: int = FRONT_BYTES) -> None:
        self._replies = replies
        self._front = Front(front_bytes)
        self._flights = Flights()

    def held(self, key: str) -> Response | None:
        """A reply that is in memory, marked as cached."""
        return self._front.get(key)

    def find(self, key: str) -> Response | None:
        """A reply that was kept, marked as cached."""
        found = self._front.get(key)
        if found is None:
            value = self._replies.get(key)
            found = None if value is None else _read(value)
            if found is not None:
                self._front.put(key, found)
        return found

    def keep(self, key: str, response: Response) -> None:
        """Keep a validated reply, and tell those who wait for it."""
        self._replies.put(key, _write(response))
        self._front.put(key, cached(response))
        if self._flights.settle(key):
            self._replies.free(key)

    def board(self, key: str, by: object) -> tuple[Flight, bool]:
        """The flight that asks for a key, and whether the caller leads it: then it must land or fail."""
        return self._flights.board(key, by)

    def lease(self, key: str) -> bool:
        """Whether no other process asks for the key; for the one who leads the flight here."""
        return self._replies.take(key)

    def land(self, key: str, flight: Flight, response: Response) -> None:
        """Share what a flight brought; a reply of the cache is kept already."""
        late = self._flights.land(key, flight, response)
        if response.cached and self._flights.settle(key):
            late.append(key)
        else:
            self._replies.land(key)
        for other in late:
            self._replies.free(other)

    def fail(self, key: str, flight: Flight, error: LMError | None) -> None:
        """Let somebody else ask, here or elsewhere; an error is given to those who wait here."""
        self._replies.free(key)
        self._flights.fail(key, flight, error)


class Front:
    """The latest replies in memory. Rows never change once they are validated, so that none goes stale."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._replies: dict[str, Response] = {}
        self._bytes = 0
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._unlock)

    def get(self, key: str) -> Response | None:
        """A reply that is held; takes no lock."""
        return self._replies.get(key)

    def put(self, key: str, response: Response) -> None:
        """Hold a reply, in the place of the oldest ones if need be."""
        with self._lock:
            if key in self._replies:
                self._bytes -= _size(self._replies.pop(key))
            self._replies[key] = response
            self._bytes += _size(response)
            while self._bytes > self._limit:
                self._bytes -= _size(self._replies.pop(next(iter(self._replies))))

    def _unlock(self) -> None:
        self._lock = threading.Lock()  # a thread of the parent may have held it


@functools.cache
def cache_at(place: Path | Url) -> Cache:
    """The one cache of a place in this process.

    Raises:
        MissingExtra: it is on a Redis server, and the client is not installed.
    """
    return Cache(RedisStore(place) if isinstance(place, Url) else Store(place))


def cached(response: Response) -> Response:
    """The response as another caller gets it, who paid nothing."""
    return Response(
        response.text, response.reasoning, response.finish, _FREE, response.model, cached=True, tokens=response.tokens
    )


_FREE = Usage(cached=1)


def _size(response: Response) -> int:
    """About what a reply takes in memory, with its key."""
    texts = sys.getsizeof(response.text) + sys.getsizeof(response.reasoning)
    return 400 + texts + sum(250 + 150 * len(token.top) for token in response.tokens)


def _write(response: Response) -> dict[str, Any]:
    usage = response.usage
    return {
        "text": response.text,
        "reasoning": response.reasoning,
        "model": response.model,
        "tokens": [usage.input_tokens, usage.output_tokens],
        "logprobs": [[t.text, t.logprob, t.top] for t in response.tokens],
    }


def _read(kept: Mapping[str, Any]) -> Response | None:
    """The reply of a row; None if the row is of another shape, from another version perhaps."""
    text, reasoning, model = kept.get("text"), kept.get("reasoning"), kept.get("model")
    if not isinstance(text, str) or not isinstance(model, str) or not isinstance(reasoning, str | None):
        return None
    try:
        tokens = tuple(Token(t, p, tuple((a, q) for a, q in top)) for t, p, top in kept.get("logprobs", ()))
    except (TypeError, ValueError):
        return None
    return Response(text, reasoning, "stop", _FREE, model, cached=True, tokens=tokens)
