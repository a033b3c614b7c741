"""The one retry loop: full jitter, the provider's hint, an overall deadline; never after text was shown."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from declm import protocols
from declm.callbacks import tell_inside
from declm.errors import DeadlineExceeded, LMError
from declm.events import Retrying
from declm.lm.base import Layer, Send, Sleep, Steps, received
from declm.messages import Request
from declm.usage import NOTHING, Usage


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long to try.

    Args:
        attempts: sends in all; the server sees exactly that many.
        deadline_s: seconds for one call with all its attempts and waits; None for no limit.
        base_s: upper bound of the first wait; it doubles with each attempt.
        cap_s: upper bound of any wait that the provider did not ask for.
        clock: monotonic seconds.
        jitter: a random number in [0, 1).
    """

    attempts: int = 4
    deadline_s: float | None = 120.0
    base_s: float = 1.0
    cap_s: float = 20.0
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random

    def wait_s(self, failures: int, error: LMError) -> float:
        """Seconds to wait after `failures` failures: uniform in [0, base * 2**n], above any hint.

        Full jitter (Brooker 2015, "Exponential backoff and jitter") spreads the clients that one
        outage has synchronized. It is added to a provider's Retry-After, which is a lower bound.
        """
        drawn = self.jitter() * min(self.cap_s, self.base_s * 2.0 ** (failures - 1))
        return drawn + (error.retry_after_s or 0.0)


class Retried(Layer):
    """Sends again after failures that may pass, until one of the policy's limits."""

    def __init__(self, inner: protocols.LM, policy: RetryPolicy) -> None:
        super().__init__(inner)
        self._policy = policy

    def steps(self, request: Request) -> Steps:
        """Send up to `attempts` times; each send gets the time left as its `timeout` option.

        A `deadline` among the request's options is what a layer above has left of the policy's.
        """
        policy = self._policy
        began_s = policy.clock()
        if "deadline" in request.options:
            options = dict(request.options)
            began_s -= (policy.deadline_s or 0.0) - options.pop("deadline")
            request = replace(request, options=options)
        spent = NOTHING
        for attempt in range(1, policy.attempts + 1):
            left_s = self._left(began_s)
            sent_s = policy.clock()
            send = Send(_limited(request, left_s))
            try:
                response = received((yield send))
            except LMError as error:
                spent += Usage(calls=error.calls, seconds=policy.clock() - sent_s)
                # A reader can't unread what it was shown, so nothing is sent again after that.
                error.calls = spent.calls
                wait_s = self._wait(attempt, attempt if send.shown else policy.attempts, began_s, error)
                tell_inside(Retrying, model=self.model, attempt=attempt, error=error, wait_s=wait_s)
            else:
                return replace(response, usage=spent + response.usage) if spent.calls else response
            yield Sleep(wait_s)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _left(self, began_s: float) -> float | None:
        deadline_s = self._policy.deadline_s
        return None if deadline_s is None else deadline_s - (self._policy.clock() - began_s)

    def _wait(self, attempt: int, attempts: int, began_s: float, error: LMError) -> float:
        """Seconds to wait before the next attempt; raises if there will be none."""
        if not error.retryable:
            raise error
        left_s = self._left(began_s)
        wait_s = self._policy.wait_s(attempt, error)
        if left_s is not None and (left_s <= 0 or (attempt < attempts and wait_s >= left_s)):
            late = DeadlineExceeded(
                f"no answer within the deadline of {self._policy.deadline_s:g} s, after {attempt} "
                f"{'attempt' if attempt == 1 else 'attempts'}; the last failure was: {error.message}",
                model=self.model,
                status=error.status,
            )
            late.calls = error.calls
            raise late from error
        if attempt >= attempts:
            raise error
        return wait_s


def _limited(request: Request, left_s: float | None) -> Request:
    """The request with a `timeout` option of at most `left_s` seconds."""
    if left_s is None:
        return request
    asked = request.options.get("timeout")
    timeout_s = left_s if asked is None else min(float(asked), left_s)
    return replace(request, options={**request.options, "timeout": max(timeout_s, 0.001)})
