"""Confirmation rows: what is left of train to test a winner on, after a search has used the rest."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from pydantic import BaseModel

from declm.optimizers.base import Problem
from declm.optimizers.candidates import Candidate
from declm.optimizers.proposals import leaks
from declm.optimizers.race import Scores, mean, paired
from declm.specs import row_hash
from declm.state import ProgramState

CONFIRM_SHARE = 0.2
"""Share of the budget held back for the confirmation rows."""

CONFIRM_ROWS = 100
"""Confirmation rows at most."""

FINALISTS = 3
"""Candidates at most that are compared once more, on the confirmation rows."""


def finalists(best: Candidate, finished: Sequence[Candidate]) -> list[Candidate]:
    """The best candidate, and the next ones that it leads by no more than the standard error of that lead."""
    close = [candidate for candidate in finished if candidate is not best and _is_close(best.scores, candidate.scores)]
    close.sort(key=lambda candidate: candidate.mean, reverse=True)
    return [best, *close[: FINALISTS - 1]]


def _is_close(best: Scores, other: Scores) -> bool:
    gaps = [a - b for a, b in zip(*paired(best, other), strict=True)]
    if len(gaps) < 2:
        return False
    lead = sum(gaps) / len(gaps)
    return lead <= math.sqrt(sum((gap - lead) ** 2 for gap in gaps) / (len(gaps) * (len(gaps) - 1)))


def ahead(rivals: Sequence[Scores]) -> int:
    """Which one has the highest mean over the rows that all have a score for; the first of equals."""
    shared = [row for row in zip(*rivals, strict=True) if None not in row]
    means = [mean(scores) for scores in zip(*shared, strict=True)] or [0.0]
    return max(range(len(means)), key=means.__getitem__)


def unseen(problem: Problem[Any], winners: Sequence[ProgramState], harvested: AbstractSet[str]) -> list[BaseModel]:
    """Spare rows of val, then rows of train, in one random order, that no winner shows as demos or quotes.

    Harvested rows are no test either: those that the given program got right became demos, so it would
    be measured on what it gets wrong.
    """
    # Where calls choose among all rows, none would be left; a row is then tested without itself.
    states = [state for winner in winners for state in winner.predictors.values()]
    shown = {demo.row for state in states if not state.nearest for demo in state.demos}
    texts = {state.instructions for state in states if state.instructions}
    rows = [row for row in problem.train if row_hash(row) not in {*shown, *harvested}]
    rows = [row for row in rows if not any(leaks(text, [row]) for text in texts)]
    random.Random(f"declm:{problem.seed}:confirm").shuffle(rows)
    return [*problem.spare, *rows]
