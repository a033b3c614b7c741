"""`Gate`: how many calls an account may have in flight, and how many it may send in a minute.

Without limits of the user's, a gate stands open until the provider says "too many": then it halves the
calls in flight, holds everybody for as long as the provider asks, and opens again step by step (additive
increase, multiplicative decrease; Chiu and Jain 1989). Those who wait are served in order.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

MINUTE_S = 60.0

_KEPT = 1024

PACE_S = 1.0
"""Those who were held are let through one by one, ever faster, or they would be the next burst: as many as fit
the gate in the first second, and 2.7 times as many in each that follows."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one account may do; None for no limit.

    Args:
        concurrency: calls in flight.
        rpm: calls in any 60 seconds.
        tpm: tokens, of prompts and replies, in any 60 seconds.
    """

    concurrency: int | None = None
    rpm: int | None = None
    tpm: int | None = None


class Ticket:
    """One call's place in the queue, and later in flight; `tokens` is what it is expected to take."""

    __slots__ = ("entered_s", "taken", "tokens", "turn")

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.entered_s: float | None = None
        self.taken: _Taken | None = None
        self.turn: Future[None] | None = None

    @property
    def passed(self) -> bool:
        """Whether it is in flight."""
        return self.entered_s is not None


@dataclass(slots=True)
class Hold:
    """Until when nobody of an account may send, as its provider has asked; in monotonic seconds."""

    until_s: float = 0.0


