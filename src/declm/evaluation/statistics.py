"""Intervals and paired tests for scores in [0, 1].

Nothing here knows of rows or reports: functions take sequences of numbers and return numbers. The
tests are paired, since two programs (or two states of one) are always compared on the same rows.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from operator import mul
from statistics import NormalDist
from typing import Literal, NamedTuple

from declm.arrays import exceeded

Alternative = Literal["two-sided", "greater"]
"""`greater` asks whether the first of the pair (or the mean difference) is above; it is one-sided."""

_NORMAL = NormalDist()


class Interval(NamedTuple):
    """Limits of a confidence interval; unpacks as `low, high`."""

    low: float
    high: float


class Paired(NamedTuple):
    """Outcome of a paired comparison: mean difference, its interval, p and the test's name."""

    difference: float
    interval: Interval
    p: float
    test: Literal["exact sign test", "paired t test"]


# --- one sample


def told(p: float) -> str:
    """A p-value in words: `p = 0.0123`, or `p < 0.0001`."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}"


def wilson(successes: float, n: float, level: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion; the whole of [0, 1] for `n = 0`.

    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference.
    """
    return _score_interval(successes / n, n, _normal_quantile(level)) if n else Interval(0.0, 1.0)


def mean_interval(scores: Sequence[float], level: float = 0.95) -> Interval:
    """Interval of the mean of scores in [0, 1].

    For scores that are all 0 or 1 this is Wilson's interval. Graded scores vary less than a
    proportion with the same mean would, as if there were more rows: Wilson's formula is taken with
    that effective number of rows and, since their variance is estimated, Student's quantile. It
    stays in [0, 1], needs no resampling, and covers better than bootstrap percentiles on few rows.
    """
    n = len(scores)
    if not n:
        return Interval(0.0, 1.0)
    mean = math.fsum(scores) / n
    variance = math.fsum((x - mean) ** 2 for x in scores) / n
    if _is_binary(scores) or variance == 0.0 or mean in (0.0, 1.0):  # rounded: some score is next to 0 or 1
        return wilson(mean * n, n, level)
    effective = n * mean * (1.0 - mean) / variance
    return _score_interval(mean, effective, t_quantile((1.0 + level) / 2.0, n - 1))


def _score_interval(mean: float, n: float, z: float) -> Interval:
    scale = 1.0 + z * z / n
    centre = (mean + z * z / (2.0 * n)) / scale
    half = z * math.sqrt(mean * (1.0 - mean) / n + z * z / (4.0 * n * n)) / scale
    # At the ends rounding must not leave the mean outside of its own interval.
    return Interval(max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half)))


# --- two samples on the same rows


def compare(first: Sequence[float], second: Sequence[float], level: float = 0.95) -> Paired:
    """Compare two lists of scores row by row; the difference is first minus second, p two-sided.

    Scores that are all 0 or 1 take the exact sign test (McNemar's) and Newcombe's interval, graded
    ones Student's paired t test.

    Raises:
        ValueError: the lists differ in length or are empty.
    """
    differences, p = _differences(first, second), paired_p_value(first, second)
    mean = math.fsum(differences) / len(differences)
    if _is_binary(first) and _is_binary(second):
        wins, losses = _signs(differences)
        interval = _newcombe(sum(map(mul, first, second)), wins, losses, len(first), level)
        return Paired(mean, interval, p, "exact sign test")
    return Paired(mean, _t_interval(differences, mean, level), p, "paired t test")


def paired_p_value(first: Sequence[float], second: Sequence[float], alternative: Alternative = "two-sided") -> float:
    """P of the exact sign test if all scores are 0 or 1, else of Student's paired t test.

    Raises:
        ValueError: the lists differ in length or are empty.
    """
    differences = _differences(first, second)
    if _is_binary(first) and _is_binary(second):
        return sign_test(*_signs(differences), alternative)
    return t_test(differences, alternative)


def sign_test(wins: int, losses: int, alternative: Alternative = "two-sided") -> float:
    """Exact p of a paired sign test; ties have been left out. Without any win or loss it is 1."""
    n = wins + losses
    if alternative == "greater":
        return _binomial_tail(wins, n)
    return min(1.0, 2.0 * _binomial_tail(max(wins, losses), n))


def t_test(differences: Sequence[float], alternative: Alternative = "two-sided") -> float:
    """P of Student's paired t test on row-by-row differences.

    Differences without any variance leave t undefined: the sign test answers for them.
    """
    n = len(differences)
    mean = math.fsum(differences) / n
    error = _standard_error(differences, mean)
    if not error:
        return sign_test(*_signs(differences), alternative)
    t = mean / error
    if alternative == "greater":
        return t_cdf(-t, n - 1)
    return min(1.0, 2.0 * t_cdf(-abs(t), n - 1))


def best_of_many(
    baseline: Sequence[float | None],
    candidates: Sequence[Sequence[float | None]],
    *,
    resamples: int = 4000,
    seed: int = 0,
) -> list[float]:
    """One-sided p per candidate that it beats the baseline, corrected for having tried many.

    The lists hold one score per row, in the same order; None marks a row that was not scored. The
    statistic of a candidate is its studentized mean difference; its p is the share of resamples in
    which the *largest* statistic among all candidates reaches it. Resamples flip the signs of whole
    rows, so that correlations between candidates are kept (wild bootstrap with Rademacher weights;
    with one candidate and 0/1 scores it is the sign test). The smallest p is `1 / (resamples + 1)`.

    Source: Romano and Wolf (2005), Exact and approximate stepdown methods for multiple hypothesis
    testing, single step; Chernozhukov et al. (2013), arXiv 1212.6906, for the multipliers.

    Raises:
        ValueError: a candidate has another number of rows than the baseline.
    """
    rows = [_scaled(baseline, candidate) for candidate in candidates]
    rng, n = random.Random(seed), len(baseline)
    if not rows or not n:
        return [1.0] * len(rows)
    counts = exceeded(rows, [rng.getrandbits(n) for _ in range(resamples)], 1e-9)
    return [(count + 1) / (resamples + 1) for count in counts]


