"""`Trial`: one candidate of a search, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from declm.optimizers.costs import Cost
from declm.state import ProgramState

Fate = Literal["baseline", "finished", "raced out", "repeated", "stopped", "outage", "sampled", "too costly"]
"""How a trial ended.

`baseline`: the program as given. `finished`: scored on all rows of val. `raced out`: beaten early.
`repeated`: its choices stand for a state that was tried before, so it cost nothing. `stopped`: the
budget ran out. `outage`: the provider failed, which says nothing about the candidate. `sampled`: scored
on some rows of val only. `too costly`: one run of it costs more than `optimize(limits=...)` allows.
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate that was tried.

    `score` is the mean over the scored ones of the `rows` first rows of val, nan if there are none;
    only a candidate with all rows of val counts as finished. `parent` is the number of the trial that the
    candidate was made from, `origin` says how, where the optimizer makes candidates from candidates.
    `scores` are those of the rows of val, in order, None where there is none; `cost` is that of one run,
    `excess` by how much it passes each limit, as a share.
    """

    number: int
    choices: Mapping[str, int]
    state: ProgramState
    score: float
    rows: int
    fate: Fate
    parent: int | None = None
    origin: str = ""
    scores: tuple[float | None, ...] = ()
    cost: Cost = field(default_factory=Cost)
    excess: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def attributes(self) -> dict[str, str | int]:
        """What a study keeps beside the score."""
        found: dict[str, str | int] = {"rows": self.rows, "fate": self.fate, "state": self.state.hash}
        return {**found, "origin": self.origin} if self.origin else found


def length(state: ProgramState) -> int:
    """About how many characters a state adds to every prompt."""
    total = 0
    for own in state.predictors.values():
        demos = sum(len(demo.model_dump_json()) for demo in own.demos)
        shown = min(1.0, own.nearest / len(own.demos)) if own.nearest and own.demos else 1.0
        rest = own.model_copy(update={"demos": (), "nearest": None}).model_dump_json(exclude_defaults=True)
        total += len(rest) + round(demos * shown)
    return total
