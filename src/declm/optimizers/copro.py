"""`COPRO`: coordinate ascent over the instructions of the predictors.

Source: COPRO of DSPy (arXiv 2406.11695, section 3.4), after OPRO (Yang et al. 2023, arXiv 2309.03409): the proposer is
shown earlier instructions with their scores, and asked for better ones. Ours scores on val, not on the rows that
examples come from, and pays for a combination once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from declm import loops
from declm.optimizers.base import M, Optimized, Problem, at_least
from declm.optimizers.bootstrapping import labels
from declm.optimizers.candidates import Candidate
from declm.optimizers.core import Search
from declm.optimizers.ending import searched
from declm.optimizers.harvest import examples
from declm.optimizers.writing import brief, instructed, written
from declm.state import predictors


@dataclass(frozen=True)
class COPRO:
    """Improve one predictor's instructions after the other, for some rounds.

    Args:
        breadth: instructions that compete for a predictor in a round, the present ones included.
        depth: rounds.
        temperature: of the proposer.

    Cost: about `breadth * depth * predictors * len(val)` runs, and as many texts as candidates.
    """

    breadth: int = 10
    depth: int = 3
    temperature: float = 1.4

    def __post_init__(self) -> None:
        at_least("COPRO", breadth=(self.breadth, 2), depth=(self.depth, 1))

    async def run(self, problem: Problem[M]) -> Optimized[M]:
        """Search; see `Optimizer`."""
        texts = self.depth * (self.breadth - 1)
        return await searched(
            problem, self._explore, trials=texts * len(predictors(problem.program)), runs=0, texts=texts
        )

    async def _explore(self, search: Search) -> None:
        tried: dict[str, list[Candidate]] = {path: [] for path in search.bench.predictors}
        for turn in range(self.depth):
            for path, known in tried.items():
                best = search.best  # what the other predictors say is kept while this one changes
                texts = await self._texts(search, path, known, turn)
                made = [
                    search.candidate(instructed(best.state, path, text), f"round {turn + 1}", best) for text in texts
                ]
                await search.compare(made)
                known += [candidate for candidate in made if candidate.is_scored]

    async def _texts(self, search: Search, path: str, known: Sequence[Candidate], turn: int) -> list[str]:
        """New instructions for a predictor, from the best that were tried so far."""
        solved = examples(labels(search.problem.program, search.problem.train)[path].demos)
        best = sorted(known, key=lambda candidate: candidate.mean)[-self.breadth :]
        tried = [(candidate.state.predictors[path].instructions or "", candidate.mean) for candidate in best]
        told = brief(search.bench, path, search.best.state, solved=solved, attempts=tried)
        draws = range(turn * self.breadth, (turn + 1) * self.breadth - 1)
        made = await loops.together(
            written(search.bench, told, "instructions", draw, temperature=self.temperature) for draw in draws
        )
        return list(dict.fromkeys(text for text in made if text))
