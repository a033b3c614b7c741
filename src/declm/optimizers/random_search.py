"""`RandomSearch`: many bootstrapped demo sets, all measured.

Source: `BootstrapFewShotWithRandomSearch` of DSPy (arXiv 2310.03714, section 3.3).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from declm.optimizers.base import M, Optimized, Problem, at_least
from declm.optimizers.bootstrapping import BootstrapFewShot, LabeledFewShot, labels, showing
from declm.optimizers.candidates import Candidate
from declm.optimizers.core import Search
from declm.optimizers.ending import searched


@dataclass(frozen=True)
class RandomSearch:
    """Try no demos, labelled ones, bootstrapped ones, and bootstrapped ones from shuffled rows in random numbers.

    Args:
        candidates: shuffled sets, besides the three others.
        bootstrapped: bootstrapped demos at most, see `BootstrapFewShot`.
        labeled: demos in all, at most.
        rounds: tries per row.
        threshold: score from which a run is accepted.

    Cost: `(candidates + 4) * len(val)` runs, and for each set a few of the teacher's; no row is run twice
    under the same demos.
    """

    candidates: int = 16
    bootstrapped: int = 4
    labeled: int = 16
    rounds: int = 1
    threshold: float | None = None

    def __post_init__(self) -> None:
        at_least("RandomSearch", candidates=(self.candidates, 0), bootstrapped=(self.bootstrapped, 1))
        at_least("RandomSearch", labeled=(self.labeled, 0), rounds=(self.rounds, 1))

    async def run(self, problem: Problem[M]) -> Optimized[M]:
        """Search; see `Optimizer`."""
        runs = self.rounds * min(len(problem.train), self.bootstrapped * (self.candidates + 1))
        return await searched(problem, self._explore, trials=self.candidates + 3, runs=runs)

    async def _explore(self, search: Search) -> None:
        await search.compare(self._plain(search))
        for start in range(0, self.candidates + 1, search.width):
            made = [
                await self._bootstrapped(search, n)
                for n in range(start, min(start + search.width, self.candidates + 1))
            ]
            await search.compare(made)

    def _plain(self, search: Search) -> list[Candidate]:
        """Without demos, and with labelled ones."""
        problem = search.problem
        base, known = problem.program.state, labels(problem.program, problem.train)
        made = [search.candidate(showing(base, dict.fromkeys(known, ())), "no demos")]
        if self.labeled and any(pool.demos for pool in known.values()):
            program = LabeledFewShot(self.labeled).compile(problem.program, problem.train, seed=problem.seed)
            made.append(search.candidate(program.state, "labelled demos"))
        return made

    async def _bootstrapped(self, search: Search, number: int) -> Candidate:
        """Number 0 takes rows as they come and as many demos as allowed."""
        rows, most = list(search.problem.train), self.bootstrapped
        if number:
            rng = random.Random(f"declm:{search.problem.seed}:random search:{number}")
            rng.shuffle(rows)
            most = rng.randint(1, self.bootstrapped)
        maker = BootstrapFewShot(most, self.labeled, self.rounds, self.threshold)
        state = await maker.state(search, rows, search.problem.seed)
        return search.candidate(state, f"{most} bootstrapped, {'shuffled' if number else 'in order'}")
