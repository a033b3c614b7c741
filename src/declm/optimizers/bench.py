"""`Bench`: a search's way to run its program - measured, limited, remembered, resumable.

Whatever costs money goes through here, is charged to the budget and, if the search has a name, is kept
in its ledger. A result that the ledger gives back is charged with what it had cost, so that a resumed
search decides like one that was never interrupted.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, cast

from pydantic import BaseModel

from declm import loops, protocols, settings
from declm.errors import UsageError
from declm.evaluation import ErrorLimit, Ledger, Progress, RowResult, Runner, progress
from declm.optimizers.base import Problem
from declm.optimizers.costs import Cost
from declm.optimizers.forecasts import Forecast
from declm.predictors import Predict
from declm.specs import row_hash
from declm.state import ProgramState, Stateful, predictors
from declm.text import digest
from declm.trace import Call
from declm.usage import Budget, Meter, Usage

_log = logging.getLogger("declm")

_PAUSE_S = 0.1
"""Between two looks at what another process is making."""

MAX_ERRORS = 0.5
"""Share of rows that may crash or go unscored before the search gives up on its program or LM."""


@dataclass(frozen=True, slots=True)
class Step:
    """One predictor call inside a traced run; `outputs` hold the reasoning under its key."""

    path: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Traced:
    """One run: its score, the metric's words, what every predictor said, and the calls that gave no outputs."""

    score: float
    feedback: str
    steps: tuple[Step, ...]
    broken: tuple[Step, ...] = ()