def _scaled(baseline: Sequence[float | None], candidate: Sequence[float | None]) -> list[float]:
    """Row-by-row differences, scaled so that their sum is the studentized statistic."""
    if len(candidate) != len(baseline):
        raise ValueError(f"{len(candidate)} scores against {len(baseline)} of the baseline")
    found = [0.0 if a is None or b is None else a - b for a, b in zip(candidate, baseline, strict=True)]
    norm = math.sqrt(math.fsum(d * d for d in found))
    return [d / norm for d in found] if norm else found


def _differences(first: Sequence[float], second: Sequence[float]) -> list[float]:
    if len(first) != len(second) or not first:
        raise ValueError(f"a paired comparison of {len(first)} with {len(second)} scores")
    return [a - b for a, b in zip(first, second, strict=True)]


def _signs(differences: Sequence[float]) -> tuple[int, int]:
    """Wins and losses."""
    return sum(d > 0 for d in differences), sum(d < 0 for d in differences)


def _is_binary(scores: Sequence[float]) -> bool:
    return all(x in (0.0, 1.0) for x in scores)


def _standard_error(values: Sequence[float], mean: float) -> float:
    n = len(values)
    if n < 2:
        return 0.0
    return math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (n - 1) / n)


def _t_interval(differences: Sequence[float], mean: float, level: float) -> Interval:
    n, error = len(differences), _standard_error(differences, mean)
    if not error:
        # No two rows differ in their difference: rank the sign test's uncertainty above none at all.
        wins = n if mean > 0 else 0
        losses = n if mean < 0 else 0
        return _newcombe(0 if wins or losses else n, wins, losses, n, level)
    half = t_quantile((1.0 + level) / 2.0, n - 1) * error
    return Interval(max(-1.0, mean - half), min(1.0, mean + half))


def _newcombe(both: float, wins: int, losses: int, n: int, level: float) -> Interval:
    """Interval of the difference of two proportions on the same rows.

    Source: Newcombe (1998), Improved confidence intervals for the difference between binomial
    proportions based on paired data, method 10.
    """
    neither = n - both - wins - losses
    p1, p2 = (both + wins) / n, (both + losses) / n
    low1, high1 = wilson(both + wins, n, level)
    low2, high2 = wilson(both + losses, n, level)
    product = (both + wins) * (losses + neither) * (both + losses) * (wins + neither)
    excess = both * neither - wins * losses
    if excess > 0:
        excess = max(excess - n / 2.0, 0.0)
    phi = excess / math.sqrt(product) if product else 0.0
    d = p1 - p2
    below = (p1 - low1) ** 2 - 2.0 * phi * (p1 - low1) * (high2 - p2) + (high2 - p2) ** 2
    above = (high1 - p1) ** 2 - 2.0 * phi * (high1 - p1) * (p2 - low2) + (p2 - low2) ** 2
    return Interval(max(-1.0, d - math.sqrt(max(below, 0.0))), min(1.0, d + math.sqrt(max(above, 0.0))))


# --- distributions


def _normal_quantile(level: float) -> float:
    return _NORMAL.inv_cdf((1.0 + level) / 2.0)


def _binomial_tail(at_least: int, n: int) -> float:
    """Probability of `at_least` or more heads in `n` fair tosses, exactly."""
    term = total = 1  # combinations, starting from all heads
    for heads in range(n, at_least, -1):
        term = term * heads // (n - heads + 1)
        total += term
    return total / 2**n if at_least <= n else 0.0


def t_cdf(t: float, df: float) -> float:
    """Distribution function of Student's t with `df` degrees of freedom."""
    tail = 0.5 * _regularized_beta(df / (df + t * t), df / 2.0, 0.5)
    return tail if t < 0 else 1.0 - tail


def t_quantile(p: float, df: float) -> float:
    """The value that Student's t stays below with probability `p`."""
    if p < 0.5:
        return -t_quantile(1.0 - p, df)
    high = 2.0
    while t_cdf(high, df) < p:
        high *= 2.0
    return _bisect(lambda t: t_cdf(t, df) - p, 0.0, high)


def _bisect(function: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(100):
        middle = (low + high) / 2.0
        if middle in (low, high):
            break
        if function(middle) < 0.0:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def _regularized_beta(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function, by its continued fraction."""
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1.0) / (a + b + 2.0):  # the fraction converges fast below this point only
        return 1.0 - _regularized_beta(1.0 - x, b, a)
    log_front = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(log_front) * _beta_fraction(x, a, b) / a


def _beta_fraction(x: float, a: float, b: float) -> float:
    """Lentz's evaluation of the continued fraction of the incomplete beta function."""
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    result = d
    for m in range(1, 1000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0)),
        ):
            d = 1.0 + numerator * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + numerator / c
            c = c if abs(c) > tiny else tiny
            result *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return result
