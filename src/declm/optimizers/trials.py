"""`Trial`: one candidate of a search, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from declm.state import ProgramState

Fate = Literal["baseline", "finished", "raced out", "repeated", "stopped", "outage"]
"""How a trial ended.

`baseline`: the program as given. `finished`: scored on all rows of val. `raced out`: beaten early.
`repeated`: its choices stand for a state that was tried before, so it cost nothing. `stopped`: the
budget ran out. `outage`: the provider failed, which says nothing about the candidate.
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate that was tried.

    `score` is the mean over the scored ones of the `rows` first rows of val, nan if there are none;
    only a candidate with all rows of val counts as finished. `parent` is the number of the trial that the
    candidate was made from, `origin` says how, where the optimizer makes candidates from candidates.
    """

    number: int
    choices: Mapping[str, int]
    state: ProgramState
    score: float
    rows: int
    fate: Fate
    parent: int | None = None
    origin: str = ""
