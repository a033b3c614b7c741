"""The search space: named integer choices, and the pure function from choices to a program state."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from declm.demo import Demo
from declm.optimizers.pools import MOST, Pool
from declm.state import PredictorState, ProgramState

COUNTS = (0, 2, 4, 8, 16, 24, MOST)
"""Demo counts that are tried."""

SUBSETS = 8
"""Subsets tried per count: typical, diverse, and random draws."""

NEAR = (0, 4, 8, 16)
"""Numbers of demos that a call may choose by its own inputs; 0 shows the same demos to all calls."""

Choices = Mapping[str, int]


@dataclass(frozen=True)
class Slot:
    """What may change in one predictor: instruction texts (the first is the present one) and demos.

    Outputs named in `closed` may be calibrated, on the given `inputs`. With `near`, each call may also choose
    demos by its own inputs. `moves` are further demo sets, made from one that did well; they stand behind the
    subsets of the pool, whatever the number of demos is.
    """

    path: str
    instructions: tuple[str | None, ...]
    pool: Pool
    counts: tuple[int, ...]
    closed: tuple[str, ...] = ()
    inputs: tuple[Mapping[str, Any], ...] = ()
    near: tuple[int, ...] = (0,)
    moves: tuple[tuple[Demo, ...], ...] = ()

    def sizes(self) -> dict[str, int]:
        """Number of values of each choice, by name; choices with one value are left out."""
        sizes = {f"{self.path}:instructions": len(self.instructions), f"{self.path}:demos": len(self.counts)}
        if len(self.counts) > 1:
            sizes[f"{self.path}:subset"] = SUBSETS + len(self.moves)
        sizes[f"{self.path}:near"] = len(self.near)
        sizes[f"{self.path}:calibrate"] = 2 if self.closed and self.inputs else 1
        return {name: size for name, size in sizes.items() if size > 1}

    def favoured(self) -> tuple[int, int]:
        """Indices of the two numbers of demos to try first.

        The most that show every value of the closed outputs equally often, then the most of all; where these
        are the same, then half of it.
        """
        values, last = self.pool.values, len(self.counts) - 1
        equal = [i for i, count in enumerate(self.counts) if count and values > 1 and count % values == 0]
        first = equal[-1] if equal else last
        half = max(i for i, count in enumerate(self.counts) if 2 * count <= self.counts[first])
        return first, last if first != last else half

    def state(self, base: PredictorState, choices: Choices) -> PredictorState:
        """The predictor state that these choices stand for."""
        text = self.instructions[choices.get(f"{self.path}:instructions", 0)]
        near = self.near[choices.get(f"{self.path}:near", 0)]
        if near:  # biases that are fitted to one prompt would not suit the others
            return base.model_copy(update={"demos": self.pool.demos, "nearest": near, "instructions": text})
        calibrated = choices.get(f"{self.path}:calibrate", 0)
        biases = {key: dict[str, float]() for key in self.closed} if calibrated else base.biases
        demos, nearest = self._demos(base, choices)
        return base.model_copy(update={"demos": demos, "nearest": nearest, "instructions": text, "biases": biases})

    def _demos(self, base: PredictorState, choices: Choices) -> tuple[tuple[Demo, ...], int | None]:
        """The demos to show, and how many of them; the present ones for a count of 0."""
        count, subset = self.counts[choices.get(f"{self.path}:demos", 0)], choices.get(f"{self.path}:subset", 0)
        if not count:
            return base.demos, base.nearest
        return self.moves[subset - SUBSETS] if subset >= SUBSETS else self.pool.subset(count, subset), None


@dataclass(frozen=True)
class Space:
    """All slots of a program over its present state."""

    base: ProgramState
    slots: tuple[Slot, ...]

    def sizes(self) -> dict[str, int]:
        """Number of values of each choice, by name."""
        return {name: size for slot in self.slots for name, size in slot.sizes().items()}

    def count(self) -> int:
        """Number of points; different points may stand for the same state."""
        return prod(self.sizes().values())

    def state(self, choices: Choices) -> ProgramState:
        """The program state that these choices stand for; missing choices mean the present state."""
        state = self.base
        for slot in self.slots:
            state = state.with_predictor(slot.path, slot.state(self.base.predictors[slot.path], choices))
        return state

    def openings(self) -> list[dict[str, int]]:
        """Points worth a trial before anything is known: typical demos, in the two numbers that promise most.

        Where outputs can be calibrated, that comes first: for small LMs it is the larger gain. Demos that each call
        chooses by itself come second.
        """
        sizes = self.sizes()
        points: list[dict[str, int]] = []
        near = {f"{slot.path}:near": len(slot.near) - 1 for slot in self.slots if len(slot.near) > 1}
        for rank, calibrated in ((0, 1), (1, 1), (0, 0)):
            point = dict.fromkeys(sizes, 0)
            for slot in self.slots:
                if f"{slot.path}:demos" in sizes:
                    point[f"{slot.path}:demos"] = slot.favoured()[rank]
                if f"{slot.path}:calibrate" in sizes:
                    point[f"{slot.path}:calibrate"] = calibrated
            if point not in points and any(point.values()):
                points.append(point)
        return [*points[:1], *([dict.fromkeys(sizes, 0) | near] if near else []), *points[1:]]

    def beside(self, choices: Choices, tried: Sequence[Choices]) -> list[dict[str, int]]:
        """Points that differ from given choices in one instruction or demo set that was not tried at all."""
        points: list[dict[str, int]] = []
        for slot in self.slots:
            texts = {f"{slot.path}:instructions": range(1, len(slot.instructions))}
            sets = {f"{slot.path}:subset": range(SUBSETS, SUBSETS + len(slot.moves))}
            for name, values in (texts | sets).items():
                known = {point.get(name) for point in tried}
                points += [{**choices, name: value} for value in values if value not in known]
        return points

    def inputs(self) -> dict[str, tuple[Mapping[str, Any], ...]]:
        """Inputs to calibrate on, by predictor path."""
        return {slot.path: slot.inputs for slot in self.slots}

    def others(self, seed: int) -> list[dict[str, int]]:
        """Every point but the present program and the openings, in a random order: for tiny spaces."""
        sizes, known = self.sizes(), self.openings()
        points = [dict(zip(sizes, values, strict=True)) for values in product(*map(range, sizes.values()))]
        rest = [point for point in points if any(point.values()) and point not in known]
        random.Random(f"declm:{seed}:points").shuffle(rest)
        return rest


def demo_counts(pool: Pool, limit: int) -> tuple[int, ...]:
    """The counts of `COUNTS` that the pool and the limit allow, in order; always has 0.

    Where outputs have few values there are two more: one demo of each value, and the most that show every
    value equally often. Small models favour what they have been shown most. A fifth of the pool stays out
    of these, so that there are rows left to confirm the winner on.
    """
    most, values = min(limit, len(pool.demos)), pool.values
    room = min(most, len(pool.demos) * 4 // 5)
    equal = {values, room // values * values} if 1 < values <= room else set[int]()
    return tuple(sorted({n for n in COUNTS if n <= most} | equal))


def near_counts(pool: Pool, limit: int) -> tuple[int, ...]:
    """The numbers of near demos worth a trial: those that leave at least as many in the pool; always has 0."""
    return tuple(count for count in NEAR if count <= limit and 2 * count <= len(pool.demos))


def moved(demos: Sequence[Demo], pool: Pool, count: int, seed: str) -> list[tuple[Demo, ...]]:
    """Sets near a good one: a quarter of the demos exchanged for some with the same closed outputs, in a new order."""
    rng, made = random.Random(f"declm:{seed}:moves"), list[tuple[Demo, ...]]()
    for _ in range(count):
        chosen = list(demos)
        for place in rng.sample(range(len(chosen)), max(1, len(chosen) // 4)):
            alike = [demo for demo in pool.alike(chosen[place]) if demo not in chosen]
            if alike:
                chosen[place] = rng.choice(alike)
        rng.shuffle(chosen)
        made.append(tuple(chosen))
    return made


def unique(texts: Sequence[str | None]) -> tuple[str | None, ...]:
    """Drop repeated instruction texts, keeping order."""
    return tuple(dict.fromkeys(texts))
