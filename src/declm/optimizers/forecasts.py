"""What a search will cost, said before it starts: calls, tokens, USD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from declm.optimizers.base import Problem
from declm.specs import spec
from declm.state import predictors
from declm.usage import Budget

_RACED = 0.6
"""Mean share of val that a trial sees before it is finished or raced out."""

_CHARACTERS_PER_TOKEN = 4.0


LEAST_CANDIDATES = 6
"""Candidates that a budget should be able to score on all of val."""

LEAST_ROWS = 24
"""Rows of val that are used even where the budget pays for fewer candidates."""


def affordable(val: int, budget: Budget, steps: int) -> int:
    """How many rows of val a budget in calls can compare candidates on.

    Args:
        val: rows that there are.
        budget: of the search.
        steps: predictors of the program, each of which takes about one call a row.
    """
    if budget.calls is None:
        return val
    return min(val, max(LEAST_ROWS, budget.calls // (LEAST_CANDIDATES * steps)))


@dataclass(frozen=True, slots=True)
class Forecast:
    """About how much the search will use; the budget's limits are hard, this is not."""

    runs: int
    calls: int
    tokens: int

    def __str__(self) -> str:
        return f"about {self.calls:,} LM calls and {self.tokens:,} tokens in {self.runs:,} runs of the program"


def forecast(problem: Problem[Any], trials: int, proposals: int) -> Forecast:
    """Estimate from the sizes of val and train, the predictors and the length of the rows.

    A program that calls its predictors in loops makes more calls than this counts.
    """
    val, train = len(problem.val), len(problem.train)
    wanted = trials if problem.budget.trials is None else problem.budget.trials
    besides = min(train, problem.max_demos) + min(train, 200)
    return _forecast(problem, round(val + wanted * _RACED * val + besides), proposals)


def forecast_of(problem: Problem[Any], trials: int, runs: int, texts: int) -> Forecast:
    """Estimate for an optimizer that scores `trials` candidates on all of val, and runs rows besides."""
    wanted = trials if problem.budget.trials is None else min(trials, problem.budget.trials)
    return _forecast(problem, len(problem.val) * (1 + wanted) + runs, texts)


def _forecast(problem: Problem[Any], runs: int, texts: int) -> Forecast:
    steps = len(predictors(problem.program))
    calls = (runs + texts) * steps
    if problem.budget.calls is not None:
        calls = min(calls, problem.budget.calls)
    return Forecast(runs, calls, round(calls * _tokens(problem)))


def _tokens(problem: Problem[Any]) -> float:
    """Mean tokens of a call that shows half of the demos allowed."""
    rows = problem.train[:50]
    lengths = [sum(len(str(value)) for part in spec(type(row)).dump(row) for value in part.values()) for row in rows]
    row = sum(lengths) / len(lengths) / _CHARACTERS_PER_TOKEN + 20
    return row * (1 + min(problem.max_demos, len(problem.train)) / 2) + 80
