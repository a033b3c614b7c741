"""Calibration: label biases of a candidate, fitted on inputs alone.

The mean log-probability of each label over a batch of inputs is what the prompt makes the LM believe
before it has read anything in particular; taking it off lets the input decide.
Source: batch calibration (Zhou et al. 2023, arXiv 2309.17249), fitted on train inputs instead of the
test batch, so that single calls can be corrected later.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from declm import loops
from declm.demo import Demo
from declm.errors import InputError, ParseError, TruncatedOutput, UsageError
from declm.module import Prediction
from declm.optimizers.bench import Bench
from declm.predictors import Predict
from declm.state import PredictorState, ProgramState, Stateful, bind
from declm.types import closed_values

INPUTS = 24
"""Inputs that biases are fitted on; each costs one call."""

_LEAST = 1e-9

Inputs = Mapping[str, Any]


def closed_outputs(predictor: Stateful) -> tuple[str, ...]:
    """Keys of the outputs that can be calibrated: closed sets, under an LM that gives log-probabilities."""
    if not isinstance(predictor, Predict):
        return ()
    try:
        able = predictor.lm.capabilities.logprobs and predictor.format_name in ("json", "native")
    except UsageError:
        return ()  # `forward` sets the LM
    return tuple(k for k, f in predictor.spec.outputs.items() if closed_values(f.schema)) if able else ()


def asks(state: PredictorState) -> bool:
    """Whether a state asks for biases that have not been fitted."""
    return bool(state.biases) and not any(state.biases.values())


async def calibrate(bench: Bench, state: ProgramState, inputs: Mapping[str, Sequence[Inputs]]) -> ProgramState:
    """Fit the biases that a candidate asks for.

    Args:
        bench: remembers what has been fitted.
        state: the candidate.
        inputs: per predictor path, inputs to fit on; those shown as demos are left out.

    Cost: at most `INPUTS` calls per predictor that asks.
    """
    for path, own in state.predictors.items():
        if asks(own):
            chosen = _chosen(inputs[path], own.demos, bench.problem.seed)
            key = f"calibrate:{path}:{own.hash}:{INPUTS}"
            biases = await bench.remembered(key, partial(_fit, bench, path, own, chosen))
            state = state.with_predictor(path, own.model_copy(update={"biases": biases}))
    return state


def _chosen(inputs: Sequence[Inputs], demos: Sequence[Demo], seed: int) -> list[Inputs]:
    shown = [demo.inputs for demo in demos]
    free = [given for given in inputs if given not in shown]
    random.Random(f"declm:{seed}:calibrate").shuffle(free)  # a reproducible draw
    return free[:INPUTS]


async def _fit(bench: Bench, path: str, state: PredictorState, inputs: Sequence[Inputs]) -> dict[str, dict[str, float]]:
    gate = asyncio.Semaphore(bench.concurrency)
    predictor: Any = bench.predictors[path]  # a Predict: only those ask

    async def ask(given: Inputs) -> dict[str, dict[str, float]]:
        async with gate:
            with bind({predictor: state}):
                try:
                    run: Prediction[Any] = await predictor.arun(**given)
                    return run.trace.probabilities
                except (ParseError, TruncatedOutput, InputError):
                    return {}  # says nothing about labels

    found = await loops.together(ask(given) for given in inputs)
    return {key: _biases([each[key] for each in found if key in each]) for key in state.biases}


def _biases(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Minus the mean log-probability per label."""
    if not rows:
        return {}
    return {label: round(-sum(math.log(max(row[label], _LEAST)) for row in rows) / len(rows), 4) for label in rows[0]}
