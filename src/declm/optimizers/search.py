"""`JointSearch`: the default optimizer - instructions, demos and calibration of all predictors in one study.

Each trial is one point of the space: an instruction, a number of demos, a subset of them, and whether
closed outputs are corrected for label bias, for every predictor. Optuna's multivariate TPE proposes
points (Akiba et al. 2019, arXiv 1907.10902; Watanabe 2023, arXiv 2304.11127), a race against the
incumbent stops bad ones early, and the winner is returned only if it beats the program it started from
outside of noise. MIPROv2 (arXiv 2406.11695) searches instructions and demos with minibatches of 35 and
no test; ours starts from the balanced typical demo set, which is usually most of the gain.

Everything random is drawn from the seed, and trials are asked and told in a fixed order. A run that is
killed and started again therefore takes the same decisions, and reads what it had paid for from the ledger.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from declm import loops
from declm.errors import BudgetExceeded, LMError, TooManyErrors, UsageError
from declm.optimizers.acceptance import Verdict, judge
from declm.optimizers.assembly import assemble
from declm.optimizers.base import M, Optimized, Problem
from declm.optimizers.bench import Bench
from declm.optimizers.calibration import calibrate
from declm.optimizers.forecasts import forecast
from declm.optimizers.proposals import leaks
from declm.optimizers.race import Scores, blocks, estimate, loses, mean, paired
from declm.optimizers.reporting import INTERRUPTED, SearchReport
from declm.optimizers.spaces import Space
from declm.optimizers.study import Study
from declm.optimizers.trials import Fate, Trial
from declm.specs import row_hash
from declm.state import ProgramState

CONFIRM_SHARE = 0.2
"""Share of the budget held back for the confirmation rows."""

CONFIRM_ROWS = 100
"""Confirmation rows at most."""

OUTAGES = 3
"""Rounds in a row lost to provider failures, after which the best so far is returned."""

REPEATS = 12
"""Points in a row that stand for known states, after which the space counts as exhausted."""

LOST_SHARE = 0.25
"""Share of a trial's rows that the provider may fail on before its score says nothing."""


@dataclass(frozen=True)
class JointSearch:
    """The default of `optimize()`.

    Args:
        trials: candidates to try, unless `Budget(trials=...)` says otherwise.
        proposals: instruction variants asked of the proposer, per predictor.
        parallel: trials in flight; None takes one for a local LM and four for a remote one.

    Cost: about `len(val)` calls for the baseline, 16 to `2 * len(train)` for the harvest, `proposals`
    per predictor, 16 to `len(val)` per trial (24 more if it is calibrated) and up to 200 for the
    confirmation, each times the LM calls that one run of the program makes.
    """

    trials: int = 24
    proposals: int = 4
    parallel: int | None = None

    def __post_init__(self) -> None:
        for name, value, least in (
            ("trials", self.trials, 0),
            ("proposals", self.proposals, 0),
            ("parallel", self.parallel, 1),
        ):
            if value is not None and value < least:
                raise UsageError(f"JointSearch({name}={value!r}) must be {least} or more")

    async def run(self, problem: Problem[M]) -> Optimized[M]:
        """Search; see `Optimizer`.

        Raises:
            BudgetExceeded: the budget does not even cover the baseline on val.
        """
        with Bench.over(problem) as bench:
            search = _Search(self, bench)
            await search.run(problem)
            return search.result(problem)


@dataclass
class _Candidate:
    number: int
    choices: Mapping[str, int]
    state: ProgramState
    scores: list[float | None] = field(default_factory=list[float | None])
    fate: Fate | None = None

    @property
    def mean(self) -> float:
        return mean(self.scores)


