"""What a search may choose from: harvested demos and proposed instructions, put together as a `Space`."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from declm import loops
from declm.errors import LMError, TooManyErrors
from declm.optimizers.bench import Bench
from declm.optimizers.calibration import closed_outputs
from declm.optimizers.harvest import LOOK, Harvest, examples, harvest, labeled, lesson, level, pools
from declm.optimizers.pools import Pool
from declm.optimizers.proposals import Example
from declm.optimizers.race import Scores
from declm.optimizers.spaces import Slot, Space, demo_counts, moved, near_counts, unique
from declm.optimizers.writing import brief, proposed, written
from declm.state import ProgramState

HARVEST_SHARE = 0.3
"""Share of the budget that bootstrapping may use."""

MOVES = 3
"""Demo sets that are made from the best one, per predictor."""

PROMPT_SHARE = 0.5
"""Share of the context window that demos may fill."""


async def assemble(bench: Bench, baseline: Scores, proposals: int) -> Space:
    """Harvest demos and ask for `proposals` instructions per predictor.

    Args:
        bench: runs the program.
        baseline: the given program's scores on val, which say what counts as a good run.
        proposals: instruction variants per predictor; 0 keeps the present ones.

    Raises:
        BudgetExceeded: a limit was reached.
    """
    problem = bench.problem
    found = await harvest(bench, level(baseline), HARVEST_SHARE)
    made = pools(bench, found)
    texts = await loops.together(_instructions(bench, found, path, proposals) for path in bench.predictors)
    slots = tuple(
        Slot(
            path,
            text,
            pool,
            demo_counts(pool, _limit(bench, pool)),
            closed_outputs(bench.predictors[path]),
            _inputs(found, path, pool),
            near_counts(pool, _limit(bench, pool)) if bench.is_remote else (0,),
        )
        for (path, pool), text in zip(made.items(), texts, strict=True)
    )
    return Space(problem.program.state, slots)


async def grown(bench: Bench, space: Space, best: ProgramState, proposals: int, generation: int) -> Space:
    """A larger space around the best state so far: instructions from reflection on its failures, and demo moves.

    Each generation (from 0) looks at other rows and draws anew, also where the best state is the same.
    Cost: `LOOK` runs, and `proposals` texts per predictor.

    Raises:
        BudgetExceeded: a limit was reached.
    """
    failed = await _failures(bench, best, generation) if proposals else {}
    slots: list[Slot] = []
    for slot in space.slots:
        own = best.predictors[slot.path]
        told = brief(bench, slot.path, best, failed=failed.get(slot.path, ()))
        draws = range(generation * proposals, (generation + 1) * proposals) if told.failed else ()
        texts = await loops.together(written(bench, told, "reflect", draw) for draw in draws)
        shown = (
            []
            if own.nearest or not own.demos
            else moved(own.demos, slot.pool, MOVES, f"{bench.problem.seed}:{generation}")
        )
        slots.append(
            replace(
                slot,
                instructions=unique([*slot.instructions, *(text for text in texts if text)]),
                moves=(*slot.moves, *shown),
            )
        )
    return Space(space.base, tuple(slots))


async def _failures(bench: Bench, best: ProgramState, generation: int) -> dict[str, list[Example]]:
    """What the predictors did in runs of train rows under the best state that fell short."""
    rows = list(bench.problem.train)
    random.Random(f"declm:{bench.problem.seed}:failures:{generation}").shuffle(rows)
    found: dict[str, list[Example]] = {}
    try:
        runs = await bench.traced(rows[:LOOK], 0, best, by_teacher=False)
    except (TooManyErrors, LMError) as error:
        bench.troubles.append(f"no reflection: {error.message}")
        return found
    for row, run in zip(rows, runs, strict=False):
        if run is not None and run.score < 1.0:
            for step in (*run.steps, *run.broken):
                found.setdefault(step.path, []).append(lesson(row, step, run.feedback))
    return found


def _inputs(found: Harvest, path: str, pool: Pool) -> tuple[Mapping[str, Any], ...]:
    """Inputs that a predictor has met, each once: their labels are not needed."""
    met = [demo.inputs for demo in pool.demos]
    failed = (dict(example.inputs) for example in found.failed.get(path, ()))
    return (*met, *(inputs for inputs in failed if inputs not in met))


def _limit(bench: Bench, pool: Pool) -> int:
    """How many demos fit: the asked maximum, and a share of the context window."""
    window, most = bench.context_tokens, bench.problem.max_demos
    if window is None or not pool.demos:
        return most
    longest = max(len(demo.model_dump_json()) for demo in pool.demos) / 3.0
    return min(most, int(window * PROMPT_SHARE / longest))


async def _instructions(bench: Bench, found: Harvest, path: str, proposals: int) -> tuple[str | None, ...]:
    """The instructions to choose from for one predictor, the present ones first."""
    given = bench.problem.program.state
    solved = [*found.solved.get(path, []), *examples(labeled(bench.predictors[path], bench.problem.train))]
    told = brief(bench, path, given, solved=solved, failed=found.failed.get(path, []))
    known = given.predictors[path].instructions
    if not (told.solved or told.failed):
        return (known,)
    return unique([known, *await proposed(bench, told, proposals)])
