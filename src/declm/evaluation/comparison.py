"""Two evaluations of the same rows: how far apart they are, and on which rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from declm.errors import UsageError
from declm.evaluation import statistics
from declm.evaluation.results import RowResult
from declm.evaluation.statistics import Interval

G_co = TypeVar("G_co", covariant=True)

Rows = Sequence[RowResult[Any, Any]]


@dataclass(frozen=True)
class Change(Generic[G_co]):
    """A row on which two evaluations differ.

    Args:
        gold: the row.
        first: score of the first one, the mean if the row was run several times.
        second: score of the second one.
    """

    gold: G_co
    first: float
    second: float

    @property
    def difference(self) -> float:
        """First minus second."""
        return self.first - self.second


@dataclass(frozen=True)
class Comparison:
    """Two reports on the same rows; the difference is first minus second.

    Args:
        difference: of the mean scores over the compared rows.
        interval: 95 % interval of the difference.
        p: two-sided probability of a difference this large between equal programs.
        test: which test gave `p`.
        rows: rows that both have scored.
        wins: rows on which the first is better.
        losses: rows on which the second is better.
        skipped: rows that only one of them has scored.
        changes: the rows on which they differ, the greatest losses of the first one first.
    """

    difference: float
    interval: Interval
    p: float
    test: str
    rows: int
    wins: int
    losses: int
    skipped: int
    changes: tuple[Change[Any], ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        low, high = self.interval
        skipped = f", {self.skipped} rows skipped" if self.skipped else ""
        return (
            f"{self.difference:+.3f} (95 % interval {low:+.3f} to {high:+.3f}), p = {self.p:.3g} ({self.test}); "
            f"{self.wins} better, {self.losses} worse, {self.rows - self.wins - self.losses} equal{skipped}"
        )


def compared(first: Rows, second: Rows) -> Comparison:
    """Compare row by row; rows are matched by content.

    Raises:
        UsageError: they have no scored row in common.
    """
    mine, theirs = _by_content(first), _by_content(second)
    common = [key for key in mine if key in theirs]
    if not common:
        raise UsageError("the reports have no scored row in common: evaluate both programs on the same rows")
    pairs = [Change(mine[key][0].gold, mean_score(mine[key]), mean_score(theirs[key])) for key in common]
    found = statistics.compare([pair.first for pair in pairs], [pair.second for pair in pairs])
    return Comparison(
        *found,
        rows=len(common),
        wins=sum(pair.difference > 0 for pair in pairs),
        losses=sum(pair.difference < 0 for pair in pairs),
        skipped=len(mine.keys() ^ theirs.keys()),
        changes=tuple(sorted((p for p in pairs if p.difference), key=lambda pair: pair.difference)),
    )


def by_row(rows: Rows) -> dict[int, list[RowResult[Any, Any]]]:
    """The scored results of each row of the data, by its position; rows without any are left out."""
    found: dict[int, list[RowResult[Any, Any]]] = {}
    for row in rows:
        if row.score is not None:
            found.setdefault(row.index, []).append(row)
    return found


def mean_score(results: Rows) -> float:
    """Of one row, over its scored results."""
    scores = [result.score for result in results if result.score is not None]
    return math.fsum(scores) / len(scores)


def pass_at(results: Rows, k: int, threshold: float) -> float:
    """Chance that at least one of `k` runs of a row passes (arXiv 2107.03374, equation 1); unbiased."""
    n, passed = len(results), _passed(results, threshold)
    return 1.0 - math.comb(n - passed, k) / math.comb(n, k)


def pass_all(results: Rows, k: int, threshold: float) -> float:
    """Chance that each of `k` runs of a row passes (pass^k, arXiv 2406.12045); unbiased."""
    return math.comb(_passed(results, threshold), k) / math.comb(len(results), k)


def _passed(results: Rows, threshold: float) -> int:
    return sum(result.score is not None and result.score >= threshold for result in results)


def _by_content(rows: Rows) -> Mapping[tuple[str, int], list[RowResult[Any, Any]]]:
    """Scored results by content hash; equal rows are told apart by their order."""
    seen = Counter[str]()
    order: dict[int, tuple[str, int]] = {}
    for row in rows:
        if row.index not in order:
            order[row.index] = row.row_hash, seen[row.row_hash]
            seen[row.row_hash] += 1
    return {order[index]: results for index, results in by_row(rows).items()}
