"""`LabeledFewShot` and `BootstrapFewShot`: demos from labelled rows, and from runs that the metric accepts.

Source: DSPy (Khattab et al. 2023, arXiv 2310.03714, section 3.3 and appendix E). Ours runs rows concurrently without
paying for more than are needed, takes demos of every predictor whatever its rows are labelled with, and resumes.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from declm.arguments import arguments
from declm.demo import Demo
from declm.errors import TooManyErrors, UsageError
from declm.module import Module
from declm.optimizers.base import M, Optimized, Problem, at_least
from declm.optimizers.bench import Bench, Traced
from declm.optimizers.core import OUTAGES, Search
from declm.optimizers.ending import searched
from declm.optimizers.harvest import labeled, level, varied
from declm.optimizers.pools import Pool
from declm.specs import row_hash
from declm.state import ProgramState, predictors

Select = Literal["random", "balanced", "first"]


@dataclass(frozen=True)
class LabeledFewShot:
    """Show some labelled rows as demos (`LabeledFewShot` of DSPy).

    Args:
        demos: how many, per predictor.
        select: `random` draws them, `balanced` takes the most typical ones of every value of the outputs equally
            often, `first` takes them as they come.

    A predictor whose inputs or outputs the rows do not carry gets none. Cost: `2 * len(val)` runs, to say what
    was gained; `compile` does the same without any call.
    """

    demos: int = 16
    select: Select = "random"

    def __post_init__(self) -> None:
        at_least("LabeledFewShot", demos=(self.demos, 1))
        if self.select not in ("random", "balanced", "first"):
            raise UsageError(f"select={self.select!r} is none of 'random', 'balanced' and 'first'")

    def compile(self, program: M, rows: Sequence[BaseModel], *, seed: int = 0) -> M:
        """The program with these demos, unmeasured: no LM is called.

        Raises:
            UsageError: the rows do not fit the program.
        """
        arguments(program).check(rows)
        return program.with_state(self._state(program.state, labels(program, rows), seed))

    async def run(self, problem: Problem[M]) -> Optimized[M]:
        """Compare the program with and without; see `Optimizer`."""

        async def explore(search: Search) -> None:
            state = self._state(problem.program.state, labels(problem.program, problem.train), problem.seed)
            await search.compare([search.candidate(state, f"{self.select} labelled demos", search.baseline)])

        return await searched(problem, explore, trials=1)

    def _state(self, base: ProgramState, known: Mapping[str, Pool], seed: int) -> ProgramState:
        rng = random.Random(seed)
        chosen: dict[str, Sequence[Demo]] = {}
        for path, pool in known.items():
            if self.select == "balanced":
                chosen[path] = pool.subset(self.demos, 0)
            elif self.select == "first":
                chosen[path] = pool.demos[: self.demos]
            else:
                chosen[path] = rng.sample(pool.demos, min(self.demos, len(pool.demos)))
        return showing(base, chosen)


@dataclass(frozen=True)
class BootstrapFewShot:
    """Show what the predictors said in runs of the teacher that the metric accepts (`BootstrapFewShot` of DSPy).

    Args:
        bootstrapped: rows of train that must pass, at most; each gives a demo to every predictor that ran.
        labeled: demos in all, at most; labelled rows fill up what bootstrapping leaves, and are what a
            teacher without demos is shown.
        rounds: tries per row, the later ones at temperature 1.
        threshold: score from which a run is accepted. None takes 1 where all scores are 0 or 1, else the upper
            quartile of the given program's.

    Cost: at most `rounds * len(train)` runs of the teacher, and `2 * len(val)` runs.
    """

    bootstrapped: int = 4
    labeled: int = 16
    rounds: int = 1
    threshold: float | None = None

    def __post_init__(self) -> None:
        at_least("BootstrapFewShot", bootstrapped=(self.bootstrapped, 0), labeled=(self.labeled, 0))
        at_least("BootstrapFewShot", rounds=(self.rounds, 1))

    async def run(self, problem: Problem[M]) -> Optimized[M]:
        """Bootstrap, and compare the program with and without; see `Optimizer`."""

        async def explore(search: Search) -> None:
            state = await self.state(search, problem.train, problem.seed)
            await search.compare([search.candidate(state, "bootstrapped demos", search.baseline)])

        return await searched(problem, explore, trials=1, runs=self.rounds * len(problem.train))

    async def state(self, search: Search, rows: Sequence[BaseModel], seed: int) -> ProgramState:
        """The program's state with demos from these rows, tried in order.

        Raises:
            BudgetExceeded: a limit was reached.
            TooManyErrors: the teacher failed on most rows.
        """
        bench, rng = search.bench, random.Random(seed)
        known = labels(search.problem.program, rows)
        passed = await self._passed(search, rows, _taught(bench, known, self.labeled))
        ran = frozenset(row for row, _ in passed)
        chosen: dict[str, Sequence[Demo]] = {}
        for path in bench.predictors:
            made = [demo for row, run in passed for demo in _one(run, row, path, rng)]
            rest = [demo for demo in known[path].demos if demo.row not in ran]
            room = max(0, min(self.labeled - len(made), len(rest)))
            chosen[path] = [*made, *rng.sample(rest, room)]
        return showing(search.problem.program.state, chosen)

    async def _passed(
        self, search: Search, rows: Sequence[BaseModel], teacher: ProgramState
    ) -> list[tuple[str, Traced]]:
        """Accepted runs in the order of their rows, with the rows' hashes."""
        wanted = level(search.baseline.scores) if self.threshold is None else self.threshold
        found: list[tuple[str, Traced]] = []
        waiting, lost = list(rows), 0
        while waiting and len(found) < self.bootstrapped:
            # No more rows than may still be needed: what is paid for is used.
            size = min(self.bootstrapped - len(found), search.bench.concurrency)
            block, waiting = waiting[:size], waiting[size:]
            accepted: dict[str, Traced] = {}
            try:
                for sample in range(self.rounds):
                    rest = [row for row in block if row_hash(row) not in accepted]
                    for row, run in zip(rest, await search.bench.traced(rest, sample, teacher), strict=True):
                        if run is not None and run.score >= wanted:
                            accepted[row_hash(row)] = run
                lost = 0
            except TooManyErrors:  # which a block of few rows soon has
                lost += 1
                if lost >= OUTAGES:
                    raise
            found += [(key, accepted[key]) for row in block if (key := row_hash(row)) in accepted]
        return found