class Gate:
    """The calls of one account in this process; for any number of threads and tasks.

    Args:
        limits: what holds in any case.
        hold: shared by the gates of the account; None for one of its own.
        clock: monotonic seconds.
    """

    def __init__(self, limits: Limits, hold: Hold | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._hold = hold or Hold()
        self._clock = clock
        self._lock = threading.RLock()  # a generator that is collected leaves, perhaps inside of `enter`
        self._queue = deque[Ticket]()
        self._in_flight = 0
        self._width: float | None = None
        self._calls = None if limits.rpm is None else _Minute(limits.rpm)
        self._tokens = None if limits.tpm is None else _Minute(limits.tpm)
        self._paced_s = 0.0
        self._released: int | None = None
        self._cut_s = float("-inf")
        self._before = 0.0

    @property
    def width(self) -> float | None:
        """Calls that may be in flight now; None for any number."""
        given = self._limits.concurrency
        if self._width is None or given is None:
            return given if self._width is None else self._width
        return min(self._width, given)

    def enter(self, tokens: int) -> Ticket:
        """A ticket, which has `passed` already unless something is in its way; it must `leave` in the end."""
        ticket = Ticket(tokens)
        with self._lock:
            if self._queue or self._wait_s(ticket) > 0.0:
                self._queue.append(ticket)
            else:
                self._pass(ticket)
        return ticket

    def knock(self, ticket: Ticket) -> tuple[Future[None], float]:
        """Let a ticket pass if it may; else what is settled when it is to knock again, and after how long at most."""
        with self._lock:
            turn = ticket.turn = _open()
            wait_s = self._wait_s(ticket) if self._queue[0] is ticket else float("inf")
            if wait_s <= 0.0:
                self._queue.popleft()
                self._pass(ticket)
                self._call_next()
            return turn, wait_s

    def leave(self, ticket: Ticket, tokens: int | None = None) -> None:
        """Make room, from the queue or from flight; `tokens` are those that the call has really taken."""
        with self._lock:
            if ticket.passed:
                self._in_flight -= 1
                if self._tokens and ticket.taken and tokens is not None:
                    self._tokens.correct(ticket.taken, tokens)
            elif ticket in self._queue:
                self._queue.remove(ticket)
            self._call_next()

    def held_s(self) -> float:
        """Seconds for which everybody is held, as the provider has asked."""
        return max(self._hold.until_s - self._clock(), 0.0)

    def too_many(self, ticket: Ticket, hint_s: float | None) -> None:
        """The provider has refused a call for being one too many; it may say how long to wait."""
        with self._lock:
            now_s = self._clock()
            if hint_s:
                self._hold.until_s = max(self._hold.until_s, now_s + hint_s)
            # One burst is refused many times, and says one thing.
            if ticket.entered_s is None or ticket.entered_s <= self._cut_s:
                return
            self._before = self.width or float(self._in_flight)
            self._width = max(1.0, min(self._before, self._in_flight) / 2.0)
            self._cut_s = now_s
            self._call_next()

    def went_well(self) -> None:
        """A call has been answered: one more may fly for each round that goes well."""
        if self._width is not None:
            self._widen()

    def _widen(self) -> None:
        with self._lock:
            width = (self._width or 1.0) + 1.0 / (self._width or 1.0)
            # For long now the provider has been taking more than when it refused.
            self._width = None if width >= 2.0 * self._before + 1.0 else width
            self._call_next()

    def _wait_s(self, ticket: Ticket) -> float:
        """Seconds until a ticket may pass; endless if another must leave first."""
        width = self.width
        if width is not None and self._in_flight >= max(int(width), 1):
            return float("inf")
        now_s = self._clock()
        if self._hold.until_s > now_s:
            self._released = 0
        until_s = max(self._hold.until_s, self._paced_s)
        if self._calls:
            until_s = max(until_s, self._calls.free_s(1, now_s))
        if self._tokens:
            until_s = max(until_s, self._tokens.free_s(ticket.tokens, now_s))
        return until_s - now_s

    def _pass(self, ticket: Ticket) -> None:
        now_s = ticket.entered_s = self._clock()
        self._in_flight += 1
        if self._calls:
            self._calls.take(1, now_s)
        if self._tokens:
            ticket.taken = self._tokens.take(ticket.tokens, now_s)
        if self._released is not None:
            self._paced_s = now_s + PACE_S / (max(self.width or 1.0, 1.0) + self._released)
            self._released = self._released + 1 if self._queue or now_s < self._hold.until_s + PACE_S else None

    def _call_next(self) -> None:
        turn = self._queue[0].turn if self._queue else None
        if turn is not None and not turn.done():
            turn.set_result(None)


@dataclass(slots=True)
class _Taken:
    """So much was taken then."""

    at_s: float
    amount: int
    counts: bool = True


@dataclass(slots=True)
class _Minute:
    """What has been taken in the last 60 seconds, exactly: providers count the same way."""

    limit: int
    _taken: deque[_Taken] = field(default_factory=deque[_Taken])
    _total: int = 0

    def free_s(self, amount: int, now_s: float) -> float:
        """When so much may be taken; more than the limit may be once nothing else counts."""
        while self._taken and self._taken[0].at_s <= now_s - MINUTE_S:
            old = self._taken.popleft()
            old.counts = False
            self._total -= old.amount
        left, room = self._total, self.limit - min(amount, self.limit)
        for one in self._taken:
            if left <= room:
                break
            left -= one.amount
            now_s = one.at_s + MINUTE_S
        return now_s

    def take(self, amount: int, now_s: float) -> _Taken:
        """Count it from now on."""
        taken = _Taken(now_s, amount)
        self._taken.append(taken)
        self._total += amount
        return taken

    def correct(self, taken: _Taken, amount: int) -> None:
        """Count it as so much instead."""
        if taken.counts:
            self._total += amount - taken.amount
            taken.amount = amount


class _Gates:
    """The gates of this process by account and limits; the oldest go where there are too many."""

    def __init__(self) -> None:
        self.forget()

    def of(self, account: str, limits: Limits) -> Gate:
        """The gate of an account: all LMs that name the same one, with the same limits, share it."""
        with self._lock:
            hold, gates = self._accounts.get(account) or self._open(account)
            gate = gates.get(limits)
            if gate is None:
                gate = gates[limits] = Gate(limits, hold)
            return gate

    def _open(self, account: str) -> tuple[Hold, dict[Limits, Gate]]:
        if len(self._accounts) >= _KEPT:
            del self._accounts[next(iter(self._accounts))]
        self._accounts[account] = (Hold(), {})
        return self._accounts[account]

    def forget(self) -> None:
        """Let every account begin with a new gate."""
        self._lock = threading.Lock()
        self._accounts: dict[str, tuple[Hold, dict[Limits, Gate]]] = {}


_GATES = _Gates()
gate_of, forget = _GATES.of, _GATES.forget

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget)  # whoever holds a lock stayed in the parent


def _open() -> Future[None]:
    future = Future[None]()
    future.set_running_or_notify_cancel()
    return future
