"""Acceptance: is the best candidate better than the baseline, or the luckiest of many?

Two independent pieces of evidence are combined. On val, where the winner was chosen, its advantage is
corrected for the choice (max-statistic resampling over all candidates, raced-out ones included). On
confirmation rows, which played no part in the choice, a plain one-sided paired test is valid; its mid-p
is taken, since the p of a few 0/1 rows without a win is 1, as if they spoke against the candidate.
Sources: Stouffer's weighted z for the combination (Whitlock 2005, doi 10.1111/j.1420-9101.2005.00917.x),
Lancaster (1961), Significance tests in discrete distributions, for the mid-p.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from declm.evaluation.statistics import best_of_many, paired_p_value
from declm.optimizers.race import Scores, mean, paired

LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Evidence:
    """Scores of the winner and of the baseline on the confirmation rows, which chose it among `rivals`."""

    winner: Scores = ()
    baseline: Scores = ()
    rivals: int = 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of the test.

    `p_value` combines `val_p` (corrected for the choice) and `confirm_p` (mid-p; None without further
    rows), all one-sided; `gain` is the mean difference on all rows used.
    """

    p_value: float
    val_p: float
    val_rows: int
    confirm_p: float | None
    confirm_rows: int
    gain: float

    @property
    def significant(self) -> bool:
        """Whether the gain is above noise at the 5 % level."""
        return self.p_value < LEVEL


def judge(
    baseline: Scores,
    candidates: Sequence[Scores],
    winner: int,
    confirm: Evidence,
    seed: int,
    *,
    resamples: int = 4000,
) -> Verdict:
    """Test candidate number `winner` against the baseline.

    Args:
        baseline: scores on val; None where a row was not scored.
        candidates: scores on val of all candidates tried, None for rows that they did not see.
        winner: index into `candidates`.
        confirm: what the confirmation rows say; may be empty.
        seed: of the resampling.
        resamples: how many are drawn; the smallest p on val is `1 / (resamples + 1)`.
    """
    val_p = best_of_many(baseline, candidates, seed=seed, resamples=resamples)[winner]
    mine, theirs = paired(candidates[winner], baseline)
    tuned, plain = paired(confirm.winner, confirm.baseline)
    both = [*mine, *tuned], [*theirs, *plain]
    gain = mean(both[0]) - mean(both[1]) if both[0] else 0.0
    if not tuned:
        return Verdict(val_p, val_p, len(mine), None, 0, gain)
    confirm_p = 1.0 - (1.0 - _mid_p(tuned, plain)) ** confirm.rivals  # the best of several (Sidak 1967)
    return Verdict(_stouffer(val_p, len(mine), confirm_p, len(tuned)), val_p, len(mine), confirm_p, len(tuned), gain)


def _mid_p(tuned: Sequence[float], plain: Sequence[float]) -> float:
    """The one-sided p with the outcome itself counted by half; 0.5 where nothing differs."""
    return (paired_p_value(tuned, plain, "greater") + 1.0 - paired_p_value(plain, tuned, "greater")) / 2.0


def _stouffer(first: float, first_rows: int, second: float, second_rows: int) -> float:
    normal = NormalDist()
    a, b = math.sqrt(first_rows), math.sqrt(second_rows)
    z = a * _z(normal, first) + b * _z(normal, second)
    return 1.0 - normal.cdf(z / math.hypot(a, b))


def _z(normal: NormalDist, p: float) -> float:
    return normal.inv_cdf(1.0 - min(max(p, 1e-9), 1.0 - 1e-9))
