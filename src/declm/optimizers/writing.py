"""Texts that a search has written: asked of the proposer, remembered, and kept away from the rows of val."""

from __future__ import annotations

import random
from typing import Any

from declm import loops
from declm.errors import LMError, ParseError
from declm.optimizers.bench import Bench
from declm.optimizers.proposals import Brief, Task, leaks, words, write
from declm.state import ProgramState
from declm.text import digest


def brief(bench: Bench, path: str, state: ProgramState, **known: Any) -> Brief:
    """What a writer is told about a predictor; `known` are the other fields of `Brief`."""
    return Brief(path, tuple(bench.predictors), bench.predictors[path].spec, state.predictors[path], **known)


async def written(
    bench: Bench, of: Brief, task: Task, draw: int, *, hint: str = "", temperature: float | None = None
) -> str | None:
    """One text; None where the proposer failed or it quotes rows of val, which the troubles then say once.

    Raises:
        BudgetExceeded: a limit was reached.
    """
    lm, seed = bench.proposer(of.path), bench.problem.seed
    rng = random.Random(f"declm:{seed}:{task}:{of.path}:{draw}")  # a reproducible draw
    material = of.material(rng, hint)
    key = f"write:{task}:{digest(material)}:{draw}:{temperature}"
    try:
        text: str = await bench.remembered(
            key, lambda: write(lm, task, material, draw=seed * 1000 + draw, temperature=temperature)
        )
    except (LMError, ParseError) as error:
        bench.trouble(f"the proposer wrote nothing for {of.path!r}: {error.message}")
        return None
    if leaks(text, bench.problem.hidden):
        bench.trouble(f"a text proposed for {of.path!r} quoted rows of val and was dropped")
        return None
    return text


async def proposed(bench: Bench, of: Brief, count: int) -> list[str]:
    """So many better instructions at once, each with another hint; fewer where some came to nothing or to the same.

    Raises:
        BudgetExceeded: a limit was reached.
    """
    hints = words("hints")
    asked = (written(bench, of, "instructions", draw, hint=hints[draw % len(hints)]) for draw in range(count))
    return list(dict.fromkeys(text for text in await loops.together(asked) if text))


def instructed(state: ProgramState, path: str, text: str) -> ProgramState:
    """The state with other instructions for one predictor."""
    return state.with_predictor(path, state.predictors[path].model_copy(update={"instructions": text}))
