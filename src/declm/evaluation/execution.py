"""One evaluation under way: what is asked, what has finished, and what is left of it when it stops."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from declm import protocols, settings
from declm.errors import DeclmError, StateError, UsageError
from declm.evaluation.fingerprints import name_of
from declm.evaluation.ledger import Ledger
from declm.evaluation.limits import ErrorLimit
from declm.evaluation.progress import Progress, progress
from declm.evaluation.report import Report, Run
from declm.evaluation.results import RowResult
from declm.evaluation.runner import Runner
from declm.events import BatchProgress, Event
from declm.files import cache_dir
from declm.lm.batches import Batches
from declm.text import Url, redact

G = TypeVar("G", bound=BaseModel)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Options:
    """The keywords of `evaluate`, which documents them."""

    concurrency: int | None
    max_errors: float | None
    progress: bool | None
    lm: protocols.LM | str | None
    name: str | None
    traces: bool
    batch: bool
    repeats: int


@dataclass
class Evaluation(Generic[G, R]):
    """Runs once; `rows` fills as they finish, so that a stop at any moment loses none of them."""

    program: Callable[..., Any]
    data: Sequence[G]
    metric: Callable[..., Any]
    options: Options
    rows: list[RowResult[G, R]] = field(default_factory=list[RowResult[G, R]])
    described: Run = field(default_factory=lambda: Run("program", "metric", ""))
    started_s: float = field(default_factory=time.perf_counter)
    batches: Batches | None = None

    async def run(self) -> Report[G, R]:
        """Run all rows.

        Raises:
            DeclmError: what stopped it; carries the finished rows as `.report`.
        """
        options = self.options
        if not isinstance(options.repeats, int) or options.repeats < 1:  # pyright: ignore[reportUnnecessaryIsInstance]  # notebooks are not type-checked
            raise UsageError(f"repeats={options.repeats!r} must be a whole number from 1")
        with ExitStack() as stack:
            stack.enter_context(settings.context(lm=options.lm))
            if options.batch:
                self.batches = Batches()
                stack.enter_context(settings.batching(self.batches.of))
            ledger = stack.enter_context(Ledger.named(options.name)) if options.name else None
            runner: Runner[G, R] = Runner(
                self.program, self.metric, concurrency=options.concurrency, ledger=ledger, traces=options.traces
            )
            stack.enter_context(runner)
            runner.check(self.data)
            runs = len(self.data) * options.repeats
            limit = ErrorLimit(options.max_errors, runs)
            self.described = self._described_run(runner)
            bar = stack.enter_context(progress(runs, f"evaluate {self.described.program}", options.progress))
            tally = _Tally(bar)
            if self.batches:
                stack.enter_context(settings.context(callbacks=[tally.see]))

            def finished(row: RowResult[G, R]) -> None:
                self.rows.append(row)
                tally.add(row)
                limit.see(row)

            try:
                for sample in range(options.repeats):
                    await runner.run(self.data, sample=sample, on_result=finished)
                if all(row.score is None for row in self.rows):
                    raise limit.passed()
            except DeclmError as error:
                self._attach(error)
                raise
            if self.batches:
                self.batches.close()
        return self.report()

    def report(self) -> Report[G, R]:
        """The rows that have finished."""
        rows = tuple(sorted(self.rows, key=lambda row: (row.index, row.sample)))
        return Report(rows, replace(self.described, seconds=time.perf_counter() - self.started_s))

    def rescued(self) -> tuple[Report[G, R], str]:
        """The finished rows, kept on disk, and words that say where."""
        report, where = self.report(), ""
        if report.rows:
            where = self._kept(report)
        if self.batches and self.batches.are_under_way:
            where += "; batch jobs go on at the provider: the same call again takes up what they give"
        return report, where

    def _kept(self, report: Report[G, R]) -> str:
        if self.options.name:
            return f"; the ledger {Url(self.options.name)!r} keeps what is done: the same call again runs the rest"
        stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S-%f")
        try:
            slug = re.sub(r"[^\w-]+", "-", self.described.program).strip("-")
            path = cache_dir("reports") / f"{slug}-{stamp}.json"
            report.save(path)
        except (StateError, OSError) as error:
            return f"; they could not be saved ({error})"
        return f"; saved as {str(path)!r}, which Report.load reads"

    def _attach(self, error: DeclmError) -> None:
        report, where = self.rescued()
        error.report = report
        if where:
            error.message = f"{error.message} (finished rows: {len(report.rows)}{where})"
            error.args = (error.message,)

    def _described_run(self, runner: Runner[G, R]) -> Run:
        return Run(
            program=name_of(self.program),
            metric=runner.scorer.name,
            metric_hash=runner.scorer.hash,
            models=tuple(dict.fromkeys(lm.model for lm in runner.lms.values())),
            total=len(self.data) * self.options.repeats,
            started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            name=redact(self.options.name) if self.options.name else None,
            repeats=self.options.repeats,
        )


@dataclass
class _Tally:
    """The figures behind the progress bar."""

    bar: Progress
    total: float = 0.0
    scored: int = 0
    errors: int = 0
    usd: float = 0.0

    def see(self, event: Event) -> None:
        """Show how far batch jobs are."""
        if isinstance(event, BatchProgress):
            self.bar.describe(f"batch job {event.job} {event.status}, {event.done} of {event.total}")

    def add(self, row: RowResult[Any, Any]) -> None:
        self.errors += row.is_error
        self.usd += row.usage.usd
        if row.score is not None:
            self.total += row.score
            self.scored += 1
        if not self.bar.is_shown:
            return
        figures = {"score": f"{self.total / self.scored:.3f}" if self.scored else "-"}
        if self.errors:
            figures["errors"] = str(self.errors)
        if self.usd:
            figures["usd"] = f"{self.usd:.4f}"
        self.bar.advance(1, figures)
