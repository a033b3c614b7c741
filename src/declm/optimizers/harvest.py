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

from pydantic import BaseModel, ValidationError

from declm.demo import Demo
from declm.errors import LMError, TooManyErrors
from declm.optimizers.bench import Bench, Step, Traced
from declm.optimizers.pools import Pool
from declm.optimizers.proposals import Example
from declm.optimizers.race import Scores
from declm.specs import Spec, row_hash, spec
from declm.state import Stateful
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


async def harvest(bench: Bench, level: float, share: float) -> Harvest:
    """Run the teacher over train until every predictor has enough demos.

    A run passes with a score of `level` or more. Stops early when `share` of the budget is used, or
    when the provider fails too often. Cost: at most `ROUNDS * len(train)` runs.
    """
    rows, found = bench.problem.train, Harvest()
    free = all(_complete(p, labeled(p, rows)) for p in bench.predictors.values())
    order = list(range(len(rows)))
    random.Random(f"declm:{bench.problem.seed}:harvest").shuffle(order)  # a reproducible draw
    if free:
        order = order[:LOOK]
    try:
        for sample in range(1 if free else ROUNDS):
            order = await _pass(bench, order, sample, level, share, found)
    except (TooManyErrors, LMError) as error:
        bench.troubles.append(error.message)
    return found


async def _pass(bench: Bench, order: list[int], sample: int, level: float, share: float, found: Harvest) -> list[int]:
    """One pass over rows (by index) in blocks; returns those that did not pass."""
    rows, size = bench.problem.train, max(8, bench.concurrency)
    failed: list[int] = []
    for start in range(0, len(order), size):
        if _enough(bench, found) or not bench.affords(size, share):
            return failed
        block = order[start : start + size]
        for index, run in zip(block, await bench.traced([rows[i] for i in block], sample), strict=True):
            if run is None:
                continue
            if run.score >= level:
                _take(rows[index], run, found)
            else:
                failed.append(index)
                _learn(rows[index], run, found)
    return failed


def _take(row: BaseModel, run: Traced, found: Harvest) -> None:
    """Keep every step of a passing run as a demo."""
    for step in run.steps:
        demo = Demo(inputs=step.inputs, outputs=step.outputs, source="bootstrapped", row=row_hash(row), score=run.score)
        found.keep(step.path, demo, Example(step.inputs, step.outputs, {}))


def _learn(row: BaseModel, run: Traced, found: Harvest) -> None:
    """Keep every step of a failing run for the proposer, with the gold outputs that it missed."""
    for step in run.steps:
        found.failed.setdefault(step.path, []).append(lesson(row, step, run.feedback))


def lesson(row: BaseModel, step: Step, feedback: str) -> Example:
    """A call with the gold outputs that it missed, and the metric's words on its run."""
    gold = _values(row) if step.outputs else spec(type(row)).dump(row)[1]
    expected = {k: v for k, v in gold.items() if not step.outputs or (k in step.outputs and v != step.outputs[k])}
    return Example(step.inputs, step.outputs, expected, feedback)


def _enough(bench: Bench, found: Harvest) -> bool:
    wanted = bench.problem.max_demos
    return all(len(found.bootstrapped.get(path, ())) >= wanted for path in bench.predictors)


def labeled(predictor: Stateful, rows: Sequence[BaseModel]) -> list[Demo]:
    """Demos that the rows' own labels give this predictor, without any call.

    There are none for a predictor with a sensitive field: demos are saved with the program.
    """
    inputs, outputs = predictor.spec.inputs, predictor.spec.outputs
    needed = [key for key, f in inputs.items() if f.required]
    demos: list[Demo] = []
    for row in rows if not predictor.spec.sensitive else ():
        values = _values(row)
        answers = {key: values[key] for key in outputs if key in values}
        shown = {key: values[key] for key in inputs if key in values}
        own = isinstance(row, predictor.spec.cls)
        if answers and all(key in values for key in needed) and (own or _fits(predictor.spec, {**shown, **answers})):
            demos.append(Demo(inputs=shown, outputs=answers, source="labeled", row=row_hash(row), score=1.0))
    return demos


def _fits(of: Spec[Any], values: Mapping[str, Any]) -> bool:
    """Whether the values of a row of another class have the predictor's types too, not just its names."""
    try:
        of.cls.model_validate_json(canonical(values))
    except ValidationError:
        return False
    return True


def _complete(predictor: Stateful, demos: Sequence[Demo]) -> bool:
    """Whether labels alone show this predictor everything that it has to write."""
    return predictor.reasoning_key is None and bool(demos) and predictor.spec.outputs.keys() <= demos[0].outputs.keys()


def pools(bench: Bench, found: Harvest) -> dict[str, Pool]:
    """One pool per predictor: labelled demos where they are complete, else bootstrapped ones first."""
    rows = bench.problem.train
    made: dict[str, Pool] = {}
    for path, predictor in bench.predictors.items():
        own, traced = labeled(predictor, rows), found.bootstrapped.get(path, [])
        complete = _complete(predictor, own)
        first, second = (own, traced) if complete else (traced, own)
        inputs = [demo.inputs for demo in first]
        if complete or len(traced) < bench.problem.max_demos // 2:
            first = [*first, *(demo for demo in second if demo.inputs not in inputs)]
        made[path] = Pool(tuple(first), varied(predictor.spec, first))
    return made


def level(baseline: Scores) -> float:
    """The score from which a run is worth imitating: 1, or the baseline's upper quartile."""
    known = sorted(score for score in baseline if score is not None)
    if all(score in (0.0, 1.0) for score in known):
        return 1.0
    return max(0.5, known[(3 * len(known)) // 4])


def examples(demos: Sequence[Demo]) -> list[Example]:
    """Demos as solved examples for the proposer."""
    return [Example(demo.inputs, demo.outputs, {}) for demo in demos]


def varied(of: Spec[Any], demos: Sequence[Demo]) -> tuple[str, ...]:
    """Outputs with few values, over which subsets are balanced."""
    keys: list[str] = []
    for key in of.outputs:
        values = {canonical(demo.outputs.get(key)) for demo in demos}
        if 1 < len(values) <= max(2, len(demos) // 2) and all(len(value) <= 80 for value in values):
            keys.append(key)
    return tuple(keys)


def _values(row: BaseModel) -> Mapping[str, Any]:
    known = spec(type(row))
    inputs, outputs = known.dump(row)
    return {**inputs, **outputs}
