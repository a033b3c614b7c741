"""`Search`: what all optimizers share - scoring candidates, keeping the best, and stopping.

An optimizer explores: it makes candidate states and lets them be compared here, so that every optimizer has budgets,
resume, paired scores on val, and outages that are no low scores. What comes before and after is in `ending`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from declm import loops
from declm.errors import BudgetExceeded, LMError, TooManyErrors
from declm.evaluation import Progress
from declm.optimizers.acceptance import Verdict
from declm.optimizers.base import Problem
from declm.optimizers.bench import Bench
from declm.optimizers.candidates import Candidate
from declm.optimizers.confirmation import CONFIRM_SHARE
from declm.optimizers.costs import Limits
from declm.optimizers.race import blocks, loses, mean, paired
from declm.optimizers.trials import Trial, length
from declm.state import ProgramState

OUTAGES = 3
"""Rounds in a row lost to provider failures, after which the best so far is returned."""

LOST_SHARE = 0.25
"""Share of a trial's rows that the provider may fail on before its score says nothing."""


class Lost(Exception):  # ends the exploration, no error of the user's
    """Too many rounds in a row were lost to the provider: the search ends with what it has."""


@dataclass
class Search:
    """One search; `best` is the candidate with the highest score so far, the given program at first.

    `finished` are the candidates with a score for all of val. `scores` holds what candidates got on val by the
    hash of their state, `parts` the same of those that were scored on a part of val only.
    """

    bench: Bench
    trials: list[Trial] = field(default_factory=list[Trial])
    scores: dict[str, list[float | None]] = field(default_factory=dict[str, list[float | None]])
    parts: dict[str, list[float | None]] = field(default_factory=dict[str, list[float | None]])
    verdict: Verdict | None = None
    finished: list[Candidate] = field(default_factory=list[Candidate])
    stopped: str | None = None
    reached: str | None = None
    outages: int = 0
    _baseline: Candidate | None = None
    _best: Candidate | None = None
    _made: int = 0
    bar: Progress | None = None

    @property
    def problem(self) -> Problem[Any]:
        """What is searched."""
        return self.bench.problem

    @property
    def baseline(self) -> Candidate:
        """The program as given."""
        assert self._baseline is not None
        return self._baseline

    @property
    def best(self) -> Candidate:
        """The incumbent."""
        assert self._best is not None
        return self._best

    @best.setter
    def best(self, candidate: Candidate) -> None:
        self._best = candidate

    @property
    def width(self) -> int:
        """Candidates in flight that suit the LM: a local one does best with one prefix at a time."""
        rows = self.bench.concurrency
        return 1 if rows <= 4 else max(4, min(8, rows // 8))

    async def begin(self) -> None:
        """Score the given program.

        Raises:
            BudgetExceeded: the budget does not even cover that.
        """
        state, rows = self.problem.program.state, len(self.problem.val)
        try:
            scores = await self.bench.scores(state, 0, rows)
        except BudgetExceeded as error:
            raise BudgetExceeded(
                f"{error.message}: it does not cover the first scoring of the given program on {rows} rows of val",
                limit=error.limit,
            ) from error
        self._baseline = self._best = Candidate(0, state, scores=scores, fate="baseline")
        self.trials.append(
            Trial(0, {}, state, mean(scores), rows, "baseline", scores=tuple(scores), cost=self.bench.cost(state))
        )
        self.scores[state.hash] = scores
        if self._is_dear:
            self.bench.troubles.append(
                f"the given program does not keep the limits of a run ({self.problem.limits}): "
                "the best one that does is returned, whatever it gains"
            )

    # --- comparing candidates

    def candidate(self, state: ProgramState, origin: str = "", parent: Candidate | None = None) -> Candidate:
        """The next candidate; `origin` says in a few words how it was made."""
        self._made += 1
        return Candidate(self._made, state, parent=None if parent is None else parent.number, origin=origin)

    async def compare(self, candidates: Sequence[Candidate], *, drop: bool = False) -> list[Trial]:
        """Score candidates on all of val, several at a time; one trial each, same order.

        With `drop`, those that the best beats on the way are not scored to the end.

        Raises:
            BudgetExceeded: a limit was reached; those compared before count.
            Lost: the provider failed on too many in a row.
        """
        waiting, found = list(candidates), list[Trial]()
        while waiting:
            group = waiting[: min(self.room(self.width), self._left())]
            waiting = waiting[len(group) :]
            await self.race(group, drop=drop)
            found += [self.enter(candidate) for candidate in group]
            if self.bar is not None:
                self.bar.advance(len(group), self.figures)
            self.close(group)
        return found

    async def glance(self, candidate: Candidate, places: Sequence[int]) -> None:
        """Score a candidate on some rows of val; that alone never makes it the best.

        Raises:
            BudgetExceeded: there is no room for so many rows.
        """
        if not self.affords(len(places)):
            raise BudgetExceeded("no room for another part of val", limit=self.bench.tight)
        candidate.fate = "sampled"
        candidate.scores = candidate.scores or [None] * len(self.problem.val)
        try:
            found = await self.bench.scores_of(candidate.state, [self.problem.val[place] for place in places])
        except (TooManyErrors, LMError) as error:
            self.bench.troubles.append(f"trial {candidate.number}: {error.message}")
            candidate.fate = "outage"
        else:
            for place, score in zip(places, found, strict=True):
                candidate.scores[place] = score

    def _left(self) -> int:
        """Trials left of the budget."""
        limit = self.problem.budget.trials
        tried = sum(trial.fate not in ("repeated", "sampled") for trial in self.trials) - 1
        if limit is not None and tried >= limit:
            raise BudgetExceeded(f"{limit} trials are made", limit="trials")
        return self.width if limit is None else limit - tried

    @property
    def figures(self) -> dict[str, str]:
        """What a progress bar shows."""
        return {"best": f"{self.best.mean:.3f}", "calls": str(self.bench.usage.calls)}

    def affords(self, runs: int) -> bool:
        """Whether so many runs of the program leave enough of the budget for the confirmation."""
        return self.bench.affords(runs, 1.0 - CONFIRM_SHARE)

    def room(self, width: int) -> int:
        """How many candidates to begin at once: fewer where the budget ends, to finish one rather than begin four.

        Raises:
            BudgetExceeded: there is no room for another one.
        """
        rows = len(self.problem.val)
        if not self.affords(blocks(rows)[0][1]):
            raise BudgetExceeded("no room for another trial", limit=self.bench.tight)
        return next((k for k in range(width, 1, -1) if self.affords(k * rows)), 1)

    async def race(self, group: Sequence[Candidate], *, drop: bool = True) -> None:
        """Score candidates block by block until they have all rows or, with `drop`, are beaten by the best.

        They go in step and meet after each block, so that what is decided depends on scores and costs,
        not on which reply came first: a search that is resumed decides as before.
        """
        racing, rival, rows = self._new(group), self.best.scores, len(self.problem.val)
        for start, stop in self._blocks(drop):
            room = [c for i, c in enumerate(racing, 1) if self.affords(i * (stop - start))]
            for candidate in racing[len(room) :]:
                candidate.fate = "stopped"
            await loops.together(self._score(candidate, start, stop) for candidate in room)
            for candidate in room:
                if candidate.fate is None and not self.problem.limits.allow(self.bench.cost(candidate.state)):
                    candidate.fate = "too costly"
                elif (
                    drop
                    and not self._is_dear
                    and candidate.fate is None
                    and stop < rows
                    and loses(candidate.scores, rival)
                ):
                    candidate.fate = "raced out"
            racing = [candidate for candidate in room if candidate.fate is None]
        for candidate in racing:
            candidate.fate = "finished"

    def _blocks(self, drop: bool) -> list[tuple[int, int]]:
        """Spans of val between which a candidate may be dropped."""
        rows = len(self.problem.val)
        if drop:
            return blocks(rows)
        first = blocks(rows)[0][1]
        return [(0, rows)] if self.problem.limits == Limits() or first == rows else [(0, first), (first, rows)]

    def _new(self, group: Sequence[Candidate]) -> list[Candidate]:
        """The candidates whose state has not been tried; the others are marked as repeated."""
        known = set(self.scores)
        new: list[Candidate] = []
        for candidate in group:
            if candidate.state.hash in known:
                candidate.fate = "repeated"
            elif candidate.fate is None:
                known.add(candidate.state.hash)
                new.append(candidate)
        return new

    async def _score(self, candidate: Candidate, start: int, stop: int) -> None:
        try:
            candidate.scores += await self.bench.scores(candidate.state, start, stop)
        except BudgetExceeded as error:
            candidate.fate, self.reached = "stopped", error.limit
        except (TooManyErrors, LMError) as error:
            self.bench.troubles.append(f"trial {candidate.number}: {error.message}")
            candidate.fate = "outage"

    def enter(self, candidate: Candidate) -> Trial:
        """Note what became of a candidate, and whether it is the best."""
        if candidate.fate == "repeated":
            candidate.scores = self.scores.get(candidate.state.hash, [])
        unscored = sum(score is None for score in candidate.scores)
        if candidate.fate != "sampled" and unscored > LOST_SHARE * len(candidate.scores):
            candidate.fate = "outage"
        cost = self.bench.cost(candidate.state)
        trial = Trial(
            candidate.number,
            candidate.choices,
            candidate.state,
            candidate.mean,
            len(candidate.scores) - (unscored if candidate.fate == "sampled" else 0),
            candidate.fate or "stopped",
            candidate.parent,
            candidate.origin,
            tuple(candidate.scores),
            cost,
            self.problem.limits.excess(cost) if candidate.scores else {},
        )
        self.trials.append(trial)
        if candidate.scores and trial.fate != "outage":  # an outage says nothing about the candidate
            (self.parts if trial.fate == "sampled" else self.scores).setdefault(candidate.state.hash, candidate.scores)
            if trial.fate == "finished":
                self.finished.append(candidate)
                if self._wins(candidate):
                    self._best = candidate
        return trial

    def close(self, group: Sequence[Candidate]) -> None:
        """End a round.

        Raises:
            BudgetExceeded: a limit was reached in it.
            Lost: it was one too many in a row that the provider failed on.
        """
        new = [candidate for candidate in group if candidate.fate != "repeated"]
        if any(candidate.fate == "stopped" for candidate in group):
            raise BudgetExceeded("no room for another block of rows", limit=self.reached or self.bench.tight)
        self.outages = self.outages + 1 if new and all(c.fate == "outage" for c in new) else 0
        if self.outages >= OUTAGES:
            raise Lost

    def _wins(self, candidate: Candidate) -> bool:
        """Higher mean on the rows of val that both have a score for; at equal means the shorter prompt."""
        mine, theirs = map(mean, paired(candidate.scores, self.best.scores))
        if mine != theirs or self._is_dear:
            return mine > theirs or self._is_dear
        return length(candidate.state) < length(self.best.state)

    @property
    def _is_dear(self) -> bool:
        """Whether the best so far is the given program, and it costs more than is allowed: any other will do."""
        return self.best is self.baseline and not self.problem.limits.allow(self.bench.cost(self.best.state))
