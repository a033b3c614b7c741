"""`GEPA`: instructions evolve by reflection on runs, along a Pareto front over the rows of val.

Source: Agrawal et al. 2025 (arXiv 2507.19457): parents are drawn in proportion to the rows of val that they are
best on, a child rewrites the instructions of one predictor after a few runs and the metric's feedback on them, it
has to beat its parent on these rows before it is scored on all of val, and two lines of descent can be merged.
Ours works on program states, so demos, options and every other part of a program stay as they are.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from declm.errors import LMError, TooManyErrors, UsageError
from declm.optimizers.base import M, Optimized, Problem, at_least
from declm.optimizers.bench import Traced
from declm.optimizers.candidates import Candidate
from declm.optimizers.core import Search
from declm.optimizers.ending import searched
from declm.optimizers.harvest import lesson
from declm.optimizers.writing import brief, instructed, written
from declm.specs import row_hash
from declm.state import ProgramState, predictors

EFFORT = {"light": 6, "medium": 12, "heavy": 18}
"""Programs that the search is expected to keep, from which the number of runs follows."""

MERGE_ROWS = 5
"""Rows of val that a merged program is tried on first."""

DRAWS = 10
"""Times that a pair to merge is drawn before the search goes on without."""

IDLE = 12
"""Rounds in a row that may bring nothing to score, such as runs that are all perfect, before the search ends."""


@dataclass(frozen=True)
class GEPA:
    """Evolve instructions by reflection.

    Args:
        auto: `light`, `medium` or `heavy` search, which says how many runs of the program it may take.
        runs: that number itself, the scoring of the given program on val included.
        minibatch: rows of train that a reflection sees.
        parents: `pareto` draws them by the rows of val that they are best on, `best` takes the best one.
        components: `round_robin` rewrites one predictor of a parent at a time, `all` rewrites all of them.
        merges: merged programs that are accepted, at most.
        perfect: score that leaves nothing to reflect on.

    Cost: about `runs` runs, and a text of the proposer for every child.
    """

    auto: Literal["light", "medium", "heavy"] = "light"
    runs: int | None = None
    minibatch: int = 3
    parents: Literal["pareto", "best"] = "pareto"
    components: Literal["round_robin", "all"] = "round_robin"
    merges: int = 5
    perfect: float = 1.0

    def __post_init__(self) -> None:
        for name, value, known in (
            ("auto", self.auto, tuple(EFFORT)),
            ("parents", self.parents, ("pareto", "best")),
            ("components", self.components, ("round_robin", "all")),
        ):
            if value not in known:
                raise UsageError(f"{name}={value!r} is none of {', '.join(map(repr, known))}")
        at_least("GEPA", runs=(self.runs, 1), minibatch=(self.minibatch, 1), merges=(self.merges, 0))

    async def run(self, problem: Problem[M]) -> Optimized[M]:
        """Search; see `Optimizer`."""
        limit = self._limit(problem)
        children = max(0, limit - len(problem.val)) // (2 * self.minibatch + len(problem.val) // 4)

        async def explore(search: Search) -> None:
            await _Evolution(self, search, limit).run()

        return await searched(problem, explore, trials=0, runs=max(0, limit - len(problem.val)), texts=children)

    def _limit(self, problem: Problem[Any]) -> int:
        """Runs of the program that the whole search may take."""
        if self.runs is not None:
            return self.runs
        n, rows = EFFORT[self.auto], len(problem.val)
        children = int(max(4 * len(predictors(problem.program)) * math.log2(n), 1.5 * n))
        full = (children + 1) // 5 + 1 + (children < 5)
        return rows + 5 * n + 35 * children + full * rows


@dataclass
class _Member:
    """A program of the pool: scored on all of val, with the parents that it stems from."""

    candidate: Candidate
    parents: tuple[int, ...] = ()
    turn: int = 0  # which predictor is rewritten next


@dataclass
class _Evolution:
    """The pool and the rounds of one search."""

    options: GEPA
    search: Search
    limit: int
    pool: list[_Member] = field(default_factory=list["_Member"])
    merged: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    accepted: int = 0
    epoch: list[BaseModel] = field(default_factory=list[BaseModel])
    draws: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(f"declm:{self.search.problem.seed}:gepa")
        self.paths = tuple(self.search.bench.predictors)
        self.pool.append(_Member(self.search.baseline))

    async def run(self) -> None:
        """Make children until the runs are used up."""
        idle, merge_due = 0, False
        while self.search.bench.runs < self.limit and idle < IDLE:
            self.search.room(1)
            known = len(self.pool)
            if not (merge_due and await self._merge()):
                await self._reflect()
            merge_due = len(self.pool) > known and self.accepted < self.options.merges
            idle = 0 if len(self.pool) > known else idle + 1

    # --- reflection

    async def _reflect(self) -> None:
        """One child of one parent, kept if it beats the parent on the rows that it was made from."""
        place = self._parent()
        parent, rows = self.pool[place], self._minibatch()
        state = parent.candidate.state
        try:
            runs = await self.search.bench.traced(rows, 0, state, by_teacher=False)
            known = [(row, run) for row, run in zip(rows, runs, strict=True) if run is not None]
            if not known or all(run.score >= self.options.perfect for _, run in known):
                return
            child = await self._child(parent, known)
            if child is None:
                return
            rows = [row for row, _ in known]
            scores = await self.search.bench.scores_of(child, rows)
        except (TooManyErrors, LMError) as error:
            self.search.bench.troubles.append(f"a reflection was lost: {error.message}")
            return
        if sum(score or 0.0 for score in scores) > sum(run.score for _, run in known):
            await self._keep(child, f"reflection on {len(known)} runs", (place,))

    async def _child(self, parent: _Member, runs: Sequence[tuple[BaseModel, Traced]]) -> ProgramState | None:
        """The parent's state with the instructions of one predictor, or all, written anew."""
        paths = self.paths
        if self.options.components == "round_robin":
            paths = (self.paths[parent.turn % len(self.paths)],)
            parent.turn += 1
        state = parent.candidate.state
        for path in paths:
            lessons = [
                lesson(row, step, f"{run.feedback or 'no words'} (score {run.score:.2f})")
                for row, run in runs
                if (step := self._step(run, path)) is not None
            ]
            if lessons:
                self.draws += 1
                told = brief(self.search.bench, path, parent.candidate.state, failed=lessons)
                text = await written(self.search.bench, told, "reflect", self.draws)
                state = instructed(state, path, text) if text else state
        return None if state.hash == parent.candidate.state.hash else state

    def _step(self, run: Traced, path: str) -> Any:
        """One of a predictor's calls in a run: one that failed if there is any, else a random one."""
        steps = [step for step in (*run.broken, *run.steps) if step.path == path]
        if not steps:
            return None
        return steps[0] if run.broken and steps[0] in run.broken else self.rng.choice(steps)

    def _minibatch(self) -> list[BaseModel]:
        """The next rows of train; every row comes once before any comes again."""
        size = min(self.options.minibatch, len(self.search.problem.train))
        if len(self.epoch) < size:
            fresh = list(self.search.problem.train)
            self.rng.shuffle(fresh)
            left = {row_hash(row) for row in self.epoch}
            self.epoch += [row for row in fresh if row_hash(row) not in left]
        taken, self.epoch = self.epoch[:size], self.epoch[size:]
        return taken

    # --- the front

    def _parent(self) -> int:
        if self.options.parents == "best":
            return max(range(len(self.pool)), key=lambda place: self.pool[place].candidate.mean)
        counts = front([member.candidate.scores for member in self.pool])
        return self.rng.choices(list(counts), weights=list(counts.values()))[0]

    async def _keep(self, state: ProgramState, origin: str, parents: tuple[int, ...]) -> None:
        """Score a child on all of val; it joins the pool."""
        made = self.search.candidate(state, origin, self.pool[parents[0]].candidate)
        await self.search.compare([made])
        if made.is_scored:
            turn = max(self.pool[place].turn for place in parents)
            self.pool.append(_Member(made, parents, turn))

    # --- merging

    async def _merge(self) -> bool:
        """Unite two lines of descent; False if there is no pair to unite."""
        pair = self._pair()
        if pair is None:
            return False
        first, second, state = pair
        self.merged.add((first, second))
        places = self._telling(first, second)
        rows = [self.search.problem.val[place] for place in places]
        try:
            scores = await self.search.bench.scores_of(state, rows)
        except (TooManyErrors, LMError) as error:
            self.search.bench.troubles.append(f"a merge was lost: {error.message}")
            return True
        reached = [sum(self.pool[m].candidate.scores[place] or 0.0 for place in places) for m in (first, second)]
        if sum(score or 0.0 for score in scores) >= max(reached):
            self.accepted += 1
            await self._keep(state, f"merge with {self.pool[second].candidate.number}", (first, second))
        return True

    def _pair(self) -> tuple[int, int, ProgramState] | None:
        """Two programs of the front with a common ancestor, and the state that they give together."""
        strong = sorted(front([member.candidate.scores for member in self.pool]))
        for _ in range(DRAWS if len(strong) > 1 else 0):
            first, second = sorted(self.rng.sample(strong, 2))
            if (first, second) in self.merged:
                continue
            one, two = self._ancestors(first), self._ancestors(second)
            if first in two or second in one:
                continue
            for ancestor in sorted(one & two, reverse=True):
                state = self._united(ancestor, first, second)
                if state is not None:
                    return first, second, state
        return None

    def _united(self, ancestor: int, first: int, second: int) -> ProgramState | None:
        """Each predictor from the side that changed it, or the better one; None if that is nothing new."""
        base, one, two = (self.pool[place].candidate for place in (ancestor, first, second))
        if base.mean > min(one.mean, two.mean):
            return None
        better = one if one.mean >= two.mean else two
        state, apart = better.state, False
        for path in self.paths:
            old, a, b = (c.state.predictors[path] for c in (base, one, two))
            if (a.hash == old.hash) != (b.hash == old.hash):
                apart = True
                state = state.with_predictor(path, b if a.hash == old.hash else a)
        return state if apart and state.hash not in self.search.scores else None

    def _ancestors(self, place: int) -> set[int]:
        found: set[int] = set()
        waiting = list(self.pool[place].parents)
        while waiting:
            parent = waiting.pop()
            if parent not in found:
                found.add(parent)
                waiting += self.pool[parent].parents
        return found

    def _telling(self, first: int, second: int) -> list[int]:
        """Rows of val to try a merge on: where one is better, where the other is, where both are alike."""
        one, two = self.pool[first].candidate.scores, self.pool[second].candidate.scores
        groups: dict[int, list[int]] = {1: [], -1: [], 0: []}
        for place, (a, b) in enumerate(zip(one, two, strict=True)):
            if a is not None and b is not None:
                groups[(a > b) - (a < b)].append(place)
        chosen: list[int] = []
        for group in groups.values():
            chosen += self.rng.sample(group, min(len(group), -(-MERGE_ROWS // 3)))
        rest = [place for group in groups.values() for place in group if place not in chosen]
        chosen += self.rng.sample(rest, min(len(rest), max(0, MERGE_ROWS - len(chosen))))
        return sorted(chosen[:MERGE_ROWS])


def front(scores: Sequence[Sequence[float | None]]) -> Mapping[int, int]:
    """The members that no other ones make superfluous, with the number of rows that each is best on.

    Args:
        scores: of each member on the same rows.
    """
    best: list[set[int]] = []
    for row in zip(*scores, strict=True):
        known = [score for score in row if score is not None]
        if known:
            best.append({member for member, score in enumerate(row) if score == max(known)})
    means = [sum(score or 0.0 for score in row) for row in scores]
    left = {member for who in best for member in who} or {0}
    for member in sorted(left, key=lambda m: (means[m], -m)):
        others = left - {member}
        if all(who & others for who in best if member in who):
            left = others
    counts = Counter(member for who in best for member in who & left)
    return {member: counts.get(member, 1) for member in sorted(left)}
