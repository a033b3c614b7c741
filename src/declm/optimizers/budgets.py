"""Budgets of several searches: what is left after some, and what each of several gets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

from declm.optimizers.base import Optimized
from declm.usage import Budget, Usage


def usage_of(searches: Sequence[Optimized[Any]]) -> Usage:
    """What searches spent together."""
    return reduce(add, (search.usage for search in searches), Usage())


def left_of(budget: Budget, searches: Sequence[Optimized[Any]], seconds: float) -> Budget:
    """What searches have left of a budget, `seconds` after the first one began."""
    spent = usage_of(searches)
    tried = sum(len(search.report.trials) - 1 for search in searches)
    return Budget(
        calls=None if budget.calls is None else max(0, budget.calls - spent.calls),
        tokens=None if budget.tokens is None else max(0, budget.tokens - spent.tokens),
        usd=None if budget.usd is None else max(0.0, budget.usd - spent.usd),
        seconds=None if budget.seconds is None else max(0.0, budget.seconds - seconds),
        trials=None if budget.trials is None else max(0, budget.trials - tried),
    )


def share_of(budget: Budget, parts: int) -> Budget:
    """One of so many equal parts; trials are not divided."""
    return Budget(
        calls=None if budget.calls is None else budget.calls // parts,
        tokens=None if budget.tokens is None else budget.tokens // parts,
        usd=None if budget.usd is None else budget.usd / parts,
        seconds=None if budget.seconds is None else budget.seconds / parts,
        trials=budget.trials,
    )
