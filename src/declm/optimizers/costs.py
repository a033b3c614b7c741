"""What one run of a program costs, and what it may cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from declm.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Cost:
    """Tokens, USD and seconds of one run: the mean over the runs of a candidate.

    USD are 0 where prices are unknown, and a reply from the cache costs nothing.
    """

    tokens: float = 0.0
    usd: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run of the returned program may cost on average; None means no limit.

    Args:
        tokens: input and output tokens.
        usd: US dollars.
        seconds: of the program's own time, without waiting for its turn.

    Raises:
        UsageError: a limit is no number above 0.
    """

    tokens: float | None = None
    usd: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, value in self._named.items():
            if value is not None and not (isinstance(value, (int, float)) and value > 0):  # pyright: ignore[reportUnnecessaryIsInstance]  # notebooks are not type-checked
                raise UsageError(f"Limits({name}={value!r}) must be a number above 0, or None for no limit")

    @property
    def _named(self) -> Mapping[str, float | None]:
        return {"tokens": self.tokens, "usd": self.usd, "seconds": self.seconds}

    def excess(self, cost: Cost) -> dict[str, float]:
        """By how much each limit is passed, as a share of it; zero or less where it is kept."""
        pairs = {
            "tokens": (cost.tokens, self.tokens),
            "usd": (cost.usd, self.usd),
            "seconds": (cost.seconds, self.seconds),
        }
        return {name: value / limit - 1.0 for name, (value, limit) in pairs.items() if limit is not None}

    def allow(self, cost: Cost) -> bool:
        """Whether a cost keeps every limit."""
        return all(value <= 0.0 for value in self.excess(cost).values())

    def __str__(self) -> str:
        return ", ".join(f"{value:g} {name}" for name, value in self._named.items() if value is not None) or "none"
