"""Intervals and tests against published and independently computed values, and by simulation."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from declm.evaluation import statistics
from declm.evaluation.statistics import Interval

scores = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1), min_size=1, max_size=30)


def test_wilson_gives_known_limits() -> None:
    # Newcombe (1998), Two-sided confidence intervals for the single proportion, table I.
    assert statistics.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert statistics.wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert statistics.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert statistics.wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert statistics.wilson(0, 0) == (0.0, 1.0)


def test_the_interval_of_binary_scores_is_wilsons() -> None:
    assert statistics.mean_interval([1.0] * 8 + [0.0] * 2) == statistics.wilson(8, 10)


def test_graded_scores_have_a_narrower_interval_than_a_proportion_and_none_of_width_zero() -> None:
    low, high = statistics.mean_interval([0.4, 0.5, 0.6, 0.5] * 10)
    assert high - low < 0.06
    assert low < 0.5 < high
    same = statistics.mean_interval([0.5] * 10)
    assert same == statistics.wilson(5, 10)


@given(scores)
@example([1.0, 1.0 - 2.0**-53])  # their mean rounds to 1
def test_the_mean_lies_inside_its_interval_inside_of_0_and_1(values: list[float]) -> None:
    low, high = statistics.mean_interval(values)
    mean = math.fsum(values) / len(values)
    assert 0.0 <= low <= mean + 1e-12
    assert mean - 1e-12 <= high <= 1.0


def test_the_interval_covers_the_mean_of_graded_scores_as_often_as_it_says() -> None:
    rng, covered, runs = random.Random(1), 0, 600
    for _ in range(runs):
        sample = [rng.choice([0.0, 0.0, 1.0, rng.random()]) for _ in range(20)]
        low, high = statistics.mean_interval(sample)
        covered += low <= 0.375 <= high
    assert 0.92 <= covered / runs <= 0.98


def test_student_distribution_gives_tabled_values() -> None:
    assert statistics.t_quantile(0.975, 1) == pytest.approx(12.7062, abs=1e-4)
    assert statistics.t_quantile(0.975, 9) == pytest.approx(2.26216, abs=1e-5)
    assert statistics.t_quantile(0.95, 29) == pytest.approx(1.69913, abs=1e-5)
    assert statistics.t_quantile(0.995, 1000) == pytest.approx(2.58075, abs=1e-5)
    assert statistics.t_quantile(0.1, 5) == pytest.approx(-1.47588, abs=1e-5)
    assert statistics.t_cdf(0.0, 7) == 0.5
    assert statistics.t_cdf(-40.0, 200) == pytest.approx(0.0, abs=1e-90)


@given(st.floats(-50, 50), st.integers(1, 300))
def test_student_distribution_is_symmetric(t: float, df: int) -> None:
    assert statistics.t_cdf(t, df) + statistics.t_cdf(-t, df) == pytest.approx(1.0, abs=1e-12)


def test_the_sign_test_is_exact() -> None:
    assert statistics.sign_test(9, 1) == pytest.approx(22 / 1024)
    assert statistics.sign_test(9, 1, "greater") == pytest.approx(11 / 1024)
    assert statistics.sign_test(1, 9, "greater") == pytest.approx(1023 / 1024)
    assert statistics.sign_test(0, 0) == 1.0
    assert statistics.sign_test(0, 0, "greater") == 1.0
    assert statistics.sign_test(5, 5) == 1.0
    tail = sum(math.comb(2000, heads) for heads in range(1100, 2001))
    assert statistics.sign_test(1100, 900) == pytest.approx(2 * tail / 2**2000, rel=1e-12)


def test_the_paired_t_test_gives_known_values() -> None:
    # Student's own sleep data (1908), as every textbook has it: t = 4.0621, df = 9, p = 0.002833.
    gains = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    assert statistics.t_test(gains) == pytest.approx(0.002833, abs=5e-7)
    assert statistics.t_test(gains, "greater") == pytest.approx(0.002833 / 2, abs=5e-7)
    assert statistics.t_test([-g for g in gains], "greater") == pytest.approx(1 - 0.002833 / 2, abs=5e-7)


def test_differences_without_variance_are_left_to_the_sign_test() -> None:
    assert statistics.t_test([0.25] * 4) == pytest.approx(2 / 16)
    assert statistics.t_test([0.0] * 4) == 1.0
    assert statistics.t_test([0.3]) == 1.0


def test_binary_scores_are_compared_by_signs_with_newcombes_interval() -> None:
    # Newcombe (1998), paired data, the example with 36, 12, 2 and 0 pairs: 0.0569 to 0.3404.
    first = [1.0] * 48 + [0.0] * 2
    second = [1.0] * 36 + [0.0] * 12 + [1.0] * 2
    difference, interval, p, test = statistics.compare(first, second)
    assert difference == pytest.approx(0.2)
    assert interval == pytest.approx((0.0569, 0.3404), abs=5e-5)
    assert p == pytest.approx(statistics.sign_test(12, 2))
    assert test == "exact sign test"


def test_graded_scores_are_compared_by_students_t() -> None:
    first, second = [0.5, 0.75, 1.0, 0.5], [0.25, 0.5, 0.5, 0.5]
    difference, interval, p, test = statistics.compare(first, second)
    assert difference == pytest.approx(0.25)
    assert p == pytest.approx(0.0917, abs=5e-5)  # t = 2.449 with 3 degrees of freedom
    assert interval == pytest.approx((-0.0748, 0.5748), abs=5e-5)
    assert test == "paired t test"


@given(scores, st.randoms(use_true_random=False))
def test_comparing_is_antisymmetric(first: list[float], rng: random.Random) -> None:
    second = rng.sample(first, len(first))
    a, b = statistics.compare(first, second), statistics.compare(second, first)
    assert a.difference == pytest.approx(-b.difference)
    assert a.interval == pytest.approx((-b.interval.high, -b.interval.low), abs=1e-9)
    assert a.p == pytest.approx(b.p)
    assert a.interval.low - 1e-9 <= a.difference <= a.interval.high + 1e-9


def test_unpaired_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="2 with 1"):
        statistics.compare([1.0, 0.0], [1.0])
    with pytest.raises(ValueError, match="0 with 0"):
        statistics.paired_p_value([], [])
    with pytest.raises(ValueError, match="1 scores against 2"):
        statistics.best_of_many([1.0, 0.0], [[1.0]])


# --- best of many


def test_one_candidate_gets_the_p_of_the_sign_test() -> None:
    baseline, candidate = [0.0] * 10 + [1.0] * 2, [1.0] * 8 + [0.0] * 2 + [0.0, 1.0]
    (p,) = statistics.best_of_many(baseline, [candidate], resamples=20_000)
    assert p == pytest.approx(statistics.sign_test(8, 1, "greater"), abs=0.005)


def test_the_best_of_twenty_equal_candidates_is_rarely_called_better() -> None:
    rng, false_alarms, runs = random.Random(3), 0, 120
    for run in range(runs):
        difficulty = [rng.random() for _ in range(60)]
        baseline, *candidates = [[float(rng.random() < d) for d in difficulty] for _ in range(21)]
        false_alarms += min(statistics.best_of_many(baseline, candidates, resamples=200, seed=run)) <= 0.05
    assert false_alarms / runs <= 0.11  # 0.05 expected; an uncorrected test is wrong 0.37 of the time


def test_a_much_better_candidate_is_found_among_many() -> None:
    rng = random.Random(4)
    baseline, *others = [[float(rng.random() < 0.4) for _ in range(100)] for _ in range(10)]
    p = statistics.best_of_many(baseline, [*others, [float(rng.random() < 0.8) for _ in range(100)]])
    assert p[-1] < 0.01
    assert min(p[:-1]) > 0.05


def test_rows_without_a_score_and_equal_candidates_are_no_evidence() -> None:
    assert statistics.best_of_many([1.0, 0.0], [[1.0, 0.0]]) == [1.0]
    assert statistics.best_of_many([None, 0.0], [[1.0, None]]) == [1.0]
    assert statistics.best_of_many([1.0, 0.0], []) == []
    assert statistics.best_of_many([], [[]]) == [1.0]


def test_the_correction_is_reproducible() -> None:
    baseline, candidates = [0.0, 1.0, 0.5] * 5, [[1.0, 1.0, 0.25] * 5, [0.5, 1.0, 0.5] * 5]
    first = statistics.best_of_many(baseline, candidates, seed=7)
    assert statistics.best_of_many(baseline, candidates, seed=7) == first


def test_an_interval_unpacks_and_has_names() -> None:
    low, high = interval = Interval(0.1, 0.2)
    assert (interval.low, interval.high) == (low, high)
