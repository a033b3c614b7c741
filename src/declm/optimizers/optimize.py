"""`optimize()`: check everything, then let an optimizer search."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

from declm import lm as lms
from declm import loops, protocols
from declm.arguments import arguments
from declm.errors import UsageError
from declm.module import Module
from declm.optimizers.base import Accept, M, Optimized, Optimizer, Problem
from declm.optimizers.search import JointSearch
from declm.specs import row_hash
from declm.state import predictors
from declm.usage import Budget

G = TypeVar("G", bound=BaseModel)

VAL_SHARE = 0.5
"""Share of train that becomes val where none is given."""


def optimize(
    program: M,
    *,
    train: Sequence[G],
    val: Sequence[G] | None = None,
    metric: Callable[[G, Any], Any],
    budget: Budget | None = None,
    optimizer: Optimizer | None = None,
    name: str | None = None,
    seed: int = 0,
    teacher: Module | protocols.LM | str | None = None,
    proposer: protocols.LM | str | None = None,
    accept: Accept = "significant",
    max_demos: int = 32,
    concurrency: int | None = None,
    progress: bool | None = None,
) -> Optimized[M]:
    """Find instructions and demonstrations that make the program score higher.

    Rows need labels for the final result only: what intermediate steps said inside runs that pass
    the metric becomes their demonstrations. Nothing is paid for before rows, metric, LMs and budget
    have been checked and an estimate has been printed.

    Args:
        program: any module or predictor; it is not changed.
        train: rows for demonstrations and examples.
        val: rows for scores, never shown to the LM as examples; None splits train.
        metric: `(gold, got) -> bool | float | Score`, higher is better; may be async.
        budget: hard limits for everything the search spends; None means 24 trials.
        optimizer: the algorithm; None means `JointSearch()`.
        name: makes the search resumable: the same call after a crash pays for no finished row again.
        seed: the same seed, rows and replies give the same result.
        teacher: program or LM that makes the demonstrations; default the program itself.
        proposer: LM that writes instructions; default the program's own.
        accept: `"significant"` returns the given program unless the gain is above noise,
            `"best"` returns the highest score.
        max_demos: demonstrations per predictor at most.
        concurrency: calls in flight; default what suits the LM.
        progress: False prints nothing; None shows a bar in terminals and notebooks.

    Raises:
        UsageError: rows, metric, program or LMs do not fit; nothing has been spent.
        MetricError: the metric raised or returned no score.
        BudgetExceeded: the budget does not cover the first scoring of the given program.
        AuthError, UnknownModel, ...: the LM can't be used at all.
    """
    return loops.run(
        aoptimize(
            program,
            train=train,
            val=val,
            metric=metric,
            budget=budget,
            optimizer=optimizer,
            name=name,
            seed=seed,
            teacher=teacher,
            proposer=proposer,
            accept=accept,
            max_demos=max_demos,
            concurrency=concurrency,
            progress=progress,
        )
    )


async def aoptimize(
    program: M,
    *,
    train: Sequence[G],
    val: Sequence[G] | None = None,
    metric: Callable[[G, Any], Any],
    budget: Budget | None = None,
    optimizer: Optimizer | None = None,
    name: str | None = None,
    seed: int = 0,
    teacher: Module | protocols.LM | str | None = None,
    proposer: protocols.LM | str | None = None,
    accept: Accept = "significant",
    max_demos: int = 32,
    concurrency: int | None = None,
    progress: bool | None = None,
) -> Optimized[M]:
    """The same as `optimize`, for use under a running event loop."""
    _check_program(program)
    if accept not in ("significant", "best"):
        raise UsageError(f"accept={accept!r} is neither 'significant' nor 'best'")
    if max_demos < 0:
        raise UsageError(f"max_demos={max_demos} must be 0 or more")
    train, val = _split(train, val, seed)
    wanted = arguments(program)
    wanted.check(train)
    wanted.check(val)
    problem = Problem(
        program=program,
        train=train,
        val=val,
        metric=metric,
        budget=budget or Budget(),
        teacher=_teacher(program, teacher),
        teacher_lm=lms.resolve(teacher) if isinstance(teacher, str) or protocols.is_lm(teacher) else None,
        proposer=lms.resolve(proposer) if proposer is not None else None,
        seed=seed,
        accept=accept,
        max_demos=max_demos,
        concurrency=concurrency,
        name=name,
        progress=progress,
    )
    return await (optimizer or JointSearch()).run(problem)


def _check_program(program: Module) -> None:
    if not isinstance(program, Module):  # pyright: ignore[reportUnnecessaryIsInstance]  # notebooks are not type-checked
        raise UsageError(f"optimize() takes a module or a predictor, not {type(program).__name__}")
    if not predictors(program):
        raise UsageError(
            f"{type(program).__name__} has no predictors to tune; keep them as attributes of the module "
            "(self.ask = dm.Predict(...)), in lists, tuples or dicts"
        )


def _split(train: Sequence[G], val: Sequence[G] | None, seed: int) -> tuple[list[G], list[G]]:
    """Drop repeated rows, and give val its own rows in one fixed random order."""
    rows = {row_hash(row): row for row in train}
    if not rows:
        raise UsageError("train is empty: give it some rows with labels")
    order = random.Random(f"declm:{seed}:split")  # noqa: S311  # a reproducible draw
    if val is None:
        keys = list(rows)
        order.shuffle(keys)
        cut = max(1, round(len(keys) * VAL_SHARE))
        if len(keys) < 2:
            raise UsageError("one row can't be both train and val: give more rows, or val=")
        return [rows[key] for key in keys[cut:]], [rows[key] for key in keys[:cut]]
    scored = {row_hash(row): row for row in val}
    if not scored:
        raise UsageError("val is empty: give it some rows with labels, or leave it out to split train")
    shared = rows.keys() & scored.keys()
    if shared:
        raise UsageError(
            f"{len(shared)} of the {len(scored)} rows of val are in train too; scores on rows that were shown "
            "as demonstrations mean nothing: take them out of one of the two"
        )
    keys = list(scored)
    order.shuffle(keys)
    return list(rows.values()), [scored[key] for key in keys]


def _teacher(program: Module, teacher: Module | protocols.LM | str | None) -> Module:
    if not isinstance(teacher, Module):
        return program
    mine, theirs = predictors(program), predictors(teacher)
    for path, predictor in mine.items():
        if path not in theirs or theirs[path].spec.fingerprint != predictor.spec.fingerprint:
            raise UsageError(
                f"the teacher has no predictor {path!r} with the program's signature; "
                f"its predictors are {', '.join(theirs)}"
            )
    return teacher

