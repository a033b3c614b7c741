"""The reply cache: hits are free, only validated replies are kept, and one of many equal calls is sent."""

from __future__ import annotations

import copy
import functools
import os
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

from declm import protocols, settings
from declm.errors import DeadlineExceeded, LMError, TimedOut
from declm.files import cache_root
from declm.lm.base import Layer, Send, Sleep, Steps, Wait, received
from declm.lm.flights import Flight
from declm.lm.keys import Keys
from declm.lm.replies import Cache, cache_at, cached
from declm.messages import Request, Response
from declm.text import Url

_POLL_S = (0.001, 0.05)
"""The first and the longest pause between two looks at what another process does."""

_PATIENCE_S = 60.0
"""How long another process is waited for where there is no deadline; it may have been stopped."""


class Cached(Layer):
    """Answers from the reply cache where it can; `commit` is the only thing that writes.

    The key covers the identity of the LM (model, endpoint, options) and everything in the request,
    but never a key. It is filled by the caller once a reply has been validated: one that was cut or
    could not be parsed is asked for again.

    Of several callers that ask the same at once, in threads, tasks and processes, one sends. The
    others take its response as a hit, or the error that ended it after all its attempts; if it gave
    up or was cancelled, the next one sends.

    Args:
        cache: True and False beat the settings in force, a path or an address puts the cache elsewhere,
            None leaves it to the settings (on by default).
        deadline_s: seconds for a call with its waiting; None for no limit.
    """

    def __init__(
        self, inner: protocols.LM, cache: bool | Path | Url | None = None, deadline_s: float | None = None
    ) -> None:
        super().__init__(inner)
        self._cache = cache
        self._deadline_s = deadline_s
        self._keys = Keys()

    def complete(self, request: Request) -> Response:
        """Answer from memory at once, or run the steps in this thread."""
        return self._held(request) or super().complete(request)

    async def acomplete(self, request: Request) -> Response:
        """Answer from memory at once, or run the steps in this event loop."""
        return self._held(request) or await super().acomplete(request)

    def steps(self, request: Request) -> Steps:
        """Look the request up, else send it or wait for another caller's response."""
        cache = self._open(request)
        key = None if cache is None else self._keys.of(self.identity, request)
        if cache is None or key is None:
            return received((yield Send(request)))
        began_s = time.monotonic()
        return cache.find(key) or (yield from self._together(cache, key, request, began_s))

    def commit(self, request: Request, response: Response) -> None:
        """Keep a validated reply."""
        cache = None if response.cached or response.finish != "stop" else self._open(request)
        key = None if cache is None else self._keys.of(self.identity, request)
        if cache is not None and key is not None:
            cache.keep(key, response)
        super().commit(request, response)

    def _held(self, request: Request) -> Response | None:
        """The reply, if it is in memory; a disk or server is asked once, by the steps."""
        cache = self._open(request)
        key = None if cache is None else self._keys.of(self.identity, request)
        return None if cache is None or key is None else cache.held(key)

    def _open(self, request: Request) -> Cache | None:
        return opened(self._cache) if request.cacheable else None

    def _together(self, cache: Cache, key: str, request: Request, began_s: float) -> Steps:
        """Lead the flight of a key, or take what its leader gets."""
        while True:
            flight, leads = cache.board(key, self)
            if leads:
                return (yield from self._lead(cache, key, flight, request, began_s))
            pieces, wait, waited_s = flight.shown, flight.wait(self._left(began_s)), time.monotonic()
            yield wait
            if flight.flies:
                if time.monotonic() - waited_s < wait.seconds / 2 or 0 < pieces == flight.shown:
                    break  # the driver would wait for its own thread, or the leader waits for a reader
                self._check_deadline(began_s)
            elif flight.response is not None:
                if flight.landed_s is not None and began_s <= flight.landed_s:  # asked before the answer came
                    return cached(flight.response)
                found = cache.find(key)
                if found is not None:
                    return found
            elif flight.error is not None:
                if flight.by is not self:
                    break  # its key, its attempts; those who wait must not fail one after the other
                raise copy.copy(flight.error)
        return received((yield Send(self._in_time(request, began_s))))

    def _lead(self, cache: Cache, key: str, flight: Flight, request: Request, began_s: float) -> Steps:
        """Send for all who wait, unless another process does."""
        try:
            yield from self._lease(cache, key, began_s)
            response = cache.find(key)
            if response is None:
                flight.send = Send(self._in_time(request, began_s))
                response = received((yield flight.send))
        except BaseException as error:
            cache.fail(key, flight, _shared(error))
            raise
        cache.land(key, flight, response)
        return response

    def _lease(self, cache: Cache, key: str, began_s: float) -> Generator[Send | Sleep | Wait, Response | None, None]:
        """Wait for other processes that ask the same; half of the deadline at most, to keep time for a send."""
        end_s = began_s + (_PATIENCE_S if self._deadline_s is None else self._deadline_s / 2)
        pause_s, longest_s = _POLL_S
        while not cache.lease(key) and time.monotonic() < end_s:
            yield Sleep(pause_s)
            pause_s = min(pause_s * 1.5, longest_s)

    def _left(self, began_s: float) -> float | None:
        return None if self._deadline_s is None else max(self._deadline_s - (time.monotonic() - began_s), 0.0)

    def _check_deadline(self, began_s: float) -> None:
        if self._left(began_s) == 0.0:
            raise DeadlineExceeded(
                f"no answer within the deadline of {self._deadline_s:g} s; another caller asked the same and waits too",
                model=self.model,
            )

    def _in_time(self, request: Request, began_s: float) -> Request:
        """The request with what is left of the deadline, if some of it has been spent here."""
        left_s = self._left(began_s)
        if left_s is None or self._deadline_s is None or self._deadline_s - left_s < 0.001:
            return request
        return replace(request, options={**request.options, "deadline": left_s})


def opened(cache: bool | Path | Url | None) -> Cache | None:
    """The cache to use; None for none.

    Args:
        cache: True, False or a place beat the settings in force, None leaves it to them (on by default).
    """
    place = settings.current().cache if cache is None else cache
    if place is False:
        return None
    return default_cache() if place is None or place is True else cache_at(place)


def _shared(error: BaseException) -> LMError | None:
    """What of a leader's failure holds for others too: not its cancellation, its budget or its deadline."""
    # A copy, for the traceback of the original holds this thread's frames.
    return copy.copy(error) if isinstance(error, LMError) and not isinstance(error, TimedOut) else None


def default_cache() -> Cache:
    """The reply cache in `$DECLM_CACHE_DIR` or the user's cache folder."""
    read = os.environ.get
    return _default(read("DECLM_CACHE_DIR"), read("XDG_CACHE_HOME"), read("HOME"))


@functools.lru_cache(maxsize=16)
def _default(*_environment: str | None) -> Cache:
    # Every call asks for it, and building a path costs as much as reading the reply.
    return cache_at(cache_root() / "replies.db")
