"""`BetterTogether`: several optimizers in a row, each going on from what the one before has found.

Source: Soylu et al. 2024 (arXiv 2407.10930), who alternate prompts and weights; the plan here takes any optimizers.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from declm.errors import BudgetExceeded, LMError, TooManyErrors, UsageError
from declm.optimizers.acceptance import Evidence, Verdict, judge
from declm.optimizers.base import M, Optimized, Optimizer, Problem
from declm.optimizers.budgets import left_of, usage_of
from declm.optimizers.race import padded
from declm.optimizers.reporting import SearchReport
from declm.optimizers.study import Study
from declm.optimizers.trials import Trial


@dataclass(frozen=True)
class BetterTogether:
    """Run a plan of optimizers; the best program of any step is returned, if it beats the given one.

    Args:
        plan: the optimizers, in order.

    Every step may spend what the ones before have left of the budget. Cost: that of the steps.
    """

    plan: Sequence[Optimizer]

    def __post_init__(self) -> None:
        if not self.plan:
            raise UsageError("BetterTogether(plan=[]) must name at least one optimizer")

    async def run(self, problem: Problem[M]) -> Optimized[M]:
        """Run the steps; see `Optimizer`.

        Raises:
            BudgetExceeded: the budget does not even cover the given program on val.
        """
        began_s, steps = time.monotonic(), list[Optimized[M]]()
        program, stopped, troubles = problem.program, None, list[str]()
        for number, optimizer in enumerate(self.plan):
            rows = list(problem.train)
            random.Random(f"declm:{problem.seed}:together:{number}").shuffle(rows)
            left = left_of(problem.budget, steps, time.monotonic() - began_s)
            part = replace(problem, program=program, train=rows, budget=left, accept="best")
            if problem.teacher is problem.program:
                part = replace(part, teacher=program)
            try:
                steps.append(await optimizer.run(part))
            except (BudgetExceeded, TooManyErrors, LMError) as error:
                if not steps:
                    raise
                stopped = error.limit if isinstance(error, BudgetExceeded) else None
                troubles.append(f"step {number + 1} could not begin: {error.message}")
                break
            program, stopped = steps[-1].program, steps[-1].report.stopped
            if problem.stop.is_set():
                break
        return _joined(problem, steps, stopped, troubles)


def _joined(
    problem: Problem[M], steps: Sequence[Optimized[M]], stopped: str | None, troubles: Sequence[str]
) -> Optimized[M]:
    """One result of all steps: the best of them against the program that was given to the first."""
    trials = _trials(steps)
    given, rest = trials[0], trials[1:]
    winner = max(steps, key=lambda step: step.score)  # the earlier one of equals
    best = next((t for t in rest if t.state.hash == winner.program.state.hash and t.fate == "finished"), given)
    verdict: Verdict | None = None
    if best is not given:
        scores = [padded(t.scores, len(problem.val)) for t in rest]
        verdict = judge(given.scores, scores, rest.index(best), Evidence(), problem.seed)
    accepted = verdict is not None and (problem.accept == "best" or verdict.significant)
    report = SearchReport(
        program=type(problem.program).__name__,
        trials=tuple(trials),
        baseline=given.score,
        best=best.score,
        best_number=best.number,
        rows=len(problem.val),
        accepted=accepted,
        verdict=verdict,
        stopped=stopped,
        troubles=(*(trouble for step in steps for trouble in step.report.troubles), *troubles),
        differences=tuple(given.state.diff(best.state)),
        usage=usage_of(steps),
    )
    return Optimized(
        program=winner.program if accepted else problem.program,
        score=best.score if accepted else given.score,
        baseline=given.score,
        report=report,
        study=Study.of(trials, problem.seed).optuna,
        usage=usage_of(steps),
    )


def _trials(steps: Sequence[Optimized[Any]]) -> list[Trial]:
    """The trials of all steps under new numbers; a step's first is the best of the one before."""
    found: list[Trial] = []
    for number, step in enumerate(steps, 1):
        offset = len(found)
        for trial in step.report.trials[1 if found else 0 :]:
            parent = None if trial.parent is None else trial.parent + max(0, offset - 1)
            origin = f"step {number}: {trial.origin}" if trial.origin else f"step {number}"
            found.append(replace(trial, number=len(found), parent=parent, origin="" if not found else origin))
    return found
