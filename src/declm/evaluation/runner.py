"""`Runner`: rows through a program and a metric, many at once, under any number of candidate states.

Evaluations and searches share it. Everything happens on one event loop: predictors and async programs
run on it, synchronous user code in threads beside it. A candidate state is bound by a context variable
inside each row, so that rows of different candidates run at the same time over one program.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Generic, TypeVar, cast

from pydantic import BaseModel
from typing_extensions import Self

from declm import lm as lms
from declm import protocols, settings, trace
from declm.arguments import arguments
from declm.errors import BudgetExceeded, LMError, MetricError, ParseError, ProgramError, UsageError
from declm.evaluation.codec import body_of
from declm.evaluation.fingerprints import name_of, program_hash, state_hash
from declm.evaluation.keeping import Keeper
from declm.evaluation.ledger import Key, Ledger
from declm.evaluation.results import MISUSE, Ran, RowResult, typed
from declm.evaluation.scoring import Scorer
from declm.evaluation.workers import together
from declm.module import Prediction
from declm.predictors import Predict
from declm.specs import row_hash
from declm.state import Node, PredictorState, ProgramState, Stateful, bind, match, nodes, predictors
from declm.text import digest
from declm.threads import Threads
from declm.usage import NOTHING, Budget, Meter, Usage

G = TypeVar("G", bound=BaseModel)
R = TypeVar("R")

CONCURRENCY = 16
"""Rows in flight where no LM says how many calls serve it best."""

_THREADS = 1000
"""Of a program that blocks, where more rows than that wait for a batch job."""

_States = Mapping[Stateful, PredictorState]
_NO_LIMIT = Budget()
_AS_IT_IS = nullcontext[None](None)


@dataclass(slots=True)
class _Place(Generic[G]):
    """One row to run: where it stands, and the key of its result."""

    index: int
    row: G
    key: Key


_PAUSE_S = 0.04
"""Between two looks at the rows that other processes are at."""

_LOOKS = 25
"""Looks after which they are claimed once more."""


class Runner(Generic[G, R]):
    """Runs rows; made, used and closed inside one event loop.

    Args:
        program: a predictor, a module, or any function of the inputs that its parameters name.
        metric: see `declm.evaluation.scoring.Metric`.
        concurrency: rows in flight, over all candidates; None asks the program's LMs.
        ledger: where finished rows are kept and found again; belongs to the caller.
        traces: keep the tree of calls of every row.

    Raises:
        UsageError: the metric's signature does not fit, or `concurrency` is below 1.
    """

    def __init__(
        self,
        program: Callable[..., Any],
        metric: Callable[..., Any],
        *,
        concurrency: int | None = None,
        ledger: Ledger | None = None,
        traces: bool = False,
    ) -> None:
        if concurrency is not None and concurrency < 1:
            raise UsageError(f"concurrency={concurrency} must be 1 or more")
        if not callable(program) or isinstance(program, type):
            raise UsageError(f"program={program!r} must be a predictor, a module (an instance) or a function")
        root: object = program
        self._root = root if isinstance(root, Node) else None
        self.program = program
        self.scorer: Scorer[G, R] = Scorer(metric)
        self.lms = _lms(self._root)
        self.concurrency = concurrency or min(
            (lm.capabilities.concurrency for lm in self.lms.values()), default=CONCURRENCY
        )
        self.hash = program_hash(program)
        self._name = name_of(program)
        self._arguments = arguments(program)
        self._is_native = _is_native(program)
        self._start = _starter(program, self._root) if self._is_native else program
        self._paths = {id(node): path for path, node in nodes(self._root).items()} if self._root else {}
        self._traces = traces
        self._keeper = Keeper(ledger, program, self.scorer.hash, traces) if ledger is not None else None
        self._lm_hash = digest({path: lm.identity for path, lm in self.lms.items()})
        self._row_hashes: dict[int, tuple[G, str]] = {}
        self._gate = asyncio.Semaphore(self.concurrency)
        self._threads = Threads(min(self.concurrency, _THREADS))

    def check(self, rows: Sequence[G]) -> None:
        """Refuse rows that can't call the program; nothing is sent.

        Raises:
            UsageError: there are no rows, or one is no Pydantic object or lacks an input.
        """
        if not isinstance(rows, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise UsageError(f"rows come as a list, not as a {type(rows).__name__}; read them with dm.data.read(...)")
        if not rows:
            raise UsageError("there are no rows to run")
        for index, row in enumerate(rows):
            if not isinstance(row, BaseModel):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
                raise UsageError(
                    f"row {index} is a {type(row).__name__}; rows are instances of a Pydantic class: "
                    "read them with dm.data.read(YourSignature, rows)"
                )
        self._arguments.check(rows)

    async def run(
        self,
        rows: Sequence[G],
        *,
        indices: Sequence[int] | None = None,
        state: ProgramState | None = None,
        sample: int = 0,
        on_result: Callable[[RowResult[G, R]], None] | None = None,
    ) -> list[RowResult[G, R]]:
        """Run rows under one state; one result per row, in their order.

        Several calls may run at once; they share the limit on rows in flight, first come first served.

        Args:
            rows: what to run; `check` has seen them.
            indices: positions of the rows in the data, for results and messages; None counts from 0.
            state: the candidate; None for the program's own state.
            sample: another index asks for another sample of the same prompts.
            on_result: called on the event loop as each row finishes; raising stops the run.

        Raises:
            BudgetExceeded: a budget is used up; rows in flight have been finished first.
            MetricError: the metric raised or returned no score; the other rows have been cancelled.
            UsageError: (and TemplateError, StateError, MissingExtra) raised before a row's first LM
                call: a fault of code or setup, which no other row would escape.
        """
        states = match(self._root, state) if state is not None and self._root else {}
        state_key = state.hash if state is not None else state_hash(self.program)
        numbers = range(len(rows)) if indices is None else indices
        places = [self._place(i, row, state_key, sample) for i, row in zip(numbers, rows, strict=True)]
        waiting = dict(enumerate(places))
        results: dict[int, RowResult[G, R]] = {}

        def finished(position: int, result: RowResult[G, R]) -> None:
            del waiting[position]
            results[position] = result
            if on_result is not None:
                on_result(result)

        for look in count():
            kept = await self._keeper.known([place.key for place in waiting.values()]) if self._keeper else {}
            # What other processes are at is found in the ledger; now and then they may have given it up.
            due = [(at, place) for at, place in waiting.items() if look % _LOOKS == 0 or place.key in kept]
            await self._through(due, kept, states, finished)
            if not waiting:
                break
            await asyncio.sleep(_PAUSE_S)
        return [results[position] for position in range(len(places))]

    def close(self) -> None:
        """Let idle threads end."""
        self._threads.close()
        if self._keeper:
            self._keeper.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _place(self, index: int, row: G, state: str, sample: int) -> _Place[G]:
        known = self._row_hashes.get(id(row))
        if known is None:
            known = self._row_hashes[id(row)] = (row, row_hash(row))  # the row is held, so that its id stays its own
        return _Place(index, row, Key(self.hash, state, known[1], self._lm_hash, sample))

    # --- one row

    async def _through(
        self,
        places: Sequence[tuple[int, _Place[G]]],
        kept: Mapping[Key, Ran],
        states: _States,
        finished: Callable[[int, RowResult[G, R]], None],
    ) -> None:
        """Run the rows that no other process is at; of some of them this is kept."""
        todo = iter(places)

        async def work() -> None:
            for position, place in todo:
                result = await self._result(place, states, kept.get(place.key))
                if result is not None:
                    finished(position, result)

        await together(work, min(len(places), self.concurrency), todo)

    async def _result(self, place: _Place[G], states: _States, kept: Ran | None) -> RowResult[G, R] | None:
        """The result of a row of which this is kept; None while another process is at it."""
        restored = kept is not None
        if kept is not None and kept.is_whole:
            ran = kept
        else:
            async with self._gate:
                if self._keeper is None:
                    ran = await self._worked(place, states, None)
                elif not await self._keeper.claim(place.key):
                    return None
                else:
                    # Once more: somebody may have finished it just now.
                    kept = (await self._keeper.known([place.key])).get(place.key)
                    restored = kept is not None
                    ran = kept if kept and kept.is_whole else await self._kept(self._keeper, place, states, kept)
        feedback = ran.score.feedback if ran.score else ran.error.message if ran.error else ""
        return RowResult(
            index=place.index,
            row_hash=place.key.row,
            gold=place.row,
            output=ran.output,
            score=ran.score.value if ran.score else None,
            feedback=feedback,
            error=ran.error,
            usage=ran.usage,
            seconds=ran.seconds,
            trace=ran.call if self._traces else None,
            restored=restored,
            usage_by_predictor=ran.usage_by_predictor,
            sample=place.key.sample,
        )

    async def _kept(self, keeper: Keeper, place: _Place[G], states: _States, kept: Ran | None) -> Ran:
        """Run a row that is ours and write it down.

        The row counts as in flight until it is on disk: a kill loses no more than that.
        """
        is_written = False
        try:
            ran = await self._worked(place, states, kept, keeper)
            is_written = keeper.keeps(ran)
            return ran
        finally:
            if not is_written:
                await keeper.release(place.key)

    async def _worked(self, place: _Place[G], states: _States, kept: Ran | None, keeper: Keeper | None = None) -> Ran:
        """Run the row unless its outcome is kept, score it, and keep what it gave."""
        meter = Meter(_NO_LIMIT)
        with bind(states) if states else _AS_IT_IS, _sampling(place.key.sample), settings.metered(meter):
            try:
                ran = kept or await self._run(place, meter)
                unscored = await self._score(place, ran) if ran.answered else None
            except asyncio.CancelledError:
                meter.budget = Budget(calls=0)  # code that runs on in a thread can't pay for anything more
                raise
            if kept:
                ran.usage = ran.usage + meter.spent
            else:
                ran.usage_by_predictor = ran.call.usage_by_predictor
                ran.usage = _used(sum(ran.usage_by_predictor.values(), NOTHING), meter.spent)
        if keeper is not None:
            await keeper.keep(place.key, place.row, ran)
        if unscored is not None:
            raise unscored  # what the program gave has been paid for, and is kept all the same
        return ran

    async def _run(self, place: _Place[G], meter: Meter) -> Ran:
        inputs = self._arguments.of(place.row)
        started = time.perf_counter()
        with trace.record(self._paths) as root:
            root.name = self._name
            ran = Ran(root)
            try:
                ran.output = await self._called(inputs)
                ran.answered = True
            except BudgetExceeded:
                raise
            except asyncio.CancelledError:
                if not _is_stray():
                    raise
                ran.fail(ProgramError("the program raised CancelledError, and nobody had cancelled it"))
            except Exception as error:  # noqa: BLE001  # user code may raise anything; the row keeps it, typed
                ran.fail(typed(error))
        ran.seconds = time.perf_counter() - started
        if isinstance(ran.error, MISUSE) and not (meter.spent.calls or root.usage.calls or root.usage.cached):
            raise ran.error
        if self._root and root.children:
            ran.call = root.children[0]
        return ran

    async def _called(self, inputs: dict[str, Any]) -> Any:
        if self._is_native:
            return await self._start(**inputs)
        result = await self._threads.call(self.program, **inputs)
        return await result if inspect.isawaitable(result) else result

    async def _score(self, place: _Place[G], ran: Ran) -> MetricError | BudgetExceeded | None:
        """Score what the program gave; returns what stops the whole run."""
        inner = ran.call.predictor_calls()
        run: Prediction[R] = Prediction(ran.output, ran.call, inner[-1].reasoning if inner else None)
        try:
            ran.score = await self.scorer.score(place.index, place.row, ran.output, run, self._threads)
        except (LMError, ParseError) as error:
            ran.error = error  # the judge failed: this says nothing about the program
        except (MetricError, BudgetExceeded) as error:
            return error
        return None


def _used(seen: Usage, charged: Usage) -> Usage:
    """What a row used.

    The meter saw every attempt, failed ones and the metric's too; the trace saw what a cache gave, and
    the calls of an LM that charges no budget.
    """
    if not charged.calls:
        return seen
    used = charged if charged.calls >= seen.calls else seen
    return replace(used, cached=seen.cached) if seen.cached else used


def _sampling(index: int) -> AbstractContextManager[None]:
    return _AS_IT_IS if settings.current().sample == index else settings.sampling(index)


def _is_stray() -> bool:
    """Whether a CancelledError was raised although nobody cancelled the task; known from Python 3.11 on."""
    if sys.version_info >= (3, 11):
        task = asyncio.current_task()
        return task is not None and not task.cancelling()
    return False


def _is_native(program: Callable[..., Any]) -> bool:
    """Whether the program runs on an event loop without blocking it."""
    body = body_of(program)
    is_async = inspect.iscoroutinefunction(body) or inspect.iscoroutinefunction(type(body).__call__)
    return is_async or isinstance(program, Predict)


def _starter(program: Callable[..., Any], root: Node | None) -> Callable[..., Any]:
    if root is None:
        return program
    acall: Callable[..., Any] = cast("Any", root).acall  # every node that can be called is a Module
    return acall


def _lms(root: Node | None) -> dict[str, protocols.LM]:
    """The LMs that are known before the program runs, by predictor path."""
    found = {path: _lm(predictor) for path, predictor in (predictors(root) if root else {}).items()}
    known = {path: lm for path, lm in found.items() if lm is not None}
    chosen, extractor = settings.current().lm, settings.current().extractor
    known = known or ({"": lms.in_force(chosen)} if chosen is not None else {})
    return known if extractor is None else {**known, "(extractor)": lms.in_force(extractor)}


def _lm(predictor: Stateful) -> protocols.LM | None:
    try:
        return predictor.lm if isinstance(predictor, Predict) else None
    except UsageError:
        return None  # none is set here; `forward` may set one
