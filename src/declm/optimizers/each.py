"""One program for several LMs: searched for each of them, and kept in one state."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from declm import protocols
from declm.errors import BudgetExceeded, LMError, TooManyErrors
from declm.optimizers.base import M, Optimized, Optimizer, Problem
from declm.optimizers.budgets import left_of, share_of, usage_of
from declm.predictors import Predict
from declm.state import ProgramState, Stateful, exchange, predictors


async def for_each(problem: Problem[M], lms: Sequence[protocols.LM], optimizer: Optimizer) -> Optimized[M]:
    """Search for each LM in turn, within equal parts of what is left of the budget.

    The program returned has a variant of every predictor for every LM. Score, baseline and report are those of
    the LM on which it is best; `variants` has all.

    An LM that can't be searched for is left out, and the report's troubles say so. Ctrl-C leaves out the rest.

    Raises:
        BudgetExceeded: (or TooManyErrors, LMError) there is no result for any LM; of the last one.
    """
    began_s, found = time.monotonic(), dict[str, Optimized[M]]()
    troubles: list[str] = []
    for number, lm in enumerate(lms):
        left = left_of(problem.budget, list(found.values()), time.monotonic() - began_s)
        program = with_lm(problem.program, lm)
        teacher = program if problem.teacher is problem.program else problem.teacher
        part = replace(problem, program=program, teacher=teacher, budget=share_of(left, len(lms) - number))
        try:
            found[lm.model] = await optimizer.run(part)
        except (BudgetExceeded, TooManyErrors, LMError) as error:
            if number == len(lms) - 1 and not found:
                raise
            troubles.append(f"nothing was found for {lm.model}: {error.message}")
        if problem.stop.is_set():
            break
    best = max(found.values(), key=lambda one: one.score)
    best = replace(best, report=replace(best.report, troubles=(*best.report.troubles, *troubles)))
    state = _united(problem.program.state, {model: one.program.state for model, one in found.items()})
    return replace(
        best, program=problem.program.with_state(state), usage=usage_of(list(found.values())), variants=found
    )


def with_lm(program: M, lm: protocols.LM) -> M:
    """The program with this LM for all of its predictors, and with the states that hold for it."""
    mine = predictors(program).values()
    parts: dict[Stateful, Stateful] = {p: p.with_lm(lm) for p in mine if isinstance(p, Predict)}
    made = exchange(program, parts)
    return made.with_state(resolved(made.state, dict.fromkeys(made.state.predictors, lm.model)))


def resolved(state: ProgramState, models: Mapping[str, str]) -> ProgramState:
    """The state that holds for the model of each predictor, without the variants for others."""
    for path, own in state.predictors.items():
        if own.variants:
            chosen = own.variant(models.get(path, ""))
            state = state.with_predictor(path, chosen.model_copy(update={"variants": {}}))
    return state


def _united(base: ProgramState, by_model: Mapping[str, ProgramState]) -> ProgramState:
    """The given state with a variant for every model."""
    for path, own in base.predictors.items():
        variants = {model: state.predictors[path] for model, state in by_model.items()}
        base = base.with_predictor(path, own.model_copy(update={"variants": {**own.variants, **variants}}))
    return base
