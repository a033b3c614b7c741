"""Replies on a Redis server, shared by machines; a server that is away costs one warning and no call."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

from declm.errors import MissingExtra, UsageError
from declm.lm.flights import GRACE_S
from declm.lm.forks import keep_alive
from declm.text import Url, redact

T = TypeVar("T")

_log = logging.getLogger("declm")

LEASE_S = 6.0
"""A lease ends so long after its process has stopped renewing it, which it does three times as often."""

AWAY_S = 10.0
"""A server that failed is left alone for so long, or every call would wait for it."""

TIMEOUT_S = 1.0

# A lease is ended or changed by its owner only; `KEYS[1]` is its key, `ARGV[1]` the owner.
_FREE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end"
_EXPIRE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end"


class _Script(Protocol):
    """A script that the server keeps."""

    def __call__(self, keys: Sequence[str], args: Sequence[str | int]) -> object: ...


class _Client(Protocol):
    """What is used of `redis.Redis`."""

    def get(self, name: str) -> bytes | None: ...
    def set(self, name: str, value: bytes | str, *, nx: bool = False, px: int | None = None) -> bool | None: ...
    def register_script(self, script: str) -> _Script: ...
    def close(self) -> None: ...


class RedisStore:
    """Texts by key on one server, as JSON with a checksum; satisfies `declm.lm.replies.Replies`.

    Replies stay until the server drops them: give it `maxmemory` with a policy such as `allkeys-lru`.

    Raises:
        MissingExtra: the package `redis` is not installed.
        UsageError: the address can't be read.
    """

    def __init__(self, url: Url) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._reported: set[str] = set()
        self._away_until_s = 0.0
        self._held: set[str] = set()
        self._renewing = False
        self._connect()
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._abandon)

    def get(self, key: str) -> Mapping[str, Any] | None:
        """The value of a key; None if there is none that can be trusted."""
        found = self._ask(lambda: self._client.get(_name(key)), None)
        return None if found is None else self._decode(found)

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep a value."""
        body = json.dumps(value, separators=(",", ":")).encode()  # ASCII, so that a lone surrogate survives
        self._ask(lambda: self._client.set(_name(key), b"%08x%s" % (zlib.crc32(body), body)), None)

    def take(self, key: str) -> bool:
        """Take the lease; always, as long as the server is away."""
        free = self._ask(lambda: bool(self._client.set(_lease(key), self._owner, nx=True, px=_ms(LEASE_S))), True)
        if not free and not self._expire(key, LEASE_S):
            return False
        self._renew(key)
        return True

    def land(self, key: str) -> None:
        """Let the lease end in a moment."""
        self._held.discard(key)
        self._expire(key, GRACE_S)

    def free(self, key: str) -> None:
        """End the lease."""
        self._held.discard(key)
        self._ask(lambda: self._freeing([_lease(key)], [self._owner]), None)

    def close(self) -> None:
        """Close the connections; the next use opens anew."""
        self._client.close()

    def _expire(self, key: str, seconds: float) -> bool:
        """Let a lease end in so many seconds; False if it is not ours."""
        return bool(self._ask(lambda: self._expiring([_lease(key)], [self._owner, _ms(seconds)]), None))

    def _connect(self) -> None:
        try:
            import redis
        except ImportError as error:
            raise MissingExtra("redis", "redis") from error
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        try:
            client = redis.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]  # its options have no types
                str(self._url),
                socket_timeout=TIMEOUT_S,
                socket_connect_timeout=TIMEOUT_S,
                retry=Retry(NoBackoff(), 1),  # once: a connection that was idle may have been closed
            )
        except ValueError as error:
            raise UsageError(f"cache={self._url!r} can't be read: {redact(str(error))}") from None
        self._client = cast("_Client", client)
        self._freeing, self._expiring = map(self._client.register_script, (_FREE, _EXPIRE))
        self._errors = (redis.RedisError, OSError)
        self._owner = uuid.uuid4().hex

    def _ask(self, question: Callable[[], T], otherwise: T) -> T:
        if time.monotonic() < self._away_until_s:
            return otherwise
        try:
            return question()
        except self._errors as error:
            self._away_until_s = time.monotonic() + AWAY_S
            self._report(
                "away", f"the reply cache {self._url!r} can't be used ({redact(str(error))}); calls go on without"
            )
            return otherwise

    def _decode(self, found: bytes) -> Mapping[str, Any] | None:
        crc, body = found[:8], found[8:]
        if crc == b"%08x" % zlib.crc32(body):
            with contextlib.suppress(ValueError, RecursionError):
                value: Any = json.loads(body)
                if isinstance(value, dict):
                    return cast("dict[str, Any]", value)  # a JSON object has text keys
        self._report("damaged", f"the reply cache {self._url!r} holds damaged replies; they are asked for again")
        return None

    def _report(self, kind: str, message: str) -> None:
        with self._lock:
            known = kind in self._reported
            self._reported.add(kind)
        if not known:
            _log.warning(message)

    def _renew(self, key: str) -> None:
        """Hold a lease from now on, by a thread that lives as long as there are any."""
        with self._lock:
            self._held.add(key)
            if self._renewing:
                return
            self._renewing = True
        threading.Thread(target=self._renewals, name="declm-leases", daemon=True).start()

    def _renewals(self) -> None:
        while True:
            time.sleep(LEASE_S / 3)
            with self._lock:
                held = tuple(self._held)
                if not held:
                    self._renewing = False
                    return
            for key in held:
                self._expire(key, LEASE_S)

    def _abandon(self) -> None:
        # The connections, the thread that renews and the leases are the parent's.
        keep_alive(self._client)
        self._lock = threading.Lock()
        self._held = set()
        self._renewing = False
        self._connect()


def _name(key: str) -> str:
    return f"declm:reply:{key}"


def _lease(key: str) -> str:
    return f"declm:asking:{key}"


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