@dataclass
class _Search:
    options: JointSearch
    bench: Bench
    trials: list[Trial] = field(default_factory=list[Trial])
    scores: dict[str, list[float | None]] = field(default_factory=dict[str, list[float | None]])
    verdict: Verdict | None = None
    stopped: str | None = None
    reached: str | None = None
    outages: int = 0
    study: Study | None = None
    baseline: _Candidate | None = None
    incumbent: _Candidate | None = None

    async def run(self, problem: Problem[Any]) -> None:
        if self.options.proposals:
            self.bench.check_proposers()
        self.bench.announce(forecast(problem, self.options.trials, self.options.proposals))
        await self._score_given(problem)
        confirm: tuple[Scores, Scores] = [], []
        try:
            try:
                await self._explore(problem)
            except BudgetExceeded as error:
                self.stopped = error.limit
            confirm = await self._confirmation(problem)
        except asyncio.CancelledError:
            if not problem.stop.is_set():
                raise
            self.stopped = INTERRUPTED
        self.verdict = self._judged(problem, confirm)

    async def _score_given(self, problem: Problem[Any]) -> None:
        state, rows = problem.program.state, len(problem.val)
        try:
            scores = await self.bench.scores(state, 0, rows)
        except BudgetExceeded as error:
            raise BudgetExceeded(
                f"{error.message}: it does not cover the first scoring of the given program on {rows} rows of val",
                limit=error.limit,
            ) from error
        self.baseline = self.incumbent = _Candidate(0, {}, state, scores)
        self.trials.append(Trial(0, {}, state, mean(scores), rows, "baseline"))
        self.scores[state.hash] = scores

    async def _explore(self, problem: Problem[Any]) -> None:
        """Harvest, propose, and try candidates until the budget or the space is used up."""
        wanted = self.options.trials if problem.budget.trials is None else problem.budget.trials
        if not wanted:
            return
        space = await assemble(self.bench, self._best.scores, self.options.proposals)
        self._open(space, wanted)
        await self._loop(problem, space, min(wanted, space.count() - 1))

    # --- the study

    def _open(self, space: Space, wanted: int) -> None:
        assert self.baseline is not None
        sizes = space.sizes()
        self.study = Study(sizes, self.bench.problem.seed)
        point = dict.fromkeys(sizes, 0)
        self.study.add(point, self.baseline.mean, {"fate": "baseline", "rows": len(self.baseline.scores)})
        self.study.open_with(space.openings())
        if space.count() - 1 <= wanted:
            self.study.open_with(space.others(self.bench.problem.seed))

    async def _loop(self, problem: Problem[Any], space: Space, wanted: int) -> None:
        width = self.options.parallel or (4 if self.bench.concurrency > 4 else 1)
        tried = repeats = 0
        with self.bench.progress(wanted) as bar:
            while tried < wanted and repeats < REPEATS and self.outages < OUTAGES:
                if not self._affords(blocks(len(problem.val))[0][1]):
                    raise BudgetExceeded("no room for another trial", limit=self.bench.tight)
                # Fewer at a time where the budget ends: it is better to finish one than to begin four.
                fit = next((k for k in range(width, 1, -1) if self._affords(k * len(problem.val))), 1)
                group = [await self._ask(space) for _ in range(min(fit, wanted - tried))]
                await self._race(group, len(problem.val))
                for candidate in group:
                    self._tell(candidate)
                    repeats = repeats + 1 if candidate.fate == "repeated" else 0
                new = [candidate for candidate in group if candidate.fate != "repeated"]
                tried += len(new)
                self.outages = self.outages + 1 if new and all(c.fate == "outage" for c in new) else 0
                bar.advance(len(new), {"best": f"{self._best.mean:.3f}", "calls": str(self.bench.usage.calls)})
                if any(candidate.fate == "stopped" for candidate in group):
                    limit = self.reached or self.bench.tight
                    raise BudgetExceeded("no room for another block of rows", limit=limit)

    def _affords(self, runs: int) -> bool:
        return self.bench.affords(runs, 1.0 - CONFIRM_SHARE)

    async def _ask(self, space: Space) -> _Candidate:
        assert self.study is not None
        number, choices = self.study.ask()
        candidate = _Candidate(number, choices, space.state(choices))
        try:
            candidate.state = await calibrate(self.bench, candidate.state, space.inputs())
        except (TooManyErrors, LMError) as error:
            self.bench.troubles.append(f"trial {number}: {error.message}")
            candidate.fate = "outage"
        return candidate

    async def _race(self, group: Sequence[_Candidate], rows: int) -> None:
        """Score candidates block by block until they have all rows or are beaten.

        They go in step and meet after each block, so that what is decided depends on scores and costs,
        not on which reply came first: a search that is resumed decides as before.
        """
        racing, rival = self._new(group), self._best.scores
        for start, stop in blocks(rows):
            room = [c for i, c in enumerate(racing, 1) if self._affords(i * (stop - start))]
            for candidate in racing[len(room) :]:
                candidate.fate = "stopped"
            await loops.together(self._score(candidate, start, stop) for candidate in room)
            for candidate in room:
                if candidate.fate is None and stop < rows and loses(candidate.scores, rival):
                    candidate.fate = "raced out"
            racing = [candidate for candidate in room if candidate.fate is None]
        for candidate in racing:
            candidate.fate = "finished"

    def _new(self, group: Sequence[_Candidate]) -> list[_Candidate]:
        """The candidates whose state has not been tried; the others are marked as repeated."""
        known = set(self.scores)
        new: list[_Candidate] = []
        for candidate in group:
            if candidate.state.hash in known:
                candidate.fate = "repeated"
            elif candidate.fate is None:
                known.add(candidate.state.hash)
                new.append(candidate)
        return new

    async def _score(self, candidate: _Candidate, start: int, stop: int) -> None:
        try:
            candidate.scores += await self.bench.scores(candidate.state, start, stop)
        except BudgetExceeded as error:
            candidate.fate, self.reached = "stopped", error.limit
        except (TooManyErrors, LMError) as error:
            self.bench.troubles.append(f"trial {candidate.number}: {error.message}")
            candidate.fate = "outage"

    def _tell(self, candidate: _Candidate) -> None:
        assert self.study is not None
        if candidate.fate == "repeated":
            candidate.scores = self.scores.get(candidate.state.hash, [])
        unscored = sum(score is None for score in candidate.scores)
        if unscored > LOST_SHARE * len(candidate.scores):
            candidate.fate = "outage"
        fate = candidate.fate or "stopped"
        trial = Trial(candidate.number, candidate.choices, candidate.state, candidate.mean, len(candidate.scores), fate)
        self.trials.append(trial)
        if not candidate.scores or fate == "outage":
            self.study.tell(trial, None)  # an outage says nothing about the candidate
            return
        self.study.tell(trial, estimate(candidate.scores, self._best.scores))
        self.scores.setdefault(candidate.state.hash, candidate.scores)
        if fate == "finished" and self._wins(candidate):
            self.incumbent = candidate

    def _wins(self, candidate: _Candidate) -> bool:
        """Higher mean on the rows of val that both have a score for; at equal means the shorter prompt."""
        mine, theirs = map(mean, paired(candidate.scores, self._best.scores))
        if mine != theirs:
            return mine > theirs
        return _length(candidate.state) < _length(self._best.state)

    @property
    def _best(self) -> _Candidate:
        assert self.incumbent is not None
        return self.incumbent

    # --- the end

    async def _confirmation(self, problem: Problem[Any]) -> tuple[Scores, Scores]:
        """Scores of the winner and of the given program on rows that played no part in the search."""
        assert self.baseline is not None
        if self._best is self.baseline:
            return [], []
        rows = _unseen(problem, self._best.state, self.bench.harvested)[:CONFIRM_ROWS]
        while rows and not self.bench.affords(2 * len(rows), 1.0):
            rows = rows[: len(rows) // 2]
        try:
            mine = await self.bench.confirm(self._best.state, rows)
            theirs = await self.bench.confirm(self.baseline.state, rows)
        except BudgetExceeded:
            return [], []
        except (TooManyErrors, LMError) as error:
            self.bench.troubles.append(f"no confirmation on further rows: {error.message}")
            return [], []
        return mine, theirs

    def _judged(self, problem: Problem[Any], confirm: tuple[Scores, Scores]) -> Verdict | None:
        """Test the winner against the given program."""
        assert self.baseline is not None
        if self._best is self.baseline:
            return None
        tried = {key: scores for key, scores in self.scores.items() if key != self.baseline.state.hash}
        padded = [_padded(scores, len(problem.val)) for scores in tried.values()]
        return judge(self.baseline.scores, padded, list(tried).index(self._best.state.hash), confirm, problem.seed)

    def result(self, problem: Problem[M]) -> Optimized[M]:
        assert self.baseline is not None
        accepted = self._accepted(problem)
        best = self._best if accepted else self.baseline
        report = SearchReport(
            program=type(problem.program).__name__,
            trials=tuple(self.trials),
            baseline=self.baseline.mean,
            best=self._best.mean,
            best_number=self._best.number,
            rows=len(problem.val),
            accepted=accepted,
            verdict=self.verdict,
            stopped=self.stopped,
            troubles=tuple(self.bench.troubles),
            differences=tuple(self.baseline.state.diff(self._best.state)),
            usage=self.bench.usage,
        )
        study = self.study or Study({}, problem.seed)
        return Optimized(
            program=problem.program.with_state(best.state),
            score=best.mean,
            baseline=self.baseline.mean,
            report=report,
            study=study.optuna,
            usage=self.bench.usage,
        )

    def _accepted(self, problem: Problem[Any]) -> bool:
        if self.verdict is None:
            return False
        return problem.accept == "best" or self.verdict.significant


def _unseen(problem: Problem[Any], winner: ProgramState, harvested: AbstractSet[str]) -> list[BaseModel]:
    """Rows of train, in one random order, that the winner neither shows as demos nor quotes.

    Harvested rows are no test either: those that the given program got right became demos, so it would
    be measured on what it gets wrong.
    """
    shown = {demo.row for state in winner.predictors.values() for demo in state.demos}
    texts = [state.instructions for state in winner.predictors.values() if state.instructions]
    rows = [row for row in problem.train if row_hash(row) not in {*shown, *harvested}]
    rows = [row for row in rows if not any(leaks(text, [row]) for text in texts)]
    random.Random(f"declm:{problem.seed}:confirm").shuffle(rows)
    return rows


def _padded(scores: Scores, rows: int) -> list[float | None]:
    return [*scores, *[None] * (rows - len(scores))]


def _length(state: ProgramState) -> int:
    return sum(len(s.model_dump_json(exclude_defaults=True)) for s in state.predictors.values())
