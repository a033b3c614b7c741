"""`CAPO`: instructions and demos evolve together, raced on val and paid for by their length.

Source: Zinjad et al. 2025 (arXiv 2504.16005): crossover of two instructions, mutation of the result and of the demos
shown with it, racing on blocks of rows, and a penalty for long prompts. Ours breeds all predictors at once.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from declm import loops
from declm.demo import Demo
from declm.errors import UsageError
from declm.optimizers.base import M, Optimized, Problem, at_least
from declm.optimizers.bootstrapping import BootstrapFewShot, showing
from declm.optimizers.candidates import Candidate
from declm.optimizers.core import Search
from declm.optimizers.ending import searched
from declm.optimizers.harvest import examples
from declm.optimizers.proposals import words
from declm.optimizers.trials import length
from declm.optimizers.writing import brief, instructed, proposed, written
from declm.state import predictors

Pools = Mapping[str, Sequence[Demo]]


@dataclass(frozen=True)
class CAPO:
    """Breed instructions with demos.

    Args:
        population: programs that survive a generation.
        generations: how often they breed.
        children: crossovers in a generation.
        demos: shown with an instruction, at most, of `pool` that are made first.
        pool: demos to choose from.
        penalty: what a prompt loses of its score (in [0, 1]) in comparison, if it is as long as the given one again.

    Cost: at most `(population + generations * children) * len(val)` runs, fewer by racing, and about two texts a
    child and predictor.
    """

    population: int = 6
    generations: int = 4
    children: int = 4
    demos: int = 5
    pool: int = 16
    penalty: float = 0.01

    def __post_init__(self) -> None:
        at_least(
            "CAPO", population=(self.population, 2), generations=(self.generations, 1), children=(self.children, 1)
        )
        at_least("CAPO", demos=(self.demos, 0), pool=(self.pool, 1))
        if not self.penalty >= 0:
            raise UsageError(f"CAPO(penalty={self.penalty!r}) must be 0 or more")

    async def run(self, problem: Problem[M]) -> Optimized[M]:
        """Search; see `Optimizer`."""
        born = self.generations * self.children
        texts = (self.population + 2 * born) * len(predictors(problem.program))
        return await searched(problem, self._explore, trials=self.population + born, runs=self.pool, texts=texts)

    async def _explore(self, search: Search) -> None:
        rng = random.Random(f"declm:{search.problem.seed}:capo")
        made = await BootstrapFewShot(self.pool, self.pool).state(search, search.problem.train, search.problem.seed)
        pools = {path: own.demos for path, own in made.predictors.items()}
        alive = [search.baseline, *await self._first(search, pools, rng)]
        for generation in range(self.generations):
            alive = self._fittest(search, alive)
            pairs = [rng.sample(alive, 2) for _ in range(self.children)] if len(alive) > 1 else [[alive[0]] * 2]
            seeds = [rng.random() for _ in pairs]
            born = await loops.together(
                self._child(search, pools, mother, father, generation * self.children + n, random.Random(seed))
                for n, ((mother, father), seed) in enumerate(zip(pairs, seeds, strict=True))
            )
            alive += await self._raced(search, born)

    async def _first(self, search: Search, pools: Pools, rng: random.Random) -> list[Candidate]:
        """Variants of the given instructions, each with demos of its own."""
        given, count = search.problem.program.state, self.population - 1
        states = [
            showing(given, {p: self._drawn(pool, rng) for p, pool in pools.items() if pool}) for _ in range(count)
        ]
        told = {path: brief(search.bench, path, given, solved=examples(pool)) for path, pool in pools.items()}
        found = await loops.together(proposed(search.bench, of, count) for of in told.values())
        for path, texts in zip(told, found, strict=True):
            for place, text in enumerate(texts):
                states[place] = instructed(states[place], path, text)
        return await self._raced(search, [search.candidate(state, "first generation") for state in states])

    async def _child(
        self, search: Search, pools: Pools, mother: Candidate, father: Candidate, draw: int, rng: random.Random
    ) -> Candidate:
        """Instructions crossed and mutated, demos drawn from both and mutated."""
        state, hints = mother.state, words("hints")
        for path, pool in pools.items():
            one, two = mother.state.predictors[path], father.state.predictors[path]
            told = brief(search.bench, path, mother.state)
            crossed = told.present
            if one.instructions != two.instructions:
                other = two.instructions or told.spec.instructions
                crossed = await written(search.bench, replace(told, other=other), "cross", draw) or crossed
            told = brief(search.bench, path, instructed(mother.state, path, crossed), solved=examples(pool))
            text = await written(search.bench, told, "instructions", 1000 + draw, hint=rng.choice(hints))
            shown = self._mutated([*one.demos, *(demo for demo in two.demos if demo not in one.demos)], pool, rng)
            state = showing(instructed(state, path, text or crossed), {path: shown})
        return search.candidate(state, f"cross with {father.number}", mother)

    def _mutated(self, inherited: Sequence[Demo], pool: Sequence[Demo], rng: random.Random) -> list[Demo]:
        """About as many as a parent has: one more, one less or the same, in a new order."""
        count = max(0, min(self.demos, len(inherited) // 2 + rng.choice((-1, 0, 1, 1))))
        fresh = [demo for demo in pool if demo not in inherited]
        drawn = rng.sample(list(inherited), min(count, len(inherited)))
        if fresh and drawn and rng.random() < 0.5:
            drawn[rng.randrange(len(drawn))] = rng.choice(fresh)
        drawn += rng.sample(fresh, min(len(fresh), count - len(drawn)))
        rng.shuffle(drawn)
        return drawn

    def _drawn(self, pool: Sequence[Demo], rng: random.Random) -> list[Demo]:
        return rng.sample(list(pool), min(len(pool), rng.randint(0, self.demos)))

    async def _raced(self, search: Search, group: Sequence[Candidate]) -> list[Candidate]:
        """The candidates that were not beaten on the way through val."""
        await search.compare(group, drop=True)
        return [candidate for candidate in group if candidate.fate == "finished"]

    def _fittest(self, search: Search, alive: Sequence[Candidate]) -> list[Candidate]:
        given = max(1, length(search.baseline.state))

        def fitness(candidate: Candidate) -> tuple[Any, ...]:
            longer = length(candidate.state) / given - 1.0
            return candidate.mean - self.penalty * longer, -candidate.number

        return sorted(alive, key=fitness, reverse=True)[: self.population]
