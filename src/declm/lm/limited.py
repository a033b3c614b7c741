"""Limits: calls in flight, calls and tokens a minute, and what a provider says of too many."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import replace

from declm import protocols
from declm.callbacks import tell_inside
from declm.errors import LMError, RateLimited, ServerError, TimedOut
from declm.events import Waited
from declm.lm.base import Layer, Send, Steps, Wait, received
from declm.lm.gates import Gate, Limits, Ticket, gate_of
from declm.lm.streams import rough_usage
from declm.messages import Capabilities, Request, Response

_OVERLOADED = frozenset({503, 529})

_NEWEST = 0.2
"""Weight of the newest reply in what replies usually have."""

_LONGEST_S = 5.0
"""Between two looks at a queue; who is next is told at once."""


class Limited(Layer):
    """Sends as many calls at once, and in a minute, as the account may; the others wait in order.

    Waiting counts against the call's `timeout` option. It is the innermost layer: what the cache answers
    waits for nobody, and each attempt of the retry loop is counted.

    Args:
        limits: those that are known; without any, calls flow freely until the provider refuses one.
        account: text that names the endpoint and whose key it is; LMs of one account share their limits,
            and wait together when its provider asks them to.
        max_tokens: of a reply, where a request does not say; providers count them before it is written.
    """

    def __init__(self, inner: protocols.LM, limits: Limits, account: str, max_tokens: int | None = None) -> None:
        super().__init__(inner)
        self._limits = limits
        self._account = account
        self._max_tokens = max_tokens
        self._usual_tokens = 0.0

    @property
    def capabilities(self) -> Capabilities:
        """Of the LM inside, with no more calls in flight than are allowed."""
        found, most = super().capabilities, self._limits.concurrency
        return found if most is None else replace(found, concurrency=min(found.concurrency, most))

    def steps(self, request: Request) -> Steps:
        """Wait for a place, send, and make room.

        Raises:
            RateLimited: the provider asks to wait for longer than the call has left.
            TimedOut: no place came free in time.
        """
        gate = gate_of(self._account, self._limits)
        tokens: int | None = None
        ticket = gate.enter(self._expected(request) if self._limits.tpm is not None else 0)
        try:
            if not ticket.passed:
                request = yield from self._queue(gate, ticket, request)
            response = received((yield Send(request)))
            gate.went_well()
            tokens = response.usage.tokens
            self._usual_tokens += (response.usage.output_tokens - self._usual_tokens) * _NEWEST
        except LMError as error:
            if (isinstance(error, RateLimited) and ticket.passed) or (
                isinstance(error, ServerError) and error.status in _OVERLOADED
            ):
                gate.too_many(ticket, error.retry_after_s)
            raise
        finally:
            gate.leave(ticket, tokens)
        return response

    def _expected(self, request: Request) -> int:
        """Tokens that a call will take: its prompt's, and those that its reply may have or replies usually have."""
        asked = (request.options.get(name) for name in ("max_completion_tokens", "max_tokens"))
        most = next((number for number in asked if number is not None), self._max_tokens)
        return rough_usage(request, "").input_tokens + round(self._usual_tokens if most is None else most)

    def _queue(self, gate: Gate, ticket: Ticket, request: Request) -> Generator[Send | Wait, Response | None, Request]:
        """Wait until the ticket has passed; the request with the time that is left."""
        began_s, limit_s = time.monotonic(), request.options.get("timeout")
        while True:
            left_s = float("inf") if limit_s is None else limit_s - (time.monotonic() - began_s)
            self._check(gate.held_s(), left_s, limit_s)
            turn, wait_s = gate.knock(ticket)
            if ticket.passed:
                tell_inside(Waited, model=self.model, seconds=time.monotonic() - began_s)
                return request if limit_s is None else replace(request, options={**request.options, "timeout": left_s})
            yield Wait(turn, min(wait_s, left_s, _LONGEST_S), -1)

    def _check(self, held_s: float, left_s: float, limit_s: float | None) -> None:
        if left_s <= 0.0:
            raise TimedOut(f"{self.model!r}: no place among the calls in flight within {limit_s:g} s", model=self.model)
        if held_s >= left_s:
            raise RateLimited(
                f"{self.model!r}: the provider has asked to wait for another {held_s:.0f} s",
                model=self.model,
                retry_after_s=held_s,
            )
