"""`JointSearch`: the default optimizer - instructions and demos of all predictors in one study.

Each trial is one point of the space: an instruction, a number of demos and a subset of them for every
predictor. Optuna's multivariate TPE proposes points (Akiba et al. 2019, arXiv 1907.10902; Watanabe
2023, arXiv 2304.11127), a race against the incumbent stops bad ones early, and the winner is returned
only if it beats the program it started from outside of noise. MIPROv2 (arXiv 2406.11695) searches the
same space with minibatches of 35 and no test; ours starts from the balanced typical demo set, which is
usually most of the gain.

Everything random is drawn from the seed, and trials are asked and told in a fixed order. A run that is
killed and started again therefore takes the same decisions, and reads what it had paid for from the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from declm.errors import BudgetExceeded, LMError, TooManyErrors
from declm.optimizers.acceptance import Verdict, judge
from declm.optimizers.base import Fate, M, Optimized, Problem, Trial
from declm.optimizers.bench import Bench
from declm.optimizers.forecasts import forecast
from declm.optimizers.harvest import Harvest, examples, harvest, labeled, pools
from declm.optimizers.pools import Pool
from declm.optimizers.proposals import Brief, leaks, propose
from declm.optimizers.race import Scores, blocks, estimate, loses, mean
from declm.optimizers.reporting import SearchReport
from declm.optimizers.spaces import Slot, Space, demo_counts, unique
from declm.optimizers.study import Study
from declm.specs import row_hash
from declm.state import ProgramState

HARVEST_SHARE = 0.3
"""Share of the budget that bootstrapping may use."""

CONFIRM_SHARE = 0.2
"""Share of the budget held back for the confirmation rows."""

CONFIRM_ROWS = 100
"""Confirmation rows at most."""

OUTAGES = 3
"""Trials in a row lost to provider failures, after which the best so far is returned."""

REPEATS = 12
"""Points in a row that stand for known states, after which the space counts as exhausted."""

PROMPT_SHARE = 0.5
"""Share of the context window that demos may fill."""


@dataclass(frozen=True)
class JointSearch:
    """The default of `optimize()`.

    Args:
        trials: candidates to try, unless `Budget(trials=...)` says otherwise.
        proposals: instruction variants asked of the proposer, per predictor.
        parallel: trials in flight; None takes one for a local LM and four for a remote one.

    Cost: about `len(val)` calls for the baseline, 16 to `2 * len(train)` for the harvest, `proposals`
    per predictor, 16 to `len(val)` per trial and up to 200 for the confirmation, each times the LM
    calls that one run of the program makes.
    """

    trials: int = 24
    proposals: int = 4
    parallel: int | None = None

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
    scores: list[float | None]


@dataclass
class _Search:
    options: JointSearch
    bench: Bench
    trials: list[Trial] = field(default_factory=list[Trial])
    scores: dict[str, list[float | None]] = field(default_factory=dict[str, list[float | None]])
    verdict: Verdict | None = None
    stopped: str | None = None
    outages: int = 0
    study: Study | None = None
    baseline: _Candidate | None = None
    incumbent: _Candidate | None = None

    async def run(self, problem: Problem[Any]) -> None:
        bench, state = self.bench, problem.program.state
        bench.announce(forecast(problem, self.options.trials, self.options.proposals))
        scores = await bench.scores(state, 0, len(problem.val))
        self.baseline = self.incumbent = _Candidate(0, {}, state, scores)
        self.trials.append(Trial(0, {}, state, mean(scores), len(scores), "baseline"))
        self.scores[state.hash] = scores
        try:
            space = await self._space(problem)
            self._open(space)
            await self._loop(problem, space)
        except BudgetExceeded as error:
            self.stopped = error.limit
        self.verdict = await self._confirm(problem)

    # --- the space

    async def _space(self, problem: Problem[Any]) -> Space:
        bench = self.bench
        found = await harvest(bench, self._level(), HARVEST_SHARE)
        made = pools(bench, found)
        texts = await asyncio.gather(*(self._instructions(problem, found, path) for path in bench.predictors))
        slots = tuple(
            Slot(path, text, pool, demo_counts(pool, self._limit(problem, pool)))
            for (path, pool), text in zip(made.items(), texts, strict=True)
        )
        return Space(problem.program.state, slots)

    def _level(self) -> float:
        """The score from which a run is worth imitating: 1, or the baseline's upper quartile."""
        assert self.baseline is not None
        known = sorted(score for score in self.baseline.scores if score is not None)
        if all(score in (0.0, 1.0) for score in known):
            return 1.0
        return max(0.5, known[(3 * len(known)) // 4])

    def _limit(self, problem: Problem[Any], pool: Pool) -> int:
        """How many demos fit: the asked maximum, and a share of the context window."""
        window = self.bench.context_tokens
        if window is None or not pool.demos:
            return problem.max_demos
        longest = max(len(demo.model_dump_json()) for demo in pool.demos) / 3.0
        return min(problem.max_demos, int(window * PROMPT_SHARE / longest))

    async def _instructions(self, problem: Problem[Any], found: Harvest, path: str) -> tuple[str | None, ...]:
        predictor, present = self.bench.predictors[path], problem.program.state.predictors[path]
        own = examples(labeled(predictor, problem.train))
        brief = Brief(
            path=path,
            steps=tuple(self.bench.predictors),
            spec=predictor.spec,
            state=present,
            solved=[*found.solved.get(path, []), *own],
            failed=found.failed.get(path, []),
        )
        if not self.options.proposals or not (brief.solved or brief.failed):
            return (present.instructions,)
        proposed = await self.bench.remembered(
            f"propose:{path}", lambda: propose(brief, self.bench.proposer(path), self.options.proposals, problem.seed)
        )
        clean = [text for text in proposed if not leaks(text, problem.val)]
        return unique([present.instructions, *clean])

    # --- the study

    def _open(self, space: Space) -> None:
        assert self.baseline is not None
        sizes = space.sizes()
        self.study = Study(sizes, self.bench.problem.seed)
        point = dict.fromkeys(sizes, 0)
        self.study.add(point, mean(self.baseline.scores), {"fate": "baseline", "rows": len(self.baseline.scores)})
        self.study.open_with(space.openings())

    async def _loop(self, problem: Problem[Any], space: Space) -> None:
        assert self.study is not None
        wanted = self.options.trials if problem.budget.trials is None else problem.budget.trials
        wanted = min(wanted, space.count() - 1)
        width = self.options.parallel or (4 if self.bench.concurrency > 4 else 1)
        repeats = 0
        with self.bench.progress(wanted) as bar:
            while len(self.trials) <= wanted and repeats < REPEATS:
                if not self.bench.affords(blocks(len(problem.val))[0][1], 1.0 - CONFIRM_SHARE):
                    raise BudgetExceeded("no room for another trial", limit=self.bench.tight)
                group = [self._ask(space) for _ in range(min(width, wanted + 1 - len(self.trials)))]
                fates = await asyncio.gather(*(self._race(candidate, len(problem.val)) for candidate in group))
                for candidate, fate in zip(group, fates, strict=True):
                    repeats = repeats + 1 if fate == "repeated" else 0
                    self._tell(candidate, fate)
                if "stopped" in fates:
                    raise BudgetExceeded("no room for another block of rows", limit=self.bench.tight)
                bar.advance(len(group), {"best": f"{self._best_score():.3f}", "calls": str(self.bench.usage.calls)})
                if self.outages >= OUTAGES:
                    return

    def _ask(self, space: Space) -> _Candidate:
        assert self.study is not None
        number, choices = self.study.ask()
        return _Candidate(number, choices, space.state(choices), [])

    async def _race(self, candidate: _Candidate, rows: int) -> Fate:
        """Score a candidate block by block until it has all rows or is beaten."""
        known = self.scores.get(candidate.state.hash)
        if known is not None:
            candidate.scores = known
            return "repeated"
        assert self.incumbent is not None
        rival = self.incumbent.scores
        for start, stop in blocks(rows):
            if not self.bench.affords(stop - start, 1.0 - CONFIRM_SHARE):
                return "stopped"
            try:
                seen = await self.bench.scores(candidate.state, start, stop)
            except BudgetExceeded:
                return "stopped"
            except (TooManyErrors, LMError) as error:
                self.bench.troubles.append(f"trial {candidate.number}: {error.message}")
                return "outage"
            candidate.scores = [*candidate.scores, *seen]
            if stop < rows and loses(candidate.scores, rival):
                return "raced out"
        return "finished"

    def _tell(self, candidate: _Candidate, fate: Fate) -> None:
        assert self.study is not None and self.incumbent is not None
        seen = len(candidate.scores)
        trial = Trial(candidate.number, candidate.choices, candidate.state, mean(candidate.scores), seen, fate)
        self.trials.append(trial)
        unscored = sum(score is None for score in candidate.scores)
        self.outages = self.outages + 1 if fate == "outage" else 0
        if not seen or fate == "outage" or unscored > seen // 4:
            self.study.tell(trial, None)  # an outage says nothing about the candidate
            return
        self.study.tell(trial, estimate(candidate.scores, self.incumbent.scores))
        self.scores.setdefault(candidate.state.hash, candidate.scores)
        if fate == "finished" and self._wins(candidate):
            self.incumbent = candidate

    def _wins(self, candidate: _Candidate) -> bool:
        """Higher mean on val; at equal means the shorter prompt."""
        assert self.incumbent is not None
        mine, theirs = mean(candidate.scores), mean(self.incumbent.scores)
        if mine != theirs:
            return mine > theirs
        return _length(candidate.state) < _length(self.incumbent.state)

    def _best_score(self) -> float:
        assert self.incumbent is not None
        return mean(self.incumbent.scores)

    # --- the end

    async def _confirm(self, problem: Problem[Any]) -> Verdict | None:
        """Test the winner, also on train rows that it does not show as demos."""
        assert self.baseline is not None and self.incumbent is not None
        if self.incumbent is self.baseline:
            return None
        confirm = await self._confirmation(problem, self.incumbent.state)
        tried = [scores for key, scores in self.scores.items() if key != self.baseline.state.hash]
        padded = [_padded(scores, len(problem.val)) for scores in tried]
        winner = next(i for i, scores in enumerate(tried) if scores is self.incumbent.scores)
        return judge(self.baseline.scores, padded, winner, confirm, problem.seed)

    async def _confirmation(self, problem: Problem[Any], winner: ProgramState) -> tuple[Scores, Scores]:
        shown = {demo.row for state in winner.predictors.values() for demo in state.demos}
        rows = [row for row in problem.train if row_hash(row) not in shown][:CONFIRM_ROWS]
        while rows and not self.bench.affords(2 * len(rows), 1.0):
            rows = rows[: len(rows) // 2]
        assert self.baseline is not None
        try:
            mine = await self.bench.confirm(winner, rows)
            theirs = await self.bench.confirm(self.baseline.state, rows)
        except BudgetExceeded:
            return [], []
        return mine, theirs

    def result(self, problem: Problem[M]) -> Optimized[M]:
        assert self.baseline is not None and self.incumbent is not None
        accepted = self._accepted(problem)
        best = self.incumbent if accepted else self.baseline
        report = SearchReport(
            program=type(problem.program).__name__,
            trials=tuple(self.trials),
            baseline=mean(self.baseline.scores),
            best=mean(self.incumbent.scores),
            best_number=self.incumbent.number,
            rows=len(problem.val),
            accepted=accepted,
            verdict=self.verdict,
            stopped=self.stopped,
            troubles=tuple(self.bench.troubles),
            differences=tuple(self.baseline.state.diff(self.incumbent.state)),
            usage=self.bench.usage,
        )
        study = self.study or Study({}, problem.seed)
        return Optimized(
            program=problem.program.with_state(best.state),
            score=mean(best.scores),
            baseline=mean(self.baseline.scores),
            report=report,
            study=study.optuna,
            usage=self.bench.usage,
        )

    def _accepted(self, problem: Problem[Any]) -> bool:
        if self.verdict is None:
            return False
        return problem.accept == "best" or self.verdict.significant


def _padded(scores: Scores, rows: int) -> list[float | None]:
    return [*scores, *[None] * (rows - len(scores))]


def _length(state: ProgramState) -> int:
    return sum(len(s.model_dump_json(exclude_defaults=True)) for s in state.predictors.values())
