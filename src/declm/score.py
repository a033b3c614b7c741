"""`Score`: what a metric may return besides a bool or a float."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

from declm.errors import MetricError


@dataclass(frozen=True, slots=True)
class Score:
    """A value in [0, 1], higher is better, with words on what was wrong.

    The feedback is shown in reports and given to the LM that proposes better instructions.
    """

    value: float
    feedback: str = ""

    def __float__(self) -> float:
        return self.value


def as_score(result: object) -> Score:
    """Read a metric's result.

    Raises:
        MetricError: it is no bool, number or `Score`, or not in [0, 1].
    """
    if isinstance(result, Score):
        value, feedback = result.value, result.feedback
    elif isinstance(result, (bool, int, float)):
        value, feedback = float(result), ""
    elif hasattr(result, "__float__") and hasattr(result, "dtype"):
        value, feedback = float(cast(Any, result)), ""  # a numpy scalar
    else:
        raise MetricError(
            f"the metric returned {result!r} of type {type(result).__name__}; return a bool, "
            "a float in [0, 1] or dm.Score(value, feedback)"
        )
    if not math.isfinite(value) or not 0.0 <= value <= 1.0:
        raise MetricError(f"the metric returned {value!r}; scores lie in [0, 1], higher is better")
    return Score(float(value), feedback)
