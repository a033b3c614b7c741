"""Calls in flight: those that ask the same at once share one send.

The first caller of a key leads; the others wait for its response. A reply is in the cache only once its
caller has validated it, a moment after it has landed, so a caller that comes in between waits for that.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from concurrent.futures import Future

from declm.errors import LMError
from declm.lm.base import Send, Wait
from declm.messages import Response

GRACE_S = 0.5
"""How long a reply that has landed is expected to be kept; a caller that can't use it says nothing."""

STALLED_S = 5.0
"""A stream that has shown something and stands still for so long waits for its reader, and nobody for it."""


class Flight:
    """One send that several callers may wait for.

    Args:
        by: who leads; only those of the same LM share its error, for others have another key or deadline.
    """

    __slots__ = ("_kept", "_landing", "by", "error", "landed_s", "response", "send", "thread")

    def __init__(self, by: object) -> None:
        self.by = by
        self.thread = threading.get_ident()
        self.send: Send | None = None
        self.response: Response | None = None
        self.error: LMError | None = None
        self.landed_s: float | None = None
        self._landing = _running()
        self._kept = _running()

    @property
    def flies(self) -> bool:
        """Whether it has neither landed nor failed."""
        return not self._landing.done()

    @property
    def shown(self) -> int:
        """How many pieces of the reply its reader has been given."""
        return 0 if self.send is None else len(self.send.shown)

    @property
    def is_over(self) -> bool:
        """Whether nobody need wait any longer for the reply to be kept.

        The thread that led it has moved on if it asks again: keeping follows validation at once.
        """
        if self.landed_s is None:
            return False
        return self.thread == threading.get_ident() or time.monotonic() - self.landed_s > GRACE_S

    def wait(self, left_s: float | None) -> Wait:
        """The step that waits for the landing, or after it for the reply to be kept."""
        if self.landed_s is None:
            return Wait(self._landing, STALLED_S if left_s is None else min(left_s, STALLED_S), self.thread)
        rest_s = max(self.landed_s + GRACE_S - time.monotonic(), 0.0)
        return Wait(self._kept, rest_s if left_s is None else min(left_s, rest_s), self.thread)

    def land(self, response: Response) -> None:
        """Give the response to those who wait."""
        self.landed_s = time.monotonic()
        self.response = response
        self._landing.set_result(None)

    def fail(self, error: LMError | None) -> None:
        """Tell those who wait that there will be no response, and why if that holds for them too."""
        self.error = error
        self._landing.set_result(None)

    def settle(self) -> None:
        """Tell those who came after the landing that the reply has been kept."""
        self._kept.set_result(None)


class Flights:
    """The flights of one cache in this process, by key."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a generator that is collected fails its flight, perhaps inside of `board`
        self._flights: dict[str, Flight] = {}
        self._landed = deque[tuple[str, Flight]]()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._abandon)

    def board(self, key: str, by: object) -> tuple[Flight, bool]:
        """The flight of a key, and whether the caller leads it: then it must land or fail."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None and not flight.is_over:
                return flight, False
            flight = self._flights[key] = Flight(by)
            return flight, True

    def land(self, key: str, flight: Flight, response: Response) -> list[str]:
        """Share the response; returns the keys whose replies have not been kept in time."""
        with self._lock:
            flight.land(response)
            self._landed.append((key, flight))
            return self._late()

    def fail(self, key: str, flight: Flight, error: LMError | None) -> None:
        """Let the next caller lead."""
        with self._lock:
            self._drop(key, flight)
            flight.fail(error)

    def settle(self, key: str) -> bool:
        """Say that a reply has been kept; whether a flight had brought it."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is None or flight.landed_s is None:
                return False
            self._drop(key, flight)
            flight.settle()
            return True

    def _late(self) -> list[str]:
        late: list[str] = []
        while self._landed and time.monotonic() - (self._landed[0][1].landed_s or 0.0) > GRACE_S:
            key, flight = self._landed.popleft()
            if self._drop(key, flight):
                late.append(key)
        return late

    def _drop(self, key: str, flight: Flight) -> bool:
        return self._flights.get(key) is flight and self._flights.pop(key) is flight

    def _abandon(self) -> None:
        # The threads that led stayed in the parent.
        self._lock = threading.RLock()
        self._flights = {}
        self._landed = deque[tuple[str, Flight]]()


def _running() -> Future[None]:
    future = Future[None]()
    future.set_running_or_notify_cancel()
    return future
