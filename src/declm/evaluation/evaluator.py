"""`evaluate` and `aevaluate`: a program over rows, scored by a metric."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar, overload

from pydantic import BaseModel

from declm import loops, protocols
from declm.errors import Interrupted
from declm.evaluation.execution import Evaluation, Options
from declm.evaluation.report import Report
from declm.evaluation.scoring import Scored
from declm.module import Prediction

G = TypeVar("G", bound=BaseModel)
R = TypeVar("R")

# The overloads differ in one thing each: an async program is evaluated as what it returns when awaited,
# and a metric takes two arguments or three. A union of the two metrics would cost lambdas their types.


@overload
def evaluate(
    program: Callable[..., Coroutine[Any, Any, R]],
    data: Sequence[G],
    metric: Callable[[G, R], Scored | Awaitable[Scored]],
    *,
    concurrency: int | None = None,
    max_errors: float | None = 0.5,
    progress: bool | None = None,
    lm: protocols.LM | str | None = None,
    name: str | None = None,
    traces: bool = False,
    batch: bool = False,
    repeats: int = 1,
) -> Report[G, R]: ...
@overload
def evaluate(
    program: Callable[..., Coroutine[Any, Any, R]],
    data: Sequence[G],
    metric: Callable[[G, R, Prediction[R]], Scored | Awaitable[Scored]],
    *,
    concurrency: int | None = None,
    max_errors: float | None = 0.5,
    progress: bool | None = None,
    lm: protocols.LM | str | None = None,
    name: str | None = None,
    traces: bool = False,
    batch: bool = False,
    repeats: int = 1,
) -> Report[G, R]: ...
@overload
def evaluate(
    program: Callable[..., R],
    data: Sequence[G],
    metric: Callable[[G, R], Scored | Awaitable[Scored]],
    *,
    concurrency: int | None = None,
    max_errors: float | None = 0.5,
    progress: bool | None = None,
    lm: protocols.LM | str | None = None,
    name: str | None = None,
    traces: bool = False,
    batch: bool = False,
    repeats: int = 1,
) -> Report[G, R]: ...
@overload
def evaluate(
    program: Callable[..., R],
    data: Sequence[G],
    metric: Callable[[G, R, Prediction[R]], Scored | Awaitable[Scored]],
    *,
    concurrency: int | None = None,
    max_errors: float | None = 0.5,
    progress: bool | None = None,
    lm: protocols.LM | str | None = None,
    name: str | None = None,
    traces: bool = False,
    batch: bool = False,
    repeats: int = 1,
) -> Report[G, R]: ...
def evaluate(
    program: Callable[..., Any],
    data: Sequence[Any],
    metric: Any,
    *,
    concurrency: int | None = None,
    max_errors: float | None = 0.5,
    progress: bool | None = None,
    lm: protocols.LM | str | None = None,
    name: str | None = None,
    traces: bool = False,
    batch: bool = False,
    repeats: int = 1,
) -> Report[Any, Any]:
    """Run a program over rows and score what it returns.

    Rows may be of any Pydantic class; the program gets the inputs that its parameters name, never
    outputs or notes. It may be a predictor, a module or any function, plain or async. Works in
    notebooks too. Cost: `len(data)` runs of the program.

    Args:
        program: what to evaluate.
        data: gold rows.
        metric: `(gold, got)` or `(gold, got, run)`, plain or async; returns a bool, a float in [0, 1]
            or a `Score` with feedback. `run` is the `Prediction` with its trace.
        concurrency: rows in flight; None takes what serves the LM best.
        max_errors: rows (int) or share of rows (float) that may crash or go unscored before the
            evaluation stops; None never stops. With a share, ten errors before anything else stop it
            too. Replies that can't be read score 0 and don't count.
        progress: show a bar; None shows it on a terminal and in a notebook.
        lm: the LM of predictors that have none of their own.
        name: keep finished rows under this name (or in this `.sqlite` file): the same call again, also
            after a crash, runs only the rows that are missing; another metric scores the kept outputs.
        traces: keep every row's tree of calls.
        batch: ask through the provider's batch API: half the price, an answer within a day, found again
            by the same call after a crash. See docs/evaluation.md.
        repeats: run each row so often, with another sample of the same prompts each time. The score of a
            row is then the mean of its runs; `report.pass_at(k)` tells how often one of several is right.

    Raises:
        UsageError: rows lack an input, the metric does not fit, or no LM is set; nothing was sent.
        MetricError: the metric raised or returned no score; names the row.
        TooManyErrors: `max_errors` was passed, or no row could be scored.
        BudgetExceeded: a budget in force is used up.
        Interrupted: (a KeyboardInterrupt) Ctrl-C. These four carry the finished rows as `.report`,
            which is also on disk: in the ledger, or as a file that the message names.

    Example:
        >>> from declm import Input, Output, Signature
        >>> class QA(Signature):
        ...     question: str = Input()
        ...     answer: str = Output()
        >>> def guess(question: str) -> QA:
        ...     return QA(question=question, answer="4")
        >>> rows = [QA(question="2 + 2", answer="4"), QA(question="2 + 3", answer="5")]
        >>> evaluate(guess, rows, lambda gold, got: gold.answer == got.answer).score
        0.5
    """
    options = Options(concurrency, max_errors, progress, lm, name, traces, batch, repeats)
    job: Evaluation[Any, Any] = Evaluation(program, data, metric, options)
    try:
        return loops.run_apart(job.run(), patience_s=0.5)
    except KeyboardInterrupt:
        report, where = job.rescued()
        finished = f"{len(report.rows)} of {job.described.total}"
        raise Interrupted(f"stopped after {finished} rows{where}", report=report) from None


@overload
async def aevaluate(
    program: Callable[..., Coroutine[Any, Any, R]],
    data: Sequence[G],
    metric: Callable[[G, R], Scored | Awaitable[Scored]],
    *,
    concurrency: int | None = None,
    max_errors: float | None = 0.5,
    progress: bool | None = None,
    lm: protocols.LM | str | None = None,
    name: str | None = None,
    traces: bool = False,
    batch: bool = False,
    repeats: int = 1,
) -> Report[G, R]: ...
@overload
async def aevaluate(
    program: Callable[..., Coroutine[Any, Any, R]],
    data: Sequence[G],
    metric: Callable[[G, R, Prediction[R]], Scored | Awaitable[Scored]],
    *,
    concurrency: int | None = None,
    max_errors: float | None = 0.5,
    progress: bool | None = None,
    lm: protocols.LM | str | None = None,
    name: str | None = None,
    traces: bool = False,
    batch: bool = False,
    repeats: int = 1,
) -> Report[G, R]: ...
@overload
async def aevaluate(
    program: Callable[..., R],
    data: Sequence[G],
    metric: Callable[[G, R], Scored | Awaitable[Scored]],
    *,
    concurrency: int | None = None,
    max_errors: float | None = 0.5,
    progress: bool | None = None,
    lm: protocols.LM | str | None = None,
    name: str | None = None,
    traces: bool = False,
    batch: bool = False,
    repeats: int = 1,
) -> Report[G, R]: ...
@overload
async def aevaluate(
    program: Callable[..., R],
    data: Sequence[G],
    metric: Callable[[G, R, Prediction[R]], Scored | Awaitable[Scored]],
    *,
    concurrency: int | None = None,
    max_errors: float | None = 0.5,
    progress: bool | None = None,
    lm: protocols.LM | str | None = None,
    name: str | None = None,
    traces: bool = False,
    batch: bool = False,
    repeats: int = 1,
) -> Report[G, R]: ...
async def aevaluate(
    program: Callable[..., Any],
    data: Sequence[Any],
    metric: Any,
    *,
    concurrency: int | None = None,
    max_errors: float | None = 0.5,
    progress: bool | None = None,
    lm: protocols.LM | str | None = None,
    name: str | None = None,
    traces: bool = False,
    batch: bool = False,
    repeats: int = 1,
) -> Report[Any, Any]:
    """The same as `evaluate`, on the running event loop.

    A cancelled evaluation keeps its finished rows on disk as `evaluate` does, and raises CancelledError.
    """
    job: Evaluation[Any, Any] = Evaluation(
        program, data, metric, Options(concurrency, max_errors, progress, lm, name, traces, batch, repeats)
    )
    try:
        return await job.run()
    except asyncio.CancelledError:
        job.rescued()
        raise
