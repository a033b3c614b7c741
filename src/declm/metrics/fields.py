"""Metrics that compare fields of the gold row and the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from declm.errors import UsageError
from declm.score import Score
from declm.specs import spec


@dataclass(frozen=True)
class FieldMetric:
    """A metric over named fields; made by `matches` and `accuracy`.

    With `partial`, the share of the fields that are equal counts; else all of them must be.
    """

    fields: tuple[str, ...]
    partial: bool

    def __call__(self, gold: BaseModel, got: object) -> Score:
        """Compare; the feedback names the fields that differ."""
        expected = _outputs(gold)
        names = self.fields or tuple(expected)
        if not names:
            raise UsageError(f"the gold row has no outputs to compare: {gold!r}")
        answered = _outputs(got) if isinstance(got, BaseModel) else dict.fromkeys(names[:1], got)
        wrong = [f"{name} is {answered.get(name)!r}, not {_of(expected, name)!r}" for name in names
                 if name not in answered or answered[name] != _of(expected, name)]  # fmt: skip
        right = len(names) - len(wrong)
        return Score(right / len(names) if self.partial else float(not wrong), "; ".join(wrong))

    def __repr__(self) -> str:
        return f"{'accuracy' if self.partial else 'matches'}({', '.join(map(repr, self.fields))})"


def matches(*fields: str) -> FieldMetric:
    """A metric that is 1.0 if all these fields (without any: all outputs of the gold row) are equal.

    Values are compared with `==`; for free text write a metric with `exact` or `f1`. A program that
    returns a bare value is compared by the first field.

    Example:
        >>> from declm import Input, Output, Signature
        >>> class Triage(Signature):
        ...     ticket: str = Input()
        ...     team: str = Output()
        >>> matches("team")(Triage(ticket="?", team="bugs"), Triage(ticket="?", team="sales"))
        Score(value=0.0, feedback="team is 'sales', not 'bugs'")
    """
    return FieldMetric(fields, partial=False)


def accuracy(*fields: str) -> FieldMetric:
    """The same as `matches`, but the score is the share of the fields that are equal."""
    return FieldMetric(fields, partial=True)


def _outputs(row: BaseModel) -> dict[str, Any]:
    """All values of a row by key; for a signature without its inputs unless asked by name."""
    known = spec(type(row))
    return known.split(row)[1] if known.outputs else dict(vars(row))


def _of(values: dict[str, Any], name: str) -> Any:
    if name not in values:
        raise UsageError(f"the gold row has no output {name!r}; it has {', '.join(map(repr, values)) or 'none'}")
    return values[name]
