"""`OptunaSearch`: which bootstrapped demos each predictor shows, searched by TPE.

Source: `BootstrapFewShotWithOptuna` of DSPy (arXiv 2310.03714, section 3.3), which picks exactly one demo per
predictor; ours fills several places, each with a demo or with none, and has a seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from declm.demo import Demo
from declm.optimizers.base import M, Optimized, Problem, at_least
from declm.optimizers.bootstrapping import BootstrapFewShot, showing
from declm.optimizers.candidates import Candidate
from declm.optimizers.core import Search
from declm.optimizers.ending import searched
from declm.optimizers.study import Study


@dataclass(frozen=True)
class OptunaSearch:
    """Bootstrap a pool of demos, and search which of them to show.

    Args:
        trials: sets that are scored on all of val.
        demos: places for demos per predictor.
        pool: demos that are bootstrapped or labelled, to choose from.

    Cost: `(trials + 1) * len(val)` runs, and the bootstrapping of the pool.
    """

    trials: int = 16
    demos: int = 4
    pool: int = 16

    def __post_init__(self) -> None:
        at_least("OptunaSearch", trials=(self.trials, 1), demos=(self.demos, 1), pool=(self.pool, 1))

    async def run(self, problem: Problem[M]) -> Optimized[M]:
        """Search; see `Optimizer`."""
        return await searched(problem, self._explore, trials=self.trials, runs=min(2 * self.pool, len(problem.train)))

    async def _explore(self, search: Search) -> None:
        seed, rows = search.problem.seed, list(search.problem.train)
        random.Random(f"declm:{seed}:optuna search").shuffle(rows)
        state = await BootstrapFewShot(self.pool, self.pool).state(search, rows, seed)
        pools = {path: own.demos for path, own in state.predictors.items() if own.demos}
        sizes = {
            f"{path}:{place}": len(pool) + 1
            for path, pool in pools.items()
            for place in range(min(self.demos, len(pool)))
        }
        if not sizes:
            search.bench.troubles.append("no demos were found to choose from")
            return
        study, done = Study(sizes, seed), 0
        study.add(dict.fromkeys(sizes, 0), search.baseline.mean, {"fate": "baseline"})
        while done < self.trials:
            asked = [study.ask() for _ in range(min(search.width, self.trials - done))]
            group = [self._candidate(search, pools, choices) for _, choices in asked]
            for (number, _), trial in zip(asked, await search.compare(group), strict=True):
                study.tell(number, None if math.isnan(trial.score) or trial.fate == "outage" else trial.score, trial)
            done += len(group)

    def _candidate(self, search: Search, pools: Mapping[str, Sequence[Demo]], choices: Mapping[str, int]) -> Candidate:
        made = search.candidate(showing(search.problem.program.state, _chosen(pools, choices)), "trial")
        made.choices = choices
        return made


def _chosen(pools: Mapping[str, Sequence[Demo]], choices: Mapping[str, int]) -> dict[str, list[Demo]]:
    """The demos in the places; 0 leaves a place empty, and no demo stands in two."""
    shown: dict[str, list[Demo]] = {path: [] for path in pools}
    for name, choice in choices.items():
        path = name.rsplit(":", 1)[0]
        if choice and pools[path][choice - 1] not in shown[path]:
            shown[path].append(pools[path][choice - 1])
    return shown
