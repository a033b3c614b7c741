"""`Candidate`: a state that a search compares, while it does so; a `Trial` is what remains of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from declm.optimizers.race import mean
from declm.optimizers.trials import Fate
from declm.state import ProgramState


@dataclass
class Candidate:
    """A state to compare; `parent` is the number of the trial that it was made from, `origin` says how."""

    number: int
    state: ProgramState
    choices: Mapping[str, int] = field(default_factory=dict[str, int])
    parent: int | None = None
    origin: str = ""
    scores: list[float | None] = field(default_factory=list[float | None])
    fate: Fate | None = None

    @property
    def mean(self) -> float:
        """Mean over the rows scored so far; nan if there are none."""
        return mean(self.scores)

    @property
    def is_scored(self) -> bool:
        """Whether it has a score for all rows of val that can be trusted."""
        return self.fate in ("baseline", "finished")
