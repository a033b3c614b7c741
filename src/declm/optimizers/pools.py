"""Demo pools: which demos a predictor may show, and which subsets of them are worth a trial."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from declm.demo import Demo
from declm.likeness import Vector, among, cosine, text_of
from declm.text import canonical

MOST = 32
"""Demos that a predictor shows at most."""


@dataclass(frozen=True)
class Pool:
    """The demos that one predictor may show.

    Args:
        demos: all of them, each row once.
        closed: keys of outputs with few values (labels, booleans); subsets are balanced over them.
    """

    demos: tuple[Demo, ...]
    closed: tuple[str, ...] = ()
    _rankings: dict[int, tuple[tuple[Demo, ...], ...]] = field(
        default_factory=dict[int, tuple[tuple[Demo, ...], ...]], init=False, repr=False, compare=False
    )

    def subset(self, count: int, index: int) -> tuple[Demo, ...]:
        """Choose `count` demos; the same arguments give the same demos in the same order.

        Index 0 takes the most typical demos, 1 the most diverse, higher ones random draws. All are
        balanced over the values of the closed outputs, and then shuffled: small models continue
        a label sequence that repeats, whatever the question is.
        """
        if count <= 0:
            return ()
        queues = [list(queue) for queue in self._ranked(index)]
        rng = random.Random(f"declm:{index}:{count}")  # a reproducible draw, no secret
        rng.shuffle(queues)
        chosen: list[Demo] = []
        for turn in range(max(map(len, queues), default=0)):
            chosen += [queue[turn] for queue in queues if turn < len(queue)]
        chosen = chosen[:count]
        rng.shuffle(chosen)
        return tuple(chosen)

    def alike(self, demo: Demo) -> list[Demo]:
        """The demos with the same values of the closed outputs as one of them."""
        for group in self._groups:
            if demo in group:
                return group
        return []

    @cached_property
    def values(self) -> int:
        """How many different values the closed outputs have; 1 if there are none."""
        return len(self._groups)

    @cached_property
    def _groups(self) -> list[list[Demo]]:
        groups: dict[str, list[Demo]] = {}
        for demo in self.demos:
            key = canonical([demo.outputs.get(name) for name in self.closed])
            groups.setdefault(key, []).append(demo)
        return [groups[key] for key in sorted(groups)]

    @cached_property
    def _vectors(self) -> dict[int, Vector]:
        return dict(zip(map(id, self.demos), among(self.demos).vectors, strict=True))

    def _ranked(self, index: int) -> tuple[tuple[Demo, ...], ...]:
        """The groups, each in the order in which this index takes its demos."""
        known = self._rankings.get(index)
        if known is None:
            known = self._rankings[index] = tuple(tuple(self._order(group, index)) for group in self._groups)
        return known

    def _order(self, group: Sequence[Demo], index: int) -> list[Demo]:
        if index == 0:
            centre = _mean([self._vectors[id(d)] for d in group])
            return sorted(group, key=lambda d: -cosine(self._vectors[id(d)], centre))
        if index == 1:
            return self._spread(group)
        drawn = list(group)
        random.Random(f"declm:{index}:{len(group)}").shuffle(drawn)
        return drawn

    def _spread(self, group: Sequence[Demo]) -> list[Demo]:
        """Farthest-first: each next demo is the least similar to those already taken."""
        rest = sorted(group, key=lambda d: -len(text_of(d.inputs)))
        taken = rest[:1]
        near = {id(d): cosine(self._vectors[id(d)], self._vectors[id(taken[0])]) for d in rest[1:]}
        rest = rest[1:]
        while rest and len(taken) < MOST:
            best = min(rest, key=lambda d: near[id(d)])
            rest.remove(best)
            taken.append(best)
            for d in rest:
                near[id(d)] = max(near[id(d)], cosine(self._vectors[id(d)], self._vectors[id(best)]))
        return taken


def _mean(group: Sequence[Vector]) -> Vector:
    total: Counter[str] = Counter()
    for vector in group:
        for word, value in vector.items():
            total[word] += value  # type: ignore[assignment]  # Counter is typed for ints, and adds floats
    return total
