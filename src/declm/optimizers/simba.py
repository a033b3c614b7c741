"""`SIMBA`: programs climb by imitating their good runs and by advice from comparing good with bad ones.

Source: SIMBA of DSPy 3 (its documentation; "stochastic introspective mini-batch ascent"). Ours leaves the LM as it
is, runs rows of several programs at once, never shows a row its own demo, and scores the finalists on val.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from pydantic import BaseModel

from declm import loops
from declm.demo import Demo
from declm.errors import LMError, TooManyErrors, UsageError
from declm.optimizers.base import M, Optimized, Problem, at_least
from declm.optimizers.bench import Traced
from declm.optimizers.candidates import Candidate
from declm.optimizers.core import Search
from declm.optimizers.ending import searched
from declm.optimizers.harvest import lesson
from declm.optimizers.proposals import Example
from declm.optimizers.race import mean
from declm.optimizers.writing import brief, instructed, written
from declm.specs import row_hash
from declm.state import ProgramState

TEMPERATURE = 0.2
"""Of the draw of programs by their scores: smaller prefers the best more."""


@dataclass(frozen=True)
class SIMBA:
    """Climb in small steps.

    Args:
        steps: rounds.
        batch: rows of train in a round.
        candidates: new programs in a round, and programs that runs are drawn from.
        demos: shown by a predictor, at most.

    Cost: about `2 * steps * batch * candidates + (candidates + 2) * len(val)` runs, and about half a text per new
    program and predictor.
    """

    steps: int = 8
    batch: int = 32
    candidates: int = 6
    demos: int = 4

    def __post_init__(self) -> None:
        at_least("SIMBA", steps=(self.steps, 1), batch=(self.batch, 2), candidates=(self.candidates, 1))
        at_least("SIMBA", demos=(self.demos, 0))

    async def run(self, problem: Problem[M]) -> Optimized[M]:
        """Search; see `Optimizer`.

        Raises:
            UsageError: train has fewer rows than a batch.
        """
        if len(problem.train) < self.batch:
            raise UsageError(f"SIMBA(batch={self.batch}) needs as many rows of train; there are {len(problem.train)}")
        runs = 2 * self.steps * self.batch * self.candidates
        texts = self.steps * self.candidates

        async def explore(search: Search) -> None:
            await _Climb(self, search).run()

        return await searched(problem, explore, trials=self.candidates + 1, runs=runs, texts=texts)


@dataclass(eq=False)  # told apart by identity: their states are long to compare
class _Member:
    """A program, with its mean scores on batches."""

    candidate: Candidate
    means: list[float] = field(default_factory=list[float])

    @property
    def score(self) -> float:
        return mean(self.means) if self.means else 0.0


@dataclass(frozen=True)
class _Bucket:
    """What several runs of one row came to, the best first."""

    row: BaseModel
    runs: Sequence[tuple[_Member, Traced]]

    @property
    def promise(self) -> tuple[float, float, float]:
        """How much there is to learn: the gap between the best and the worst, and how good the best is."""
        scores = [run.score for _, run in self.runs]
        return max(scores) - min(scores), max(scores), max(scores) - sum(scores) / len(scores)


@dataclass
class _Climb:
    """The pool and the rounds of one search."""

    options: SIMBA
    search: Search
    pool: list[_Member] = field(default_factory=list[_Member])
    winners: list[_Member] = field(default_factory=list[_Member])
    rows: list[BaseModel] = field(default_factory=list[BaseModel])
    draws: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(f"declm:{self.search.problem.seed}:simba")
        self.pool.append(_Member(self.search.baseline))

    async def run(self) -> None:
        """Climb, then score evenly spaced winners of the rounds on val."""
        for step in range(self.options.steps):
            self.search.room(1)
            try:
                await self._step(step)
            except (TooManyErrors, LMError) as error:
                self.search.bench.troubles.append(f"step {step + 1} was lost: {error.message}")
        wanted = min(self.options.candidates + 1, len(self.winners))
        spaced = sorted({round(i * (len(self.winners) - 1) / max(1, wanted - 1)) for i in range(wanted)}, reverse=True)
        await self.search.compare([self.winners[place].candidate for place in spaced])

    async def _step(self, step: int) -> None:
        batch = self._batch()
        buckets = await self._buckets(batch, step)
        scores = sorted(run.score for bucket in buckets for _, run in bucket.runs)
        if not scores:
            return
        low, high = (scores[round(share * (len(scores) - 1))] for share in (0.1, 0.9))
        made: list[Candidate] = []
        for bucket in sorted(buckets, key=lambda b: b.promise, reverse=True):
            if len(made) > self.options.candidates:
                break
            source = self._drawn(self._top())
            changed = await self._changed(source, bucket, low, high)
            if changed is not None:
                made.append(self.search.candidate(*changed, source.candidate))
        await self._enter(made, batch)

    async def _enter(self, made: Sequence[Candidate], batch: Sequence[BaseModel]) -> None:
        """Score new programs on the batch that they come from; the best is a winner, all join the pool."""
        found = await loops.together(self.search.bench.scores_of(candidate.state, batch) for candidate in made)
        new = [_Member(candidate, [mean(scores)]) for candidate, scores in zip(made, found, strict=True)]
        new = [member for member in new if not math.isnan(member.score)]
        self.pool += new
        if new:
            self.winners.append(max(new, key=lambda member: member.score))

    def _batch(self) -> list[BaseModel]:
        """The next rows; when they are used up they come again in another order."""
        if len(self.rows) < self.options.batch:
            self.rows = list(self.search.problem.train)
            self.rng.shuffle(self.rows)
        batch, self.rows = self.rows[: self.options.batch], self.rows[self.options.batch :]
        return batch

    async def _buckets(self, batch: Sequence[BaseModel], step: int) -> list[_Bucket]:
        """Several runs of each row, each by a program drawn from the best ones, warm but the first."""
        top, warm = self._top(), 100 * step
        jobs = [
            (self.pool.index(self._drawn(top)), sample and warm + sample, row)
            for sample in range(self.options.candidates)
            for row in batch
        ]
        jobs.sort(key=lambda job: job[:2])
        groups = [(key, [row for _, _, row in group]) for key, group in groupby(jobs, key=lambda job: job[:2])]
        found = await loops.together(
            self.search.bench.traced(rows, sample, self.pool[place].candidate.state, by_teacher=False)
            for (place, sample), rows in groups
        )
        by_row: dict[str, list[tuple[_Member, Traced]]] = {row_hash(row): [] for row in batch}
        for ((place, _), rows), runs in zip(groups, found, strict=True):
            for row, run in zip(rows, runs, strict=True):
                if run is not None:
                    by_row[row_hash(row)].append((self.pool[place], run))
        ranked = [(row, sorted(by_row[row_hash(row)], key=lambda pair: -pair[1].score)) for row in batch]
        return [_Bucket(row, runs) for row, runs in ranked if runs]

    def _top(self) -> list[_Member]:
        """The best programs by their batches, and the given one."""
        best = sorted(self.pool, key=lambda member: member.score, reverse=True)[: self.options.candidates]
        return best if self.pool[0] in best else [*best, self.pool[0]]

    def _drawn(self, members: Sequence[_Member]) -> _Member:
        weights = [math.exp(member.score / TEMPERATURE) for member in members]
        return self.rng.choices(members, weights)[0]

    async def _changed(
        self, source: _Member, bucket: _Bucket, low: float, high: float
    ) -> tuple[ProgramState, str] | None:
        """A program with a demo or with advice from a bucket; None where that would teach nothing."""
        state = self._thinned(source.candidate.state)
        best, worst = bucket.runs[0][1], bucket.runs[-1][1]
        if best.score <= low and best.score < 1.0:
            return None
        if self.options.demos and (self.rng.random() < 0.5 or best.score == worst.score):
            return self._shown(state, bucket.row, best), "a good run as demo"
        if worst.score >= high or best.score == worst.score:
            return None
        advised = await self._advised(state, bucket.row, best, worst)
        return None if advised.hash == state.hash else (advised, "advice")

    def _thinned(self, state: ProgramState) -> ProgramState:
        """Drop some demos, more likely where there are many, and at least one where there is no room."""
        most = max((len(own.demos) for own in state.predictors.values()), default=0)
        if not most:
            return state
        count = _poisson(most / max(1, self.options.demos), self.rng)
        count = max(count, 1) if most >= self.options.demos else count
        dropped = {self.rng.randrange(most) for _ in range(count)}
        for path, own in state.predictors.items():
            kept = tuple(demo for place, demo in enumerate(own.demos) if place not in dropped)
            state = state.with_predictor(path, own.model_copy(update={"demos": kept}))
        return state

    def _shown(self, state: ProgramState, row: BaseModel, run: Traced) -> ProgramState:
        for step in {step.path: step for step in run.steps}.values():
            demo = Demo(
                inputs=step.inputs, outputs=step.outputs, source="bootstrapped", row=row_hash(row), score=run.score
            )
            own = state.predictors[step.path]
            kept = tuple(other for other in own.demos if other.row != demo.row)
            state = state.with_predictor(step.path, own.model_copy(update={"demos": (*kept, demo)}))
        return state

    async def _advised(self, state: ProgramState, row: BaseModel, best: Traced, worst: Traced) -> ProgramState:
        """Instructions with advice from a good and a bad run of one row, for every predictor that ran in both."""
        self.draws += 1
        for path in self.search.bench.predictors:
            good, bad = (next((s for s in run.steps if s.path == path), None) for run in (best, worst))
            if good is None or bad is None or good.outputs == bad.outputs:
                continue
            solved = Example(good.inputs, good.outputs, {}, best.feedback)
            told = brief(self.search.bench, path, state, solved=[solved], failed=[lesson(row, bad, worst.feedback)])
            text = await written(self.search.bench, told, "advice", self.draws)
            state = instructed(state, path, f"{told.present}\n\n{text}") if text else state
        return state


def _poisson(rate: float, rng: random.Random) -> int:
    """A draw of a Poisson distribution (Knuth 1969, The Art of Computer Programming 2, 3.4.1)."""
    limit, count, product = math.exp(-rate), 0, rng.random()
    while product > limit:
        count += 1
        product *= rng.random()
    return count
