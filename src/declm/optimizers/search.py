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

from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from declm.errors import LMError, TooManyErrors
from declm.evaluation import Progress
from declm.optimizers.assembly import assemble, grown
from declm.optimizers.base import M, Optimized, Problem, at_least
from declm.optimizers.bench import Bench
from declm.optimizers.calibration import calibrate
from declm.optimizers.candidates import Candidate
from declm.optimizers.core import Search
from declm.optimizers.ending import result, run
from declm.optimizers.forecasts import forecast
from declm.optimizers.race import estimate, loses
from declm.optimizers.spaces import Space
from declm.optimizers.study import Study
from declm.usage import Budget

REPEATS = 12
"""Points in a row that stand for known states, after which the space counts as exhausted."""

TRIALS = 24
"""Candidates that are tried where nobody says how many."""

GENERATION = 12
"""Candidates between two times that the space grows."""

PATIENCE = 2
"""Generations without a better program after which a search ends."""

FIRST_SHARE = 0.5
"""Share of the trials after which the space grows around the best of them."""


@dataclass(frozen=True)
class JointSearch:
    """The default of `optimize()`.

    Args:
        trials: candidates to try, unless `Budget(trials=...)` says otherwise. None takes 24, and goes on under a
            budget with any other limit as long as that brings better programs.
        proposals: instruction variants asked of the proposer, per predictor, at first and whenever the space grows.
        parallel: trials in flight; None takes one for a local LM, and four to eight for a remote one.

    Cost: about `len(val)` calls for the baseline, 16 to `2 * len(train)` for the harvest, `proposals`
    per predictor, 16 to `len(val)` per trial (24 more if it is calibrated) and up to 200 for the
    confirmation, each times the LM calls that one run of the program makes.
    """

    trials: int | None = None
    proposals: int = 4
    parallel: int | None = None

    def __post_init__(self) -> None:
        at_least("JointSearch", trials=(self.trials, 0), proposals=(self.proposals, 0), parallel=(self.parallel, 1))

    async def run(self, problem: Problem[M]) -> Optimized[M]:
        """Search; see `Optimizer`.

        Raises:
            BudgetExceeded: the budget does not even cover the baseline on val.
        """
        with Bench.over(problem) as bench:
            if self.proposals:
                bench.check_proposers()
            bench.announce(forecast(problem, TRIALS if self.trials is None else self.trials, self.proposals))
            search, joint = Search(bench), _Joint(self)
            await run(search, joint.explore)
            return result(search, problem, joint.study)


@dataclass
class _Joint:
    """The study of one search over its space."""

    options: JointSearch
    study: Study | None = None

    async def explore(self, search: Search) -> None:
        """Harvest, propose, and try candidates until the budget or the space is used up."""
        problem = search.problem
        wanted = self._wanted(problem)
        if not wanted:
            return
        space = await assemble(search.bench, search.best.scores, self.options.proposals)
        self.study = _opened(search, space, wanted)
        with search.bench.progress(wanted) as bar:
            done = await self._first(search, space, wanted, bar)
            idle = generation = 0
            while idle < PATIENCE and (done < wanted or self._goes_on(problem)):
                larger = await grown(search.bench, space, search.best.state, self.options.proposals, generation)
                if larger.count() <= done + 1:
                    return
                self.study, best = _regrown(search, larger), search.best
                left = min(wanted, larger.count() - 1) - done if done < wanted else GENERATION
                new = await self._loop(search, larger, min(left, GENERATION), bar)
                idle = 0 if search.best is not best else idle + 1
                if done >= wanted and not new:
                    return
                done, space, generation = done + new, larger, generation + 1

    def _wanted(self, problem: Problem[Any]) -> int:
        trials = self.options.trials if problem.budget.trials is None else problem.budget.trials
        return TRIALS if trials is None else trials

    def _goes_on(self, problem: Problem[Any]) -> bool:
        """Whether only the budget and the gain limit the trials."""
        return self.options.trials is None and problem.budget.trials is None and problem.budget != Budget()

    async def _first(self, search: Search, space: Space, wanted: int, bar: Progress) -> int:
        """What promises most, then new instructions beside the best of that, then what the study asks."""
        assert self.study is not None
        points = space.count() - 1
        if points <= wanted:
            return await self._loop(search, space, points, bar)
        first = max(1, round(wanted * FIRST_SHARE))
        done = await self._loop(search, space, min(first, len(space.openings())), bar)
        self.study.open_with(_next(search, space))
        return done + await self._loop(search, space, first - done, bar)

    async def _loop(self, search: Search, space: Space, wanted: int, bar: Progress) -> int:
        """Try so many points; returns how many were new."""
        assert self.study is not None
        study, width = self.study, self.options.parallel or search.width
        tried = repeats = 0
        while tried < wanted and repeats < REPEATS:
            fit = search.room(width)
            group = [await self._asked(search, space) for _ in range(min(fit, wanted - tried))]
            await search.race([candidate for candidate, _ in group])
            for candidate, number in group:
                # Told as it stands to the best so far, which this candidate may become.
                rival = search.best.scores
                trial = search.enter(candidate)
                useless = not candidate.scores or trial.fate == "outage"
                study.tell(number, None if useless else estimate(candidate.scores, rival), trial)
                repeats = repeats + 1 if trial.fate == "repeated" else 0
            new = sum(candidate.fate != "repeated" for candidate, _ in group)
            tried += new
            bar.advance(new, search.figures)
            search.close([candidate for candidate, _ in group])
        return tried

    async def _asked(self, search: Search, space: Space) -> tuple[Candidate, int]:
        """The next point of the study as a candidate, and its number there."""
        assert self.study is not None
        number, choices = self.study.ask()
        candidate = search.candidate(space.state(choices))
        candidate.choices = choices
        try:
            candidate.state = await calibrate(search.bench, candidate.state, space.inputs())
        except (TooManyErrors, LMError) as error:
            search.bench.troubles.append(f"trial {candidate.number}: {error.message}")
            candidate.fate = "outage"
        return candidate, number


def _opened(search: Search, space: Space, wanted: int) -> Study:
    """A study that knows the given program, and tries first what promises most."""
    sizes, seed = space.sizes(), search.problem.seed
    study, given = Study(sizes, seed), search.baseline
    study.add(dict.fromkeys(sizes, 0), given.mean, {"fate": "baseline", "rows": len(given.scores)})
    study.open_with(space.openings())
    if space.count() - 1 <= wanted:
        study.open_with(space.others(seed))
    return study


def _next(search: Search, space: Space) -> list[dict[str, int]]:
    """What is new beside the best so far, and beside the given program unless that is clearly worse.

    An LM that demos confuse would else never show what an instruction alone does.
    """
    tried, origin = [trial.choices for trial in search.trials], dict.fromkeys(space.sizes(), 0)
    points = space.beside({**origin, **search.best.choices}, tried)
    if search.best is search.baseline or loses(search.baseline.scores, search.best.scores):
        return points
    alone = space.beside(origin, tried)
    return [point for pair in zip_longest(points, alone) for point in pair if point is not None]


def _regrown(search: Search, space: Space) -> Study:
    """A study of a larger space that knows the trials so far, and tries next what is new beside the best."""
    study, best, origin = Study(space.sizes(), search.problem.seed + 1), search.best, dict.fromkeys(space.sizes(), 0)
    for trial in search.trials:
        if trial.fate in ("baseline", "finished", "raced out"):
            value = estimate(trial.scores, best.scores) if trial.fate == "raced out" else trial.score
            study.add({**origin, **trial.choices}, value, trial.attributes)
    study.open_with(_next(search, space))
    return study
