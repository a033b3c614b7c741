"""Harvest: worked examples for every predictor, from labelled rows and from traced runs that pass.

Intermediate steps need no labels: whatever a predictor said inside a run whose final result the
metric accepts becomes a demo of that predictor. Source: BootstrapFewShot of DSPy (arXiv 2310.03714,
section 3); ours runs rows concurrently, keeps every call of a predictor, and remembers what it paid for.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from declm.demo import Demo
from declm.optimizers.bench import Bench, Traced
from declm.optimizers.pools import Pool
from declm.optimizers.proposals import Example
from declm.specs import Spec, row_hash, spec
from declm.state import ProgramState, Stateful
from declm.text import canonical

LOOK = 16
"""Rows that are run even where labels make demos for free: the proposer learns from their failures."""

ROUNDS = 2
"""Tries per row: the first as the program is, later ones at temperature 1."""


@dataclass
class Harvest:
    """What was found per predictor path."""

    bootstrapped: dict[str, list[Demo]] = field(default_factory=dict[str, list[Demo]])
    solved: dict[str, list[Example]] = field(default_factory=dict[str, list[Example]])
    failed: dict[str, list[Example]] = field(default_factory=dict[str, list[Example]])

    def keep(self, path: str, demo: Demo, example: Example) -> None:
        """Add a call of a passing run, unless its inputs are known."""
        known = self.bootstrapped.setdefault(path, [])
        if all(demo.inputs != other.inputs for other in known):
            known.append(demo)
            self.solved.setdefault(path, []).append(example)


async def harvest(bench: Bench, rows: Sequence[BaseModel], share: float) -> Harvest:
    """Run the teacher over rows until every predictor has enough demos.

    Stops early when `share` of the calls budget is used. Cost: at most `ROUNDS * len(rows)` runs.
    """
    found = Harvest()
    found_labels = {path: labeled(p, rows) for path, p in bench.predictors.items()}
    free = all(_complete(p, found_labels[path]) for path, p in bench.predictors.items())
    order = list(range(len(rows)))
    random.Random(f"declm:{bench.seed}:harvest").shuffle(order)  # noqa: S311  # a reproducible draw
    if free:
        order = order[:LOOK]
    for round_ in range(1 if free else ROUNDS):
        order = await _round(bench, rows, order, round_, share, found)
    return found


async def _round(
    bench: Bench, rows: Sequence[BaseModel], order: list[int], round_: int, share: float, found: Harvest
) -> list[int]:
    """One pass over the rows in blocks; returns the rows that did not pass."""
    failed, size = list[int](), max(8, bench.concurrency)
    for start in range(0, len(order), size):
        if _enough(bench, found) or not bench.affords(size, share):
            return failed
        block = order[start : start + size]
        for index, run in zip(block, await bench.traced([rows[i] for i in block], round_), strict=True):
            if run is None:
                continue
            if not run.passed:
                failed.append(index)
            _take(rows[index], run, found)
    return failed


def _take(row: BaseModel, run: Traced, found: Harvest) -> None:
    gold = _values(row)
    for call in run.calls:
        expected = {k: v for k, v in gold.items() if k in call.outputs and v != call.outputs[k]}
        example = Example(call.inputs, call.outputs, {} if run.passed else expected, run.feedback)
        if run.passed:
            demo = Demo(
                inputs=call.inputs, outputs=call.outputs, source="bootstrapped", row=row_hash(row), score=run.score
            )
            found.keep(call.path, demo, example)
        else:
            found.failed.setdefault(call.path, []).append(example)


def _enough(bench: Bench, found: Harvest) -> bool:
    return all(len(found.bootstrapped.get(path, ())) >= bench.max_demos for path in bench.predictors)


def labeled(predictor: Stateful, rows: Sequence[BaseModel]) -> list[Demo]:
    """Demos that the rows' own labels give this predictor, without any call."""
    inputs, outputs = predictor.spec.inputs, predictor.spec.outputs
    needed = [key for key, f in inputs.items() if f.required]
    demos = list[Demo]()
    for row in rows:
        values = _values(row)
        answers = {key: values[key] for key in outputs if key in values}
        if answers and all(key in values for key in needed):
            shown = {key: values[key] for key in inputs if key in values}
            demos.append(Demo(inputs=shown, outputs=answers, source="labeled", row=row_hash(row), score=1.0))
    return demos


def _complete(predictor: Stateful, demos: Sequence[Demo]) -> bool:
    """Whether labels alone show this predictor everything that it has to write."""
    return predictor.reasoning_key is None and bool(demos) and predictor.spec.outputs.keys() <= demos[0].outputs.keys()


def pools(bench: Bench, found: Harvest, rows: Sequence[BaseModel]) -> dict[str, Pool]:
    """One pool per predictor: labelled demos where they are complete, else bootstrapped ones first."""
    made = dict[str, Pool]()
    for path, predictor in bench.predictors.items():
        own, traced = labeled(predictor, rows), found.bootstrapped.get(path, [])
        complete = _complete(predictor, own)
        first, second = (own, traced) if complete else (traced, own)
        inputs = [demo.inputs for demo in first]
        if complete or len(traced) < bench.max_demos // 2:
            first = [*first, *(demo for demo in second if demo.inputs not in inputs)]
        made[path] = Pool(tuple(first), _closed(predictor.spec, first))
    return made


def examples(demos: Sequence[Demo]) -> list[Example]:
    """Demos as solved examples for the proposer."""
    return [Example(demo.inputs, demo.outputs, {}) for demo in demos]


def _closed(of: Spec[Any], demos: Sequence[Demo]) -> tuple[str, ...]:
    """Outputs with few values, over which subsets are balanced."""
    keys = list[str]()
    for key in of.outputs:
        values = {canonical(demo.outputs.get(key)) for demo in demos}
        if 1 < len(values) <= max(2, len(demos) // 2) and all(len(value) <= 80 for value in values):
            keys.append(key)
    return tuple(keys)


def _values(row: BaseModel) -> Mapping[str, Any]:
    known = spec(type(row))
    inputs, outputs = known.dump(row)
    return {**inputs, **outputs}


def without_row(state: ProgramState, row: str) -> ProgramState:
    """The state with no demo that stems from this row, so that no row is shown its own answer."""
    for path, predictor in state.predictors.items():
        kept = tuple(demo for demo in predictor.demos if demo.row != row)
        if len(kept) < len(predictor.demos):
            state = state.with_predictor(path, predictor.model_copy(update={"demos": kept}))
    return state
