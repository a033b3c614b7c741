"""Racing: stop a candidate as soon as the rows seen show that it loses to the incumbent.

Rows are seen in one common order, so scores are paired. Tests are looked at in blocks only: a test
after every row would stop far more of the equally good candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from declm.evaluation.statistics import paired_p_value

FIRST = 16
GROWTH = 1.5
LEVEL = 0.05

Scores = Sequence[float | None]


def blocks(rows: int) -> list[tuple[int, int]]:
    """Half-open spans of rows: the first look is after 16 rows, each further one after half as many again.

    Growing spans keep more rows in flight, and test a candidate that holds its own less often.
    """
    edges = [0]
    at = float(FIRST)
    while at < rows:
        edges.append(int(at))
        at *= GROWTH
    return list(pairwise([*edges, rows])) if rows else []


def loses(candidate: Scores, incumbent: Scores) -> bool:
    """Whether the candidate is worse on the rows seen by both, at the 5 % level (one-sided)."""
    mine, theirs = paired(candidate, incumbent)
    return bool(mine) and paired_p_value(theirs, mine, "greater") < LEVEL


def paired(candidate: Scores, incumbent: Scores) -> tuple[list[float], list[float]]:
    """The scores of the rows that both have a score for, in order."""
    both = [(a, b) for a, b in zip(candidate, incumbent, strict=False) if a is not None and b is not None]
    return [a for a, _ in both], [b for _, b in both]


def mean(scores: Scores) -> float:
    """Mean over the scored rows; nan if there are none."""
    known = [s for s in scores if s is not None]
    return sum(known) / len(known) if known else float("nan")


def estimate(candidate: Scores, incumbent: Scores) -> float:
    """The score on all rows that the rows seen suggest, within [0, 1].

    The incumbent's known score corrects for how hard the rows seen happen to be.
    """
    mine, theirs = paired(candidate, incumbent)
    if not mine:
        return 0.0
    return min(1.0, max(0.0, mean(incumbent) + mean(mine) - mean(theirs)))


def padded(scores: Scores, rows: int) -> list[float | None]:
    """Scores with None for the rows that were not reached."""
    return [*scores, *[None] * (rows - len(scores))]
