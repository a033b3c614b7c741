"""`evaluate` and `aevaluate`: a program over rows, scored by a metric."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, Generic, TypeVar, overload

from pydantic import BaseModel

from declm import loops, protocols, settings
from declm.errors import DeclmError, Interrupted, StateError
from declm.evaluation.fingerprints import name_of
from declm.evaluation.ledger import Ledger
from declm.evaluation.limits import ErrorLimit
from declm.evaluation.progress import Progress, progress
from declm.evaluation.report import Report, Run
from declm.evaluation.results import RowResult
from declm.evaluation.runner import Runner
from declm.evaluation.scoring import Metric
from declm.files import cache_dir

G = TypeVar("G", bound=BaseModel)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Options:
    concurrency: int | None
    max_errors: float | None
    progress: bool | None
    lm: protocols.LM | str | None
    name: str | None
    traces: bool


@overload
def evaluate(
    program: Callable[..., Coroutine[Any, Any, R]],
    data: Sequence[G],
    metric: Metric[G, R],
    *,
    concurrency: int | None = None,
    max_errors: float | None = 0.5,
    progress: bool | None = None,
    lm: protocols.LM | str | None = None,
    name: str | None = None,
    traces: bool = False,
) -> Report[G, R]: ...
@overload
def evaluate(
    program: Callable[..., R],
    data: Sequence[G],
    metric: Metric[G, R],
    *,
    concurrency: int | None = None,
    max_errors: float | None = 0.5,
    progress: bool | None = None,
    lm: protocols.LM | str | None = None,
    name: str | None = None,
    traces: bool = False,
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
    options = _Options(concurrency, max_errors, progress, lm, name, traces)
    job: _Evaluation[Any, Any] = _Evaluation(program, data, metric, options)
    try:
        return loops.run_apart(job.run(), patience_s=0.5)
    except KeyboardInterrupt:
        report, where = job.rescued()
        raise Interrupted(f"stopped after {len(report.rows)} of {len(data)} rows{where}", report=report) from None


@overload
async def aevaluate(
    program: Callable[..., Coroutine[Any, Any, R]],
    data: Sequence[G],
    metric: Metric[G, R],
    *,
    concurrency: int | None = None,
    max_errors: float | None = 0.5,
    progress: bool | None = None,
    lm: protocols.LM | str | None = None,
    name: str | None = None,
    traces: bool = False,
) -> Report[G, R]: ...
@overload
async def aevaluate(
    program: Callable[..., R],
    data: Sequence[G],
    metric: Metric[G, R],
    *,
    concurrency: int | None = None,
    max_errors: float | None = 0.5,
    progress: bool | None = None,
    lm: protocols.LM | str | None = None,
    name: str | None = None,
    traces: bool = False,
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
) -> Report[Any, Any]:
    """The same as `evaluate`, on the running event loop.

    A cancelled evaluation keeps its finished rows on disk as `evaluate` does, and raises CancelledError.
    """
    job: _Evaluation[Any, Any] = _Evaluation(
        program, data, metric, _Options(concurrency, max_errors, progress, lm, name, traces)
    )
    try:
        return await job.run()
    except asyncio.CancelledError:
        job.rescued()
        raise


@dataclass
class _Evaluation(Generic[G, R]):
    """One evaluation under way: what it is asked, and what it has so far."""

    program: Callable[..., Any]
    data: Sequence[G]
    metric: Callable[..., Any]
    options: _Options
    rows: list[RowResult[G, R]] = field(default_factory=list[RowResult[G, R]])
    run_: Run = field(default_factory=lambda: Run("program", "metric", ""))
    started_s: float = field(default_factory=time.perf_counter)

    async def run(self) -> Report[G, R]:
        options = self.options
        limit = ErrorLimit(options.max_errors, len(self.data))
        with ExitStack() as stack:
            stack.enter_context(settings.context(lm=options.lm))
            ledger = stack.enter_context(Ledger.named(options.name)) if options.name else None
            runner: Runner[G, R] = Runner(
                self.program, self.metric, concurrency=options.concurrency, ledger=ledger, traces=options.traces
            )
            stack.enter_context(runner)
            runner.check(self.data)
            self.run_ = self._described(runner)
            bar = stack.enter_context(progress(len(self.data), f"evaluate {self.run_.program}", options.progress))
            tally = _Tally(bar)

            def finished(row: RowResult[G, R]) -> None:
                self.rows.append(row)
                tally.add(row)
                limit.see(row)

            try:
                await runner.run(self.data, on_result=finished)
                if all(row.score is None for row in self.rows):
                    raise limit.passed()
            except DeclmError as error:
                self._attach(error)
                raise
        return self.report()

    def report(self) -> Report[G, R]:
        rows = tuple(sorted(self.rows, key=lambda row: row.index))
        return Report(rows, replace(self.run_, seconds=time.perf_counter() - self.started_s))

    def rescued(self) -> tuple[Report[G, R], str]:
        """The finished rows, kept on disk, and words that say where."""
        report = self.report()
        if not report.rows:
            return report, ""
        if self.options.name:
            return report, f"; the ledger {self.options.name!r} keeps what is done: the same call again runs the rest"
        stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S-%f")
        try:
            slug = re.sub(r"[^\w-]+", "-", self.run_.program).strip("-")
            path = cache_dir("reports") / f"{slug}-{stamp}.json"
            report.save(path)
        except (StateError, OSError) as error:
            return report, f"; they could not be saved ({error})"
        return report, f"; saved as {str(path)!r}, which Report.load reads"

    def _attach(self, error: DeclmError) -> None:
        report, where = self.rescued()
        error.report = report
        if where:
            error.message = f"{error.message} (finished rows: {len(report.rows)}{where})"
            error.args = (error.message,)

    def _described(self, runner: Runner[G, R]) -> Run:
        return Run(
            program=name_of(self.program),
            metric=runner.scorer.name,
            metric_hash=runner.scorer.hash,
            models=tuple(dict.fromkeys(lm.model for lm in runner.lms.values())),
            total=len(self.data),
            started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            name=self.options.name,
        )


@dataclass
class _Tally:
    """The figures behind the progress bar."""

    bar: Progress
    total: float = 0.0
    scored: int = 0
    errors: int = 0
    usd: float = 0.0

    def add(self, row: RowResult[Any, Any]) -> None:
        self.errors += row.is_error
        self.usd += row.usage.usd
        if row.score is not None:
            self.total += row.score
            self.scored += 1
        figures = {"score": f"{self.total / self.scored:.3f}" if self.scored else "-"}
        if self.errors:
            figures["errors"] = str(self.errors)
        if self.usd:
            figures["usd"] = f"{self.usd:.4f}"
        self.bar.advance(1, figures)
