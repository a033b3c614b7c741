"""`RowResult`: what became of one row, and the rules that decide it."""

from __future__ import annotations

import traceback
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar, cast

from declm.errors import (
    ContentFiltered,
    DeclmError,
    LMError,
    MissingExtra,
    ParseError,
    ProgramError,
    StateError,
    TemplateError,
    ToolError,
    TruncatedOutput,
    UsageError,
)
from declm.reports.values import is_object, scrubbed
from declm.score import Score
from declm.text import clip, closest
from declm.trace import Call
from declm.usage import NOTHING, Usage

G_co = TypeVar("G_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)

Outcome = Literal["scored", "failed", "crashed", "unscored"]

FAILURES = (ParseError, TruncatedOutput, ContentFiltered, ToolError)
"""The program's own failures: a better prompt may avoid them, so they score 0."""

MISUSE = (UsageError, TemplateError, StateError, MissingExtra)
"""Faults of the code or the setup; before a row's first LM call they concern every row."""


def _nothing() -> dict[str, Usage]:
    return {}


@dataclass(frozen=True, slots=True)
class RowResult(Generic[G_co, R_co]):
    """One row, run and scored.

    Args:
        index: position in the data, from 0.
        row_hash: content hash of the gold row.
        gold: the row as given.
        output: what the program returned; None if it failed.
        score: in [0, 1]; None if the row could not be scored.
        feedback: the metric's words, or why the row failed.
        error: why there is no output or no score.
        usage: what the row's LM calls used, those of the metric included.
        seconds: time that the program took, without waiting for its turn.
        trace: the tree of calls, where it was asked for.
        restored: taken from a ledger; nothing was paid for in this run.
        usage_by_predictor: what each predictor of the program used, by path; what a metric used, and
            attempts that failed, stand in `usage` alone.
        sample: which run of the row this is, from 0, where each was run several times.
    """

    index: int
    row_hash: str
    gold: G_co
    output: R_co | None
    score: float | None
    feedback: str = ""
    error: DeclmError | None = None
    usage: Usage = NOTHING
    seconds: float = 0.0
    trace: Call | None = None
    restored: bool = False
    usage_by_predictor: Mapping[str, Usage] = field(default_factory=_nothing)
    sample: int = 0

    @property
    def outcome(self) -> Outcome:
        """How the row ended.

        `scored`: the metric judged an output. `failed`: the program's own failure (unreadable, cut or
        withheld reply, failed tool), score 0. `crashed`: its code raised, score 0. `unscored`: the
        provider failed, so the row says nothing about the program.
        """
        if self.error is None:
            return "scored"
        if self.score is None:
            return "unscored"
        return "failed" if isinstance(self.error, FAILURES) else "crashed"

    @property
    def is_error(self) -> bool:
        """Whether this should not have happened: crashed or unscored."""
        return self.outcome in ("crashed", "unscored")

    def __repr__(self) -> str:
        shown = "-" if self.score is None else f"{self.score:.3g}"
        words = clip(scrubbed(self.feedback, self.gold, self.output), 80)
        note = f", {words!r}" if words else ""
        return f"RowResult({self.index}, {self.outcome}, score={shown}{note})"


@dataclass(slots=True)
class Ran:
    """What running and scoring one row has given so far; the runner fills it in.

    `answered` says that the program returned `output`; an `error` beside it is then the metric's LM.
    """

    call: Call
    answered: bool = False
    output: Any = None
    error: DeclmError | None = None
    score: Score | None = None
    seconds: float = 0.0
    usage: Usage = NOTHING
    usage_by_predictor: Mapping[str, Usage] = field(default_factory=_nothing)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing: a score may be, where the metric has changed since."""
        return not (self.answered and self.score is None)

    def fail(self, error: DeclmError) -> None:
        """Note that the program failed, with the score that follows."""
        self.error = error
        value = score_of_failure(error)
        self.score = None if value is None else Score(value, error.message)


def score_of_failure(error: DeclmError) -> float | None:
    """0 for failures of the program, None where the provider is to blame."""
    return None if isinstance(error, LMError) and not isinstance(error, FAILURES) else 0.0


def typed(error: Exception) -> DeclmError:
    """The error itself if it is declm's, else a `ProgramError` chained from it."""
    if isinstance(error, DeclmError):
        return error
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    made = ProgramError(
        f"the program raised {type(error).__name__}: {clip(str(error), 500)}", kind=type(error).__name__, traceback=text
    )
    made.__cause__ = error
    return made


def field_of(gold: Any, name: str) -> Hashable:
    """The value of a gold row's field, by its attribute's name or as a saved report has it.

    Raises:
        UsageError: there is no such field, or its value can't be a key.
    """
    values: Mapping[str, Any] = gold if is_object(gold) else vars(cast(object, gold))
    if name not in values:
        near = closest(name, list(values))
        hint = f"; did you mean {near!r}?" if near else f": they have {', '.join(map(repr, values))}"
        raise UsageError(f"the gold rows have no field {name!r}{hint}")
    value = values[name]
    if not isinstance(value, Hashable):
        raise UsageError(f"{name!r} holds a {type(value).__name__}; pass a function that makes a key of a row")
    return value
