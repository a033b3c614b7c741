"""`optimize()`: check everything, then let an optimizer search."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from pydantic import BaseModel

from declm import loops, protocols
from declm.arguments import arguments
from declm.errors import Interrupted, UsageError
from declm.lm import resolve
from declm.module import Module
from declm.optimizers.base import Accept, M, Optimized, Optimizer, Problem
from declm.optimizers.budgets import share_of
from declm.optimizers.costs import Limits
from declm.optimizers.each import for_each, resolved, with_lm
from declm.optimizers.forecasts import affordable
from declm.optimizers.search import JointSearch
from declm.predictors import Predict
from declm.specs import row_hash
from declm.state import predictors
from declm.text import Url
from declm.usage import Budget

G = TypeVar("G", bound=BaseModel)

VAL_SHARE = 0.5
"""Share of train that becomes val where none is given."""

PATIENCE_S = 10.0
"""Seconds that Ctrl-C leaves at most to the test of the best so far; a second Ctrl-C ends it at once."""


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
    limits: Limits | None = None,
    lms: Sequence[protocols.LM | str] = (),
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
        limits: what one run of the returned program may cost on average; dearer candidates are dropped early.
        lms: search for each of these LMs, with equal parts of the budget; the program returned holds what was found
            for each, and takes that of the LM in force. `best.variants` and `best.table` compare them.
        concurrency: calls in flight; default what suits the LM.
        progress: False prints nothing; None shows a bar in terminals and notebooks.

    Ctrl-C ends the search and returns the best so far, as a used-up budget does.

    Raises:
        UsageError: rows, metric, program or LMs do not fit; nothing has been spent.
        MetricError: the metric raised or returned no score.
        BudgetExceeded: the budget does not cover the first scoring of the given program.
        TooManyErrors: most rows of that scoring failed.
        AuthError: (and UnknownModel, QuotaExceeded) the LM can't be used at all.
        Interrupted: (a KeyboardInterrupt) Ctrl-C came before the given program was scored.

    Example:
        >>> from declm import Input, Output, Predict, Signature
        >>> from declm.testing import FunctionLM
        >>> class Parity(Signature):
        ...     number: int = Input()
        ...     answer: str = Output()
        >>> def student(request):  # is right only where a demonstration has shown how
        ...     number = int(request.messages[-1].content.split()[-1])
        ...     is_shown = len(request.messages) > 2
        ...     return '{"answer": "%s"}' % (["even", "odd"][number % 2] if is_shown else "even")
        >>> rows = [Parity(number=n, answer=["even", "odd"][n % 2]) for n in range(80)]
        >>> program = Predict(Parity, lm=FunctionLM(student))
        >>> def correct(gold, got):
        ...     return gold.answer == got.answer
        >>> demos_only = JointSearch(proposals=0)
        >>> best = optimize(
        ...     program, train=rows[:40], val=rows[40:], metric=correct, optimizer=demos_only, progress=False
        ... )
        >>> best.baseline, best.score
        (0.5, 1.0)
        >>> best.program(number=7).answer
        'odd'
    """
    problem = _problem(
        program,
        train,
        val,
        metric,
        budget=budget,
        name=name,
        seed=seed,
        teacher=teacher,
        proposer=proposer,
        accept=accept,
        max_demos=max_demos,
        limits=limits,
        concurrency=concurrency,
        progress=progress,
        parts=len(lms) or 1,
    )
    search = _search(problem, lms, optimizer or JointSearch())
    try:
        return loops.run_apart(search, patience_s=PATIENCE_S, stop=problem.stop)
    except KeyboardInterrupt:
        rest = f"; the ledger {Url(name)!r} keeps what is done: the same call again runs the rest" if name else ""
        raise Interrupted(f"stopped before there was a result{rest}") from None


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
    limits: Limits | None = None,
    lms: Sequence[protocols.LM | str] = (),
    concurrency: int | None = None,
    progress: bool | None = None,
) -> Optimized[M]:
    """The same as `optimize`, on the running event loop; a cancelled search raises CancelledError."""
    problem = _problem(
        program,
        train,
        val,
        metric,
        budget=budget,
        name=name,
        seed=seed,
        teacher=teacher,
        proposer=proposer,
        accept=accept,
        max_demos=max_demos,
        limits=limits,
        concurrency=concurrency,
        progress=progress,
        parts=len(lms) or 1,
    )
    return await _search(problem, lms, optimizer or JointSearch())


def _search(
    problem: Problem[M], lms: Sequence[protocols.LM | str], optimizer: Optimizer
) -> Coroutine[Any, Any, Optimized[M]]:
    """The search for the program's own LMs, or for each of others."""
    if not lms:
        return optimizer.run(problem)
    models = [resolve(lm) for lm in lms]
    names = [lm.model for lm in models]
    if len(set(names)) < len(names):
        raise UsageError(f"lms names an LM twice: {', '.join(names)}; the program could not tell its variants apart")
    return for_each(problem, models, optimizer)


