"""Routes: one LM made of several that can stand in for each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

from declm import protocols
from declm.errors import (
    AuthError,
    LMError,
    QuotaExceeded,
    RateLimited,
    ServerError,
    TimedOut,
    TransportError,
    UnknownModel,
    UsageError,
)
from declm.lm.base import Send, Steps, received
from declm.lm.several import Several, answered, failed, note
from declm.messages import Capabilities, Request
from declm.usage import Usage

FAILURES: tuple[type[LMError], ...] = (
    AuthError,
    QuotaExceeded,
    RateLimited,
    ServerError,
    TimedOut,
    TransportError,
    UnknownModel,
)
"""What another LM may do better at: nothing that is wrong with the request itself."""


class Routed(Several):
    """Asks the first of several LMs that works; satisfies `declm.protocols.LM`.

    One that fails is left alone for `cooldown` seconds (longer if the provider asks for it), then one call
    tries it again. Where all rest, the one that has rested longest is asked. Nothing is asked anew once a
    reader has been shown a piece of a reply. Each LM keeps its own cache, retries and limits: build
    them with `attempts=1` to fail over at the first failure.

    Args:
        lms: in the order of preference.
        strategy: `first` asks them in order; `balance` begins with the one that has the fewest calls in flight.
        cooldown: seconds of rest after a failure.
        failures: kinds of errors after which the next one is asked.
        clock: monotonic seconds.

    Raises:
        UsageError: there is no LM, or another argument makes no sense.

    Example:
        >>> lm = Routed(["openai/gpt-5-mini", "local/smollm2"])
        >>> lm.model
        'routed(openai/gpt-5-mini, local/smollm2)'
    """

    def __init__(
        self,
        lms: Sequence[protocols.LM | str],
        *,
        strategy: Literal["first", "balance"] = "first",
        cooldown: float = 30.0,
        failures: tuple[type[LMError], ...] = FAILURES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(lms)
        if strategy not in ("first", "balance"):
            raise UsageError(f"strategy={strategy!r} is neither 'first' nor 'balance'")
        if not cooldown >= 0:
            raise UsageError(f"cooldown={cooldown!r} must be a number of seconds from 0")
        self._strategy = strategy
        self._cooldown_s = cooldown
        self._failures = failures
        self._clock = clock
        self._lock = threading.Lock()
        self._rest_s = [float("-inf")] * len(self._lms)
        self._in_flight = [0] * len(self._lms)

    @property
    def identity(self) -> str:
        """That of all, in order, and how one of them is chosen."""
        return f"{super().identity} {self._strategy}"

    @property
    def capabilities(self) -> Capabilities:
        """What each of them can do; where the load is balanced, with as many calls in flight as all take."""
        found = super().capabilities
        if self._strategy == "first":
            return found
        return replace(found, concurrency=sum(lm.capabilities.concurrency for lm in self._lms))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def steps(self, request: Request) -> Steps:
        """Ask one after the other until one answers.

        Raises:
            LMError: of the kind of the first failure; names all.
        """
        spent = Usage()
        failures: dict[str, LMError] = {}
        tried: set[int] = set()
        while len(tried) < len(self._lms):
            index = self._choose(tried)
            tried.add(index)
            lm, began_s = self._lms[index], self._clock()
            send = Send(request, to=lm)
            try:
                response = received((yield send))
            except self._failures as error:
                self._fail(index, error)
                note(failures, lm, error)
                spent += Usage(calls=error.calls, seconds=self._clock() - began_s)
                if send.shown:
                    raise
            else:
                self._succeed(index)
                return answered(response, lm, spent)
            finally:
                self._leave(index)
        raise failed(failures) from next(iter(failures.values()))

    def _choose(self, tried: set[int]) -> int:
        """The next LM to ask; one whose rest is over gets another at once, so that only one call tries it."""
        with self._lock:
            now_s = self._clock()
            left = [index for index in range(len(self._lms)) if index not in tried]
            awake = [index for index in left if self._rest_s[index] <= now_s]
            if not awake:
                index = min(left, key=lambda i: self._rest_s[i])
            elif self._strategy == "balance":
                index = min(awake, key=lambda i: self._in_flight[i])
            else:
                index = awake[0]
            self._in_flight[index] += 1
            if self._rest_s[index] > float("-inf"):
                self._rest_s[index] = max(self._rest_s[index], now_s + self._cooldown_s)
            return index

    def _fail(self, index: int, error: LMError) -> None:
        with self._lock:
            until_s = self._clock() + max(self._cooldown_s, error.retry_after_s or 0.0)
            self._rest_s[index] = max(self._rest_s[index], until_s)

    def _succeed(self, index: int) -> None:
        with self._lock:
            self._rest_s[index] = float("-inf")

    def _leave(self, index: int) -> None:
        with self._lock:
            self._in_flight[index] -= 1
