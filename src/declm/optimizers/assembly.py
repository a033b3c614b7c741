"""What a search may choose from: harvested demos and proposed instructions, put together as a `Space`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from declm import loops
from declm.errors import LMError, ParseError
from declm.optimizers.bench import Bench
from declm.optimizers.calibration import closed_outputs
from declm.optimizers.harvest import Harvest, examples, harvest, labeled, level, pools
from declm.optimizers.pools import Pool
from declm.optimizers.proposals import Brief, leaks, propose
from declm.optimizers.race import Scores
from declm.optimizers.spaces import Slot, Space, demo_counts, unique

HARVEST_SHARE = 0.3
"""Share of the budget that bootstrapping may use."""

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
        )
        for (path, pool), text in zip(made.items(), texts, strict=True)
    )
    return Space(problem.program.state, slots)


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
    predictor, present = bench.predictors[path], bench.problem.program.state.predictors[path]
    brief = Brief(
        path=path,
        steps=tuple(bench.predictors),
        spec=predictor.spec,
        state=present,
        solved=[*found.solved.get(path, []), *examples(labeled(predictor, bench.problem.train))],
        failed=found.failed.get(path, []),
    )
    if not proposals or not (brief.solved or brief.failed):
        return (present.instructions,)
    proposed = await _proposed(bench, brief, proposals)
    clean = [text for text in proposed if not leaks(text, bench.problem.val)]
    if len(clean) < len(proposed):
        quoted = len(proposed) - len(clean)
        bench.troubles.append(f"{quoted} of the instructions proposed for {path!r} quoted rows of val and were dropped")
    return unique([present.instructions, *clean])


async def _proposed(bench: Bench, brief: Brief, count: int) -> list[str]:
    """Proposals for one predictor; where the proposer does not answer, the search goes on without."""
    lm, seed = bench.proposer(brief.path), bench.problem.seed
    try:
        kept: list[str] = await bench.remembered(
            f"propose:{brief.path}:{count}", lambda: propose(brief, lm, count, seed)
        )
    except (LMError, ParseError) as error:
        bench.troubles.append(f"no instructions were proposed for {brief.path!r}: {error.message}")
        return []
    return kept