def _problem(
    program: M,
    train: Sequence[G],
    val: Sequence[G] | None,
    metric: Callable[[G, Any], Any],
    *,
    budget: Budget | None,
    name: str | None,
    seed: int,
    teacher: Module | protocols.LM | str | None,
    proposer: protocols.LM | str | None,
    accept: Accept,
    max_demos: int,
    limits: Limits | None,
    concurrency: int | None,
    progress: bool | None,
    parts: int,
) -> Problem[M]:
    """Check what can be checked without running anything."""
    _check_program(program)
    if parts == 1:
        program = _for_its_lm(program)
    _check_options(accept, max_demos, seed)
    train, val, numbers = _split(train, val, seed)
    wanted = arguments(program)
    wanted.check(train)
    wanted.check(val)
    most = budget or Budget()
    used = affordable(len(val), share_of(most, parts), len(predictors(program)))
    paid = f"{share_of(most, parts).calls} calls pay for comparing candidates on {used} of the {len(val)} rows of val"
    return Problem(
        program=program,
        train=train,
        val=val[:used],
        metric=metric,
        budget=most,
        teacher=_teacher(program, teacher),
        proposer=resolve(proposer) if proposer is not None else None,
        seed=seed,
        accept=accept,
        max_demos=max_demos,
        limits=limits or Limits(),
        concurrency=concurrency,
        name=name,
        progress=progress,
        numbers=numbers,
        spare=val[used:],
        notes=(paid,) if used < len(val) else (),
    )


def _for_its_lm(program: M) -> M:
    """The program with the states that hold for its LMs: only those can be searched for."""
    if not any(own.variants for own in program.state.predictors.values()):
        return program
    models: dict[str, str] = {}
    for path, predictor in predictors(program).items():
        if isinstance(predictor, Predict):
            with suppress(UsageError):  # `forward` sets the LM, which only a call will show
                models[path] = predictor.lm.model
    return program.with_state(resolved(program.state, models))


def _check_program(program: Module) -> None:
    if not isinstance(program, Module):  # pyright: ignore[reportUnnecessaryIsInstance]  # notebooks are not type-checked
        raise UsageError(f"optimize() takes a module or a predictor, not {type(program).__name__}")
    if not predictors(program):
        raise UsageError(
            f"{type(program).__name__} has no predictors to tune; keep them as attributes of the module "
            "(self.ask = dm.Predict(...)), in lists, tuples or dicts"
        )


def _check_options(accept: str, max_demos: int, seed: int) -> None:
    if accept not in ("significant", "best"):
        raise UsageError(f"accept={accept!r} is neither 'significant' nor 'best'")
    if max_demos < 0:
        raise UsageError(f"max_demos={max_demos} must be 0 or more")
    if not isinstance(seed, int) or not 0 <= seed < 2**32:  # pyright: ignore[reportUnnecessaryIsInstance]  # as above
        raise UsageError(f"seed={seed!r} must be a whole number from 0 to 2**32 - 1")


def _split(train: Sequence[G], val: Sequence[G] | None, seed: int) -> tuple[list[G], list[G], dict[str, int]]:
    """Drop repeated rows, and give val its own rows in one fixed random order.

    The third part maps the content hash of each row to its index in the list that the user gave.
    """
    numbers: dict[str, int] = {}
    rows = _distinct("train", train, numbers)
    order = random.Random(f"declm:{seed}:split")
    if val is None:
        if len(rows) < 2:
            raise UsageError("one row can't be both train and val: give more rows, or val=")
        keys = list(rows)
        order.shuffle(keys)
        cut = max(1, round(len(keys) * VAL_SHARE))
        return [rows[key] for key in keys[cut:]], [rows[key] for key in keys[:cut]], numbers
    scored = _distinct("val", val, numbers)
    shared = rows.keys() & scored.keys()
    if shared:
        raise UsageError(
            f"{len(shared)} of the {len(scored)} rows of val are in train too; scores on rows that were shown "
            "as demonstrations mean nothing: take them out of one of the two"
        )
    keys = list(scored)
    order.shuffle(keys)
    return list(rows.values()), [scored[key] for key in keys], numbers


def _distinct(name: str, rows: Sequence[G], numbers: dict[str, int]) -> dict[str, G]:
    """The rows by content hash, each once; their indices go into `numbers`."""
    found: dict[str, G] = {}
    for index, row in enumerate(rows):
        if not isinstance(row, BaseModel):  # pyright: ignore[reportUnnecessaryIsInstance]  # as above
            raise UsageError(
                f"{name}[{index}] is a {type(row).__name__}; rows are instances of a signature: "
                "read them with dm.data.read(YourSignature, rows)"
            )
        key = row_hash(row)
        if key not in found:
            found[key], numbers[key] = row, index
    if not found:
        rest = ", or leave it out to split train" if name == "val" else ""
        raise UsageError(f"{name} is empty: give it some rows with labels{rest}")
    return found


def _teacher(program: Module, teacher: Module | protocols.LM | str | None) -> Module:
    """The program that makes demonstrations: the given one, or this one with another LM."""
    if teacher is None:
        return program
    if not isinstance(teacher, Module):
        return with_lm(program, resolve(teacher))
    mine = predictors(program)
    theirs = predictors(teacher)
    for path, predictor in mine.items():
        if path not in theirs or theirs[path].spec.fingerprint != predictor.spec.fingerprint:
            raise UsageError(
                f"the teacher has no predictor {path!r} with the program's signature; "
                f"its predictors are {', '.join(theirs)}"
            )
    return teacher
