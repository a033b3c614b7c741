"""`Demo`: one worked example of a predictor, with where it came from."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Demo(BaseModel):
    """Inputs and outputs of one predictor call, as JSON values by key.

    `outputs` may hold a `reasoning` that the signature does not declare, and may lack outputs that
    nobody labelled. `source` says who made it: a labelled row, a traced run that passed the metric,
    or the user. `row` is the content hash of the row that it stems from, so that a search can keep
    it away from that very row; `score` is the metric's value for the run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: dict[str, Any]
    outputs: dict[str, Any]
    source: Literal["labeled", "bootstrapped", "manual"] = "manual"
    row: str = ""
    score: float | None = None
