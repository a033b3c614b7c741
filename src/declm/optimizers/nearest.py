"""`KNNFewShot`: each call shows the labelled rows that are most alike to its own inputs.

Source: KNNFewShot of DSPy; Liu et al. 2021 (arXiv 2101.06804) on why near demos help. There the demos of every call are
bootstrapped anew, which costs several calls each and is lost on saving; here they are part of the program's state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from declm.arguments import arguments
from declm.errors import UsageError
from declm.optimizers.base import M, Optimized, Problem, at_least
from declm.optimizers.bootstrapping import BootstrapFewShot, labels
from declm.optimizers.core import Search
from declm.optimizers.ending import searched
from declm.state import ProgramState


@dataclass(frozen=True)
class KNNFewShot:
    """Show near demos, chosen by each call.

    Args:
        nearest: numbers of demos that a call may show; each is tried.
        bootstrapped: rows of train that are run to make demos for predictors that the labels say nothing of.

    One prediction stays one call. The prompt's beginning then differs from call to call, so a provider's prefix
    cache saves less. Cost: `(len(nearest) + 1) * len(val)` runs, and the bootstrapping where it is needed.
    """

    nearest: tuple[int, ...] = (4, 8, 16)
    bootstrapped: int = 64

    def __post_init__(self) -> None:
        if not self.nearest:
            raise UsageError("KNNFewShot(nearest=()) must name at least one number of demos")
        for count in self.nearest:
            at_least("KNNFewShot", nearest=(count, 1))
        at_least("KNNFewShot", bootstrapped=(self.bootstrapped, 0))

    def compile(self, program: M, rows: Sequence[BaseModel]) -> M:
        """The program with all rows as demos, of which each call shows the first of `nearest`, unmeasured.

        No LM is called; predictors that the labels say nothing of stay as they are.

        Raises:
            UsageError: the rows do not fit the program.
        """
        arguments(program).check(rows)
        known = {path: pool.demos for path, pool in labels(program, rows).items()}
        state = program.state
        for path, demos in known.items():
            if demos:
                own = state.predictors[path].model_copy(update={"demos": demos})
                state = state.with_predictor(path, own)
        return program.with_state(choosing(state, self.nearest[0]))

    async def run(self, problem: Problem[M]) -> Optimized[M]:
        """Try each number of demos; see `Optimizer`."""
        return await searched(problem, self._explore, trials=len(self.nearest), runs=self.bootstrapped)

    async def _explore(self, search: Search) -> None:
        rows, state = search.problem.train, self.compile(search.problem.program, search.problem.train).state
        if any(not own.demos for own in state.predictors.values()) and self.bootstrapped:
            made = await BootstrapFewShot(self.bootstrapped, 0).state(search, rows, search.problem.seed)
            for path, own in state.predictors.items():
                if not own.demos:
                    state = state.with_predictor(path, own.model_copy(update={"demos": made.predictors[path].demos}))
        await search.compare([search.candidate(choosing(state, k), f"the nearest {k}") for k in self.nearest])


def choosing(state: ProgramState, count: int) -> ProgramState:
    """The state in which each call shows so many of the demos, where there are more."""
    for path, own in state.predictors.items():
        nearest = count if len(own.demos) > count else None
        state = state.with_predictor(path, own.model_copy(update={"nearest": nearest}))
    return state
