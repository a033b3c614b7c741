"""`InferRules`: rules that are read off solved examples and added to the instructions.

Source: InferRules of DSPy 3 (its documentation), in whose 3.4.1 the last candidate wins whatever its score is.
"""

from __future__ import annotations

from dataclasses import dataclass

from declm import loops
from declm.optimizers.base import M, Optimized, Problem, at_least
from declm.optimizers.bootstrapping import BootstrapFewShot, labels
from declm.optimizers.candidates import Candidate
from declm.optimizers.core import Search
from declm.optimizers.ending import searched
from declm.optimizers.harvest import examples
from declm.optimizers.writing import brief, instructed, written
from declm.state import predictors


@dataclass(frozen=True)
class InferRules:
    """Bootstrap demos, then try sets of rules inferred from them and from labelled rows.

    Args:
        candidates: sets of rules.
        bootstrapped: bootstrapped demos, see `BootstrapFewShot`.
        labeled: demos in all, at most.
        temperature: of the proposer.

    Cost: `(candidates + 2) * len(val)` runs, a text per predictor and candidate, and the bootstrapping.
    """

    candidates: int = 10
    bootstrapped: int = 4
    labeled: int = 16
    temperature: float = 1.0

    def __post_init__(self) -> None:
        at_least("InferRules", candidates=(self.candidates, 1), bootstrapped=(self.bootstrapped, 0))
        at_least("InferRules", labeled=(self.labeled, 0))

    async def run(self, problem: Problem[M]) -> Optimized[M]:
        """Search; see `Optimizer`."""
        texts = self.candidates * len(predictors(problem.program))
        return await searched(problem, self._explore, trials=self.candidates + 1, runs=self.bootstrapped, texts=texts)

    async def _explore(self, search: Search) -> None:
        base = search.baseline
        if self.bootstrapped or self.labeled:
            maker = BootstrapFewShot(self.bootstrapped, self.labeled)
            state = await maker.state(search, search.problem.train, search.problem.seed)
            base = search.candidate(state, "bootstrapped demos", search.baseline)
            await search.compare([base])
        made = await loops.together(self._ruled(search, base, draw) for draw in range(self.candidates))
        await search.compare([candidate for candidate in made if candidate.state.hash != base.state.hash])

    async def _ruled(self, search: Search, base: Candidate, draw: int) -> Candidate:
        """A candidate whose predictors follow rules that were inferred from their examples."""
        state, known = base.state, labels(search.problem.program, search.problem.train)
        for path in search.bench.predictors:
            solved = examples([*base.state.predictors[path].demos, *known[path].demos])
            if solved:
                told = brief(search.bench, path, base.state, solved=solved)
                rules = await written(search.bench, told, "rules", draw, temperature=self.temperature)
                state = instructed(state, path, f"{told.present}\n\n{rules}") if rules else state
        return search.candidate(state, "rules", base)
