"""What calls cost: `Usage` adds up, `Budget` limits, `Meter` enforces."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, fields

from declm.errors import BudgetExceeded, UsageError


@dataclass(frozen=True, slots=True)
class Usage:
    """Calls, tokens, USD and seconds of one reply, one row or one run; adds with `+`.

    `calls` counts attempts that were sent; `cached` counts replies taken from the cache, which cost
    nothing. `usd` covers the calls whose price is known; `unpriced` counts the others.
    """

    calls: int = 0
    cached: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    seconds: float = 0.0
    unpriced: int = 0

    @property
    def tokens(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        if other is NOTHING:  # as for most of what is added up
            return self
        if self is NOTHING:
            return other
        return Usage(
            self.calls + other.calls,
            self.cached + other.cached,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.usd + other.usd,
            self.seconds + other.seconds,
            self.unpriced + other.unpriced,
        )

    def __sub__(self, other: Usage) -> Usage:
        if other == self:
            return NOTHING
        return Usage(
            self.calls - other.calls,
            self.cached - other.cached,
            self.input_tokens - other.input_tokens,
            self.output_tokens - other.output_tokens,
            self.usd - other.usd,
            self.seconds - other.seconds,
            self.unpriced - other.unpriced,
        )

    def __radd__(self, other: int) -> Usage:
        # So that `sum(usages)` works: it starts from 0.
        return self if other == 0 else NotImplemented


NOTHING = Usage()
"""What costs nothing."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Hard limits; None means no limit. The first one that is reached stops the work.

    Args:
        calls: attempts sent to an LM, by all roles; cache hits are free.
        tokens: input and output tokens.
        usd: US dollars; an LM of unknown price is refused before the first call.
        seconds: wall-clock time.
        trials: candidates tried by `optimize()`; ignored elsewhere.

    Raises:
        UsageError: a limit is negative or no number.
    """

    calls: int | None = None
    tokens: int | None = None
    usd: float | None = None
    seconds: float | None = None
    trials: int | None = None

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            kinds = (int, float) if f.name in _FRACTIONS else (int,)
            if value is None or (isinstance(value, kinds) and not isinstance(value, bool) and value >= 0):
                continue
            number = "number" if f.name in _FRACTIONS else "whole number"
            raise UsageError(f"Budget({f.name}={value!r}) must be a {number} from 0, or None for no limit")


_FRACTIONS = frozenset({"usd", "seconds"})
"""Limits that need not be whole numbers."""


ATTEMPT = Usage(calls=1)
"""An attempt of which nothing else is known."""


@dataclass(slots=True)
class Meter:
    """Counts what is spent against one `Budget`; safe to share between threads and tasks."""

    budget: Budget
    spent: Usage = NOTHING
    started_s: float = field(default_factory=time.monotonic)
    _reserved: Usage = NOTHING
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds since the meter was started."""
        return time.monotonic() - self.started_s

    def reserve(self, expected: Usage = ATTEMPT) -> None:
        """Claim one attempt, before it is sent; every `reserve` is followed by one `settle`.

        Args:
            expected: what it will use at least, as far as that is known.

        Raises:
            BudgetExceeded: the attempt would pass a limit.
        """
        with self._lock:
            limit = self.exhausted(expected)
            if limit is not None:
                raise BudgetExceeded(
                    f"the budget of {getattr(self.budget, limit)} {limit} is used up; "
                    f"raise it with Budget({limit}=...)",
                    limit=limit,
                )
            self._reserved = self._reserved + expected

    def settle(self, usage: Usage, expected: Usage = ATTEMPT) -> None:
        """Replace one reservation by what the attempt really used."""
        with self._lock:
            self._reserved = self._reserved - expected
            self.spent = self.spent + usage

    def charge(self, usage: Usage) -> None:
        """Count what was paid for earlier, such as a row that a ledger gives back."""
        with self._lock:
            self.spent = self.spent + usage

    def exhausted(self, expected: Usage = ATTEMPT) -> str | None:
        """Name the limit that leaves no room for another attempt, or None."""
        budget, claimed = self.budget, self.spent + self._reserved
        if budget.calls is not None and claimed.calls >= budget.calls:
            return "calls"
        if budget.tokens is not None and _passes(claimed.tokens, expected.tokens, budget.tokens):
            return "tokens"
        if budget.usd is not None and _passes(claimed.usd, expected.usd, budget.usd):
            return "usd"
        if budget.seconds is not None and self.seconds >= budget.seconds:
            return "seconds"
        return None


def _passes(claimed: float, expected: float, limit: float) -> bool:
    return claimed >= limit or claimed + expected > limit
