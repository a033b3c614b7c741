"""Confirmation rows: what is left of train to test a winner on, after a search has used the rest."""

from __future__ import annotations

import random
from collections.abc import Set as AbstractSet
from typing import Any

from pydantic import BaseModel

from declm.optimizers.base import Problem
from declm.optimizers.proposals import leaks
from declm.specs import row_hash
from declm.state import ProgramState

CONFIRM_SHARE = 0.2
"""Share of the budget held back for the confirmation rows."""

CONFIRM_ROWS = 100
"""Confirmation rows at most."""


def unseen(problem: Problem[Any], winner: ProgramState, harvested: AbstractSet[str]) -> list[BaseModel]:
    """Spare rows of val, then rows of train, in one random order, that the winner neither shows as demos nor quotes.

    Harvested rows are no test either: those that the given program got right became demos, so it would
    be measured on what it gets wrong.
    """
    # Where calls choose among all rows, none would be left; a row is then tested without itself.
    shown = {demo.row for state in winner.predictors.values() if not state.nearest for demo in state.demos}
    texts = [state.instructions for state in winner.predictors.values() if state.instructions]
    rows = [row for row in problem.train if row_hash(row) not in {*shown, *harvested}]
    rows = [row for row in rows if not any(leaks(text, [row]) for text in texts)]
    random.Random(f"declm:{problem.seed}:confirm").shuffle(rows)
    return [*problem.spare, *rows]