def labels(program: Module, rows: Sequence[BaseModel]) -> dict[str, Pool]:
    """Demos that labels alone give each predictor."""
    made: dict[str, Pool] = {}
    for path, predictor in predictors(program).items():
        demos = tuple(labeled(predictor, rows))
        made[path] = Pool(demos, varied(predictor.spec, demos))
    return made


def showing(base: ProgramState, demos: Mapping[str, Sequence[Demo]]) -> ProgramState:
    """A state whose predictors show these demos in every call."""
    for path, chosen in demos.items():
        own = base.predictors[path].model_copy(update={"demos": tuple(chosen), "nearest": None})
        base = base.with_predictor(path, own)
    return base


def _taught(bench: Bench, known: Mapping[str, Pool], count: int) -> ProgramState:
    """The teacher's state; one that shows nothing yet is shown labelled rows."""
    state = bench.problem.teacher.state
    if any(own.demos for own in state.predictors.values()):
        return state
    rng = random.Random(bench.problem.seed)
    return showing(state, {p: rng.sample(pool.demos, min(count, len(pool.demos))) for p, pool in known.items()})


def _one(run: Traced, row: str, path: str, rng: random.Random) -> list[Demo]:
    """One of a predictor's calls in a run as a demo: the last one half of the time, else an earlier one."""
    steps = [step for step in run.steps if step.path == path]
    if not steps:
        return []
    step = steps[-1] if len(steps) == 1 or rng.random() < 0.5 else rng.choice(steps[:-1])
    return [Demo(inputs=step.inputs, outputs=step.outputs, source="bootstrapped", row=row, score=run.score)]