@dataclass
class Bench:
    """See the module's docstring; made with `Bench.over(problem)`, inside an event loop."""

    problem: Problem[Any]
    meter: Meter
    runner: Runner[Any, Any]
    teacher: Runner[Any, Any]
    ledger: Ledger | None
    runs: int = 0
    troubles: list[str] = field(default_factory=list[str])
    harvested: set[str] = field(default_factory=set[str])
    _known: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    _traces: dict[tuple[str, int, bool], dict[str, Traced]] = field(
        default_factory=dict[tuple[str, int, bool], dict[str, Traced]]
    )
    _keys: dict[int, tuple[BaseModel, str]] = field(default_factory=dict[int, tuple[BaseModel, str]])
    _cost: Usage = field(default_factory=Usage)
    _runs: dict[str, list[Cost]] = field(default_factory=dict[str, list[Cost]])

    @classmethod
    @contextmanager
    def over(cls, problem: Problem[Any]) -> Generator[Bench, None, None]:
        """Open runner, teacher and ledger; charge everything inside the block to the budget.

        Raises:
            UsageError: an LM of unknown price under a budget in USD, or a metric that does not fit.
        """
        with ExitStack() as stack:
            ledger = stack.enter_context(Ledger.named(problem.name)) if problem.name else None
            meter = Meter(problem.budget)
            stack.enter_context(settings.metered(meter))
            runner: Runner[Any, Any] = Runner(
                problem.program, problem.metric, concurrency=problem.concurrency, ledger=ledger, traces=True
            )
            stack.enter_context(runner)
            runner.check(problem.train)
            runner.check(problem.val)
            teacher = _teacher(problem, runner, ledger, stack)
            teacher.check(problem.train)
            made = cls(problem, meter, runner, teacher, ledger, troubles=list(problem.notes))
            made._check_price()
            yield made

    # --- what the search may know

    @property
    def predictors(self) -> dict[str, Stateful]:
        """The predictors to tune, by path."""
        return predictors(self.problem.program)

    def key(self, row: BaseModel) -> str:
        """Content hash of a row, computed once."""
        known = self._keys.get(id(row))
        if known is None or known[0] is not row:
            known = self._keys[id(row)] = row, row_hash(row)
        return known[1]

    @property
    def usage(self) -> Usage:
        """Everything that was spent, what the ledger gave back included."""
        return self.meter.spent

    @property
    def concurrency(self) -> int:
        """Rows in flight."""
        return self.runner.concurrency

    @property
    def is_remote(self) -> bool:
        """Whether the LMs answer many calls at once: an engine in process is faster if prompts begin alike."""
        return all(lm.capabilities.concurrency > 4 for lm in self.runner.lms.values())

    @property
    def context_tokens(self) -> int | None:
        """The smallest context window among the program's LMs, if any is known."""
        known = [lm.capabilities.context_tokens for lm in self.runner.lms.values()]
        return min((n for n in known if n is not None), default=None)

    @property
    def tight(self) -> str:
        """The budget limit that is nearest to its end."""
        shares = self._shares(Usage())
        return max(shares, key=lambda name: shares[name]) if shares else "trials"

    def cost(self, state: ProgramState) -> Cost:
        """What one run under a state has cost so far, on average."""
        runs = self._runs.get(state.hash, ())
        count = max(1, len(runs))
        return Cost(
            # Exact sums: they must not hang on the order in which replies came.
            math.fsum(run.tokens for run in runs) / count,
            math.fsum(run.usd for run in runs) / count,
            math.fsum(run.seconds for run in runs) / count,
        )

    def proposer(self, path: str) -> protocols.LM:
        """The LM that writes instructions for a predictor: the problem's, else the predictor's own.

        Raises:
            UsageError: there is none.
        """
        predictor = self.predictors[path]
        if self.problem.proposer is not None:
            return self.problem.proposer
        if not isinstance(predictor, Predict):
            raise UsageError(f"{path!r} has no LM of its own to write instructions: give proposer=")
        try:
            return predictor.lm
        except UsageError as error:
            raise UsageError(f"{error.message}; where `forward` sets the LM, give proposer=") from error

    def trouble(self, words: str) -> None:
        """Note what the search has to do without; what comes up many times is said once."""
        if words not in self.troubles:
            self.troubles.append(words)

    def check_proposers(self) -> None:
        """Refuse a search that has no LM to write instructions, before anything is paid for."""
        for path in self.predictors:
            self.proposer(path)

    def affords(self, runs: int, share: float) -> bool:
        """Whether so many runs of the program fit into a share of the budget, by their mean cost so far."""
        each = max(self.runs, 1)
        cost = Usage(
            calls=max(runs, runs * self._cost.calls // each),
            input_tokens=runs * self._cost.tokens // each,
            usd=runs * self._cost.usd / each,
        )
        return all(used <= share for used in self._shares(cost).values())

    def _shares(self, extra: Usage) -> dict[str, float]:
        budget, spent = self.problem.budget, self.usage + extra
        pairs = {
            "calls": (spent.calls, budget.calls),
            "tokens": (spent.tokens, budget.tokens),
            "usd": (spent.usd, budget.usd),
            "seconds": (self.meter.seconds, budget.seconds),
        }
        return {name: used / limit if limit else 2.0 for name, (used, limit) in pairs.items() if limit is not None}

    # --- running rows

    async def scores(self, state: ProgramState, start: int, stop: int) -> list[float | None]:
        """Scores of a span of val under a state, one per row, same order; None for rows unscored.

        Raises:
            BudgetExceeded: a limit was reached inside the span.
            TooManyErrors: most rows of the span went unscored (under the given state: or crashed).
        """
        return await self.scores_of(state, self.problem.val[start:stop])

    async def scores_of(self, state: ProgramState, rows: Sequence[BaseModel]) -> list[float | None]:
        """Scores of any rows under a state; what is known is not run again.

        A row's own demos are left out of its prompt, so that it is not shown its own answer.

        Raises:
            BudgetExceeded: a limit was reached on the way.
            TooManyErrors: most of the rows went unscored (under the given state: or crashed).
        """
        known = self._known.setdefault(state.hash, {})
        keys = [self.key(row) for row in rows]
        new = [row for row, key in zip(rows, keys, strict=True) if key not in known]
        found = {result.row_hash: result.score for result in await self._run(self.runner, new, state)} if new else {}
        known.update({key: score for key, score in found.items() if score is not None})
        return [known[key] if key in known else found[key] for key in keys]

    async def traced(
        self, rows: Sequence[BaseModel], sample: int, state: ProgramState | None = None, *, by_teacher: bool = True
    ) -> list[Traced | None]:
        """Run the teacher, or the program itself, on rows; one result per row, None where the provider failed.

        Sample 0 runs under the state as it is, others at temperature 1; by default it is the runner's own. A row's
        own demos are left out of the prompt, so that it is not shown its own answer. The rows count as harvested
        from then on.
        """
        keys = [self.key(row) for row in rows]
        self.harvested |= set(keys)
        runner = self.teacher if by_teacher else self.runner
        base = state or (self.problem.teacher if by_teacher else self.problem.program).state
        known = self._traces.setdefault((base.hash, sample, by_teacher), {})
        new = [row for row, key in zip(rows, keys, strict=True) if key not in known]
        warm = base if sample == 0 else _warm(base)
        found = {result.row_hash: self._traced(result) for result in await self._run(runner, new, warm, sample)}
        known.update({key: run for key, run in found.items() if run is not None})
        return [known.get(key) for key in keys]

    async def _run(
        self, runner: Runner[Any, Any], rows: Sequence[BaseModel], state: ProgramState, sample: int = 0
    ) -> list[RowResult[Any, Any]]:
        """Run rows, each under the state without the demos that stem from it; in no certain order."""
        limit = ErrorLimit(MAX_ERRORS, len(rows))
        # Code that crashes under the given state is broken; under a candidate it is the candidate's fault.
        own = state.hash == self.problem.program.state.hash

        def count(result: RowResult[Any, Any]) -> None:
            self.runs += 1
            self._cost = self._cost + result.usage
            known = self._runs.setdefault(state.hash, [])
            known.append(Cost(result.usage.tokens, result.usage.usd, result.seconds))
            if result.restored:
                self.meter.charge(result.usage)
            if own or result.outcome == "unscored":
                limit.see(result)

        def started(rows: Sequence[BaseModel], state: ProgramState) -> Coroutine[Any, Any, list[RowResult[Any, Any]]]:
            numbers = [self.problem.numbers.get(self.key(row), index) for index, row in enumerate(rows)]
            return runner.run(rows, indices=numbers, state=state, sample=sample, on_result=count)

        found = await loops.together(started(group, without) for group, without in self._by_state(state, rows))
        return [result for results in found for result in results]

    def _by_state(self, base: ProgramState, rows: Sequence[BaseModel]) -> list[tuple[list[BaseModel], ProgramState]]:
        """Rows grouped by the state that they are run under, in the order of each group's first row."""
        shown = {demo.row for state in base.predictors.values() for demo in state.demos}
        groups: dict[str, tuple[list[BaseModel], ProgramState]] = {}
        for row in rows:
            key = self.key(row)
            state = without_row(base, key) if key in shown else base
            groups.setdefault(state.hash, ([], state))[0].append(row)
        return list(groups.values())

    def _traced(self, result: RowResult[Any, Any]) -> Traced | None:
        if result.score is None or result.trace is None:
            return None
        steps = list(self._steps(result.trace))
        said, broken = [step for step in steps if step.outputs], [step for step in steps if not step.outputs]
        return Traced(result.score, result.feedback, tuple(said), tuple(broken))

    def _steps(self, trace: Call) -> Generator[Step, None, None]:
        known = self.predictors
        for call in trace.predictor_calls():
            predictor = known.get(call.path)
            if predictor is None or predictor.spec.sensitive:
                continue  # masked values are no demonstrations
            reasoning = {predictor.reasoning_key: call.reasoning} if predictor.reasoning_key and call.reasoning else {}
            yield Step(call.path, call.inputs, {**reasoning, **call.outputs} if call.outputs else {})

    async def remembered(self, key: str, make: Callable[[], Awaitable[Any]]) -> Any:
        """The value of a costly step that is no row; from the ledger if it was made before.

        The key need not name the search: its program, rows, LMs and seed are added.
        """
        if self.ledger is None:
            return await make()
        full = digest([key, self.runner.hash, self.problem.program.state.hash, self.problem.seed, self._rows_hash])
        kept = await self._noted(self.ledger, full)
        if kept is not None:
            self.meter.charge(Usage(**kept["usage"]))
            return kept["value"]
        own = Meter(Budget())
        try:
            with settings.metered(own):  # the budget's meter counts what runs beside this, too
                value = await make()
            self.ledger.keep_note(full, {"value": value, "usage": asdict(own.spent)})
        finally:
            self.ledger.release([full])
        return value

    async def _noted(self, ledger: Ledger, key: str) -> Any:
        """What is kept under a key, also if another process is just making it; None if it is ours to make."""
        while True:
            kept = ledger.note(key)
            if kept is not None:
                return kept
            if ledger.claim(key):
                return ledger.note(key)  # once more: it may have been kept just now
            await asyncio.sleep(_PAUSE_S)

    @cached_property
    def _rows_hash(self) -> str:
        proposer = self.problem.proposer.identity if self.problem.proposer else ""
        return digest([proposer, *([self.key(row) for row in rows] for rows in (self.problem.train, self.problem.val))])

    # --- telling the user

    def announce(self, forecast: Forecast) -> None:
        """Say what the search will cost, before the first call."""
        lms = ", ".join(dict.fromkeys(lm.model for lm in self.runner.lms.values())) or "an LM that `forward` sets"
        text = f"optimize: {forecast} on {lms}; budget {_listed(self.problem.budget)}"
        _log.info(text)
        if self.problem.progress is not False:
            print(text, file=sys.stderr)  # noqa: T201  # the user is told the price before paying it

    @contextmanager
    def progress(self, trials: int) -> Generator[Progress, None, None]:
        """A bar over trials."""
        with progress(trials, "optimize", self.problem.progress, unit="trial") as bar:
            yield bar

    def _check_price(self) -> None:
        if self.problem.budget.usd is None:
            return
        proposer = (self.problem.proposer,) if self.problem.proposer else ()
        for lm in (*self.runner.lms.values(), *self.teacher.lms.values(), *proposer):
            if not lm.capabilities.priced:
                raise UsageError(
                    f"Budget(usd=...) can't be kept with {lm.model!r}, whose price is unknown: use calls= or tokens="
                )


def _teacher(
    problem: Problem[Any], runner: Runner[Any, Any], ledger: Ledger | None, stack: ExitStack
) -> Runner[Any, Any]:
    if problem.teacher is problem.program:
        return runner
    made: Runner[Any, Any] = Runner(
        cast("Callable[..., Any]", problem.teacher),  # every module can be called
        problem.metric,
        concurrency=problem.concurrency,
        ledger=ledger,
        traces=True,
    )
    return stack.enter_context(made)


def without_row(state: ProgramState, row: str) -> ProgramState:
    """The state with no demo that stems from this row."""
    for path, predictor in state.predictors.items():
        kept = tuple(demo for demo in predictor.demos if demo.row != row)
        if len(kept) < len(predictor.demos):
            state = state.with_predictor(path, predictor.model_copy(update={"demos": kept}))
    return state


def _warm(state: ProgramState) -> ProgramState:
    for path, predictor in state.predictors.items():
        options = {**predictor.options, "temperature": 1.0}
        state = state.with_predictor(path, predictor.model_copy(update={"options": options}))
    return state


def _listed(budget: Budget) -> str:
    limits = [f"{name} {value:,}" for name, value in asdict(budget).items() if value is not None]
    return ", ".join(limits) or "unlimited"
