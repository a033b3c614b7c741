"""Metrics: what they may look like, and one call of one."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from declm.errors import BudgetExceeded, LMError, MetricError, ParseError, UsageError
from declm.evaluation.fingerprints import metric_hash, name_of
from declm.module import Prediction
from declm.score import Score, as_score
from declm.text import clip
from declm.threads import Threads

G = TypeVar("G")
R = TypeVar("R")

Scored = float | bool | Score
"""What a metric returns: higher is better, in [0, 1]."""

Metric = Callable[[G, R], Scored | Awaitable[Scored]] | Callable[[G, R, Prediction[R]], Scored | Awaitable[Scored]]
"""`(gold, got)` or `(gold, got, run)`, plain or async; `run` is the `Prediction` with its trace."""

SLOW_S = 0.01
"""A synchronous metric that takes longer than this (seconds), such as one that asks an LM, leaves the event loop."""

_JUDGE_FAILED = (LMError, ParseError)


class Scorer(Generic[G, R]):
    """Calls one metric.

    Raises:
        UsageError: the metric does not take `(gold, got)` or `(gold, got, run)`.
    """

    def __init__(self, metric: Callable[..., Any]) -> None:
        self._metric = metric
        self._wants_run = _wants_run(metric)
        self._is_slow = False
        self.name = name_of(metric)
        self.hash = metric_hash(metric)

    async def score(self, index: int, gold: G, got: R, run: Prediction[R], threads: Threads) -> Score:
        """Score one output.

        Raises:
            MetricError: the metric raised or returned no score; names the row.
            LMError: the provider failed under a metric that asks an LM.
            ParseError: a metric that asks an LM could not read the reply.
            BudgetExceeded: a budget in force leaves no room for a metric that asks an LM.
        """
        try:
            result = await self._called((gold, got, run) if self._wants_run else (gold, got), threads)
        except (*_JUDGE_FAILED, BudgetExceeded):
            raise
        except Exception as error:
            raise MetricError(f"the metric {self.name} raised {_told(error)} at row {index}", row=index) from error
        try:
            return as_score(result)
        except MetricError as error:
            raise MetricError(f"{error.message} (metric {self.name}, row {index})", row=index) from None

    async def _called(self, args: tuple[Any, ...], threads: Threads) -> Any:
        # A thread costs more than a fast metric itself, so that only slow ones get one.
        result = await threads.call(self._timed, args) if self._is_slow else self._timed(args)
        if isinstance(result, (float, int, Score)):  # a bool is an int
            return result
        return await result if inspect.isawaitable(result) else result

    def _timed(self, args: tuple[Any, ...]) -> Any:
        started = time.perf_counter()
        try:
            return self._metric(*args)
        finally:
            self._is_slow = time.perf_counter() - started > SLOW_S


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {clip(str(error), 300)}" if str(error) else type(error).__name__


def _wants_run(metric: Callable[..., Any]) -> bool:
    if not callable(metric):
        raise UsageError(f"metric={metric!r} must be a function (gold, got) -> float")
    try:
        signature = inspect.signature(metric)
    except (TypeError, ValueError):
        return False  # a builtin without a signature, such as operator.eq
    for arguments, wants_run in (((None, None), False), ((None, None, None), True)):
        try:
            bound = signature.bind(*arguments)
        except TypeError:
            continue
        if "run" in signature.parameters and not wants_run and "run" not in bound.arguments:
            continue  # an optional `run` is given too
        return wants_run
    raise UsageError(f"the metric {name_of(metric)}{signature} must take (gold, got) or (gold, got, run)")
