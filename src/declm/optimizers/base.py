"""What optimizers take and return: `Problem`, `Optimized`, and the `Optimizer` protocol."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel

from declm import protocols
from declm.errors import UsageError
from declm.module import Module
from declm.optimizers.costs import Cost, Limits
from declm.optimizers.reporting import SearchReport
from declm.optimizers.trials import Trial
from declm.usage import Budget, Usage

if TYPE_CHECKING:
    import optuna

M = TypeVar("M", bound=Module)

Accept = Literal["significant", "best"]

Objective = Literal["tokens", "usd", "seconds"]

_COSTS: Mapping[Objective, Callable[[Trial], float]] = {
    "tokens": lambda trial: trial.cost.tokens,
    "usd": lambda trial: trial.cost.usd,
    "seconds": lambda trial: trial.cost.seconds,
}


@dataclass(frozen=True)
class Problem(Generic[M]):
    """One optimization: the program, its rows and metric, and the limits.

    `train` gives demonstrations and examples; `val` gives the scores that the search compares. The
    `teacher` has the program's predictors, with the program's or another LM. `numbers` maps the
    content hash of a row to its index in the list that the user gave. `stop` is set when the user
    presses Ctrl-C, right before the search is cancelled: it should then return what it has. `spare` are rows of
    val that the budget does not pay for comparing candidates on; the winner may be confirmed on them. `notes`
    say what the user should know of the search, such as that. `limits` hold for one run of the program returned.
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
    limits: Limits = field(default_factory=Limits)
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
        variants: with `optimize(lms=...)`, the result for each LM by the name of its model; each of their programs
            has its LM.
    """

    program: M
    score: float
    baseline: float
    report: SearchReport
    study: optuna.Study
    usage: Usage
    variants: Mapping[str, Optimized[M]] = field(default_factory=dict[str, "Optimized[M]"])

    def pareto(self, objective: Objective = "tokens") -> tuple[Trial, ...]:
        """The trials scored on all of val that no other one beats in score and cost, the cheapest first.

        Args:
            objective: the cost of one run: `tokens`, `usd` or `seconds`.
        """
        cost = _COSTS[objective]
        found: list[Trial] = []
        for trial in sorted(self._whole, key=lambda t: (cost(t), -t.score)):
            if not found or trial.score > found[-1].score:
                found.append(trial)
        return tuple(found)

    def pick(
        self, *, max_tokens: float | None = None, max_usd: float | None = None, max_seconds: float | None = None
    ) -> M:
        """The program with the highest score on val among those that were scored whole and cost no more per run.

        What it gains was not tested; the returned `program` is the one that was. Where there are `variants`, it comes
        from the LM that is best within the limits, and has that LM.

        Raises:
            UsageError: no program is that cheap; says what the cheapest one costs.
        """
        limits = Limits(max_tokens, max_usd, max_seconds)
        tried = [(one, trial) for one in self.variants.values() or [self] for trial in one._whole]
        cheap = [(one, trial) for one, trial in tried if limits.allow(trial.cost)]
        if not cheap:
            least = min((trial.cost for _, trial in tried), key=lambda cost: cost.tokens)
            raise UsageError(
                f"no program of this search keeps {limits} a run; the cheapest takes "
                f"{least.tokens:.0f} tokens, ${least.usd:.6f} and {least.seconds:.3f} s"
            )
        one, trial = max(cheap, key=lambda pair: (pair[1].score, -pair[1].cost.tokens))
        return one.program.with_state(trial.state)

    @property
    def _whole(self) -> list[Trial]:
        """The trials that were scored on all of val."""
        return [t for t in self.report.trials if t.fate in ("baseline", "finished") and not math.isnan(t.score)]

    @property
    def table(self) -> str:
        """The LMs of `variants` side by side: scores on val, and what a run of each one's program costs."""
        width = max(map(len, self.variants), default=2)
        lines = [f"{'LM':<{width}}  {'given':>6}  {'found':>6}  {'tokens':>7}  {'USD':>9}  {'seconds':>7}"]
        for model, one in self.variants.items():
            state = one.program.state
            cost = next((t.cost for t in one.report.trials if t.state.hash == state.hash), Cost())
            lines.append(
                f"{model:<{width}}  {one.baseline:>6.3f}  {one.score:>6.3f}  "
                f"{cost.tokens:>7.0f}  {cost.usd:>9.6f}  {cost.seconds:>7.3f}"
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        if self.variants:
            return f"Optimized(score={self.score:.3f}, {len(self.variants)} LMs)\n{self.table}"
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
