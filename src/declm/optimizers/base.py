"""What optimizers take and return: `Problem`, `Optimized`, and the `Optimizer` protocol."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel

from declm import protocols
from declm.errors import UsageError
from declm.module import Module
from declm.optimizers.reporting import SearchReport
from declm.usage import Budget, Usage

if TYPE_CHECKING:
    import optuna

M = TypeVar("M", bound=Module)

Accept = Literal["significant", "best"]


@dataclass(frozen=True)
class Problem(Generic[M]):
    """One optimization: the program, its rows and metric, and the limits.

    `train` gives demonstrations and examples; `val` gives the scores that the search compares. The
    `teacher` has the program's predictors, with the program's or another LM. `numbers` maps the
    content hash of a row to its index in the list that the user gave. `stop` is set when the user
    presses Ctrl-C, right before the search is cancelled: it should then return what it has. `spare` are rows of
    val that the budget does not pay for comparing candidates on; the winner may be confirmed on them. `notes`
    say what the user should know of the search, such as that.
    """

    program: M
    train: Sequence[BaseModel]
    val: Sequence[BaseModel]
    metric: Callable[..., Any]
    budget: Budget
    teacher: Module
    proposer: protocols.LM | None = None
    seed: int = 0
    accept: Accept = "significant"
    max_demos: int = 32
    concurrency: int | None = None
    name: str | None = None
    progress: bool | None = None
    numbers: Mapping[str, int] = field(default_factory=dict[str, int])
    spare: Sequence[BaseModel] = ()
    notes: tuple[str, ...] = ()
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def hidden(self) -> list[BaseModel]:
        """Rows that nothing in a prompt may be made from."""
        return [*self.val, *self.spare]


@dataclass(frozen=True)
class Optimized(Generic[M]):
    """The result of a search.

    Args:
        program: the best program, or the given one if no candidate was significantly better.
        score: its mean score on val, in [0, 1].
        baseline: the given program's mean score on val.
        report: trials, prompt differences, the acceptance test, cost; prints and displays.
        study: the Optuna study.
        usage: everything that was spent, by all roles.
    """

    program: M
    score: float
    baseline: float
    report: SearchReport
    study: optuna.Study
    usage: Usage

    def __repr__(self) -> str:
        return f"Optimized(score={self.score:.3f}, baseline={self.baseline:.3f})\n{self.report}"


def at_least(optimizer: str, **values: tuple[int | None, int]) -> None:
    """Check an optimizer's arguments, given by name with the least that each may be.

    Raises:
        UsageError: one is less, or no whole number.
    """
    for name, (value, least) in values.items():
        if value is not None and (not isinstance(value, int) or value < least):  # pyright: ignore[reportUnnecessaryIsInstance]  # notebooks are not type-checked
            raise UsageError(f"{optimizer}({name}={value!r}) must be {least} or more")


class Optimizer(Protocol):
    """Maps a problem to a better program. Implementations see states and scores, never prompts."""

    async def run(self, problem: Problem[M]) -> Optimized[M]:
        """Search within the budget; raise only what makes the whole search impossible."""
        ...
