"""Racing and acceptance: gains that are noise are not accepted, real ones are."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import pytest

from declm.optimizers.acceptance import Evidence, judge
from declm.optimizers.race import blocks, estimate, loses, mean, paired

Draw = Callable[[random.Random, float], float]


def binary(rng: random.Random, chance: float) -> float:
    return float(rng.random() < chance)


def graded(rng: random.Random, chance: float) -> float:
    return min(1.0, max(0.0, rng.gauss(chance, 0.25)))


def simulate(seed: int, draw: Draw, advantages: Sequence[float], rows: int, confirm: int) -> bool:
    """A whole search on pure scores: race, choose the best, judge; whether the winner is accepted.

    Each row has a difficulty of its own, and candidate i gets it right more often by `advantages[i]`.
    """
    rng = random.Random(seed)
    chances = [rng.uniform(0.2, 0.8) for _ in range(rows + confirm)]
    baseline = [draw(rng, c) for c in chances[:rows]]
    best, best_index, tried = baseline, -1, list[list[float | None]]()
    for advantage in advantages:
        scores = [draw(rng, c + advantage) for c in chances[:rows]]
        seen = rows
        for _, stop in blocks(rows):
            if stop < rows and loses(scores[:stop], best):
                seen = stop
                break
        tried.append([*scores[:seen], *[None] * (rows - seen)])
        if seen == rows and mean(scores) > mean(best):
            best, best_index = scores, len(tried) - 1
    if best_index < 0:
        return False
    tuned = [draw(rng, c + advantages[best_index]) for c in chances[rows:]]
    plain = [draw(rng, c) for c in chances[rows:]]
    return judge(baseline, tried, best_index, Evidence(tuned, plain), seed, resamples=200).significant


@pytest.mark.parametrize("draw", [binary, graded])
@pytest.mark.parametrize("confirm", [0, 40])
def test_where_all_candidates_are_equal_gains_are_rarely_accepted(draw: Draw, confirm: int) -> None:
    runs = 100
    accepted = sum(simulate(seed, draw, [0.0] * 6, 32, confirm) for seed in range(runs))
    assert accepted / runs <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize(("draw", "confirm", "power"), [(binary, 40, 0.8), (binary, 0, 0.5), (graded, 40, 0.9)])
def test_a_real_gain_is_found_among_many(draw: Draw, confirm: int, power: float) -> None:
    runs = 40
    found = sum(simulate(seed, draw, [0.0, 0.0, 0.3, 0.0, -0.2, 0.0], 60, confirm) for seed in range(runs))
    assert found / runs >= power


def test_a_few_confirmation_rows_without_a_difference_do_not_speak_against_a_gain() -> None:
    baseline, better = [0.0] * 20 + [1.0] * 10, [1.0] * 30
    alone = judge(baseline, [better], 0, Evidence(), 0)
    backed = judge(baseline, [better], 0, Evidence([1.0] * 4, [1.0] * 4), 0)
    assert (alone.confirm_p, backed.confirm_p) == (None, 0.5)
    assert alone.significant
    assert backed.significant
    assert backed.p_value > alone.p_value


def test_confirmation_rows_count_for_and_against() -> None:
    baseline, better = [0.0] * 8 + [1.0] * 22, [1.0] * 6 + [0.0] * 2 + [1.0] * 22
    alone = judge(baseline, [better], 0, Evidence(), 0).p_value
    wins, losses = Evidence([1.0] * 10, [0.0] * 10), Evidence([0.0] * 10, [1.0] * 10)
    assert judge(baseline, [better], 0, wins, 0).p_value < alone < judge(baseline, [better], 0, losses, 0).p_value


def test_more_candidates_make_the_same_gain_less_convincing() -> None:
    rng = random.Random(5)
    baseline = [binary(rng, 0.5) for _ in range(60)]
    winner = [1.0 if i % 6 == 0 else score for i, score in enumerate(baseline)]
    others = [[binary(rng, 0.5) for _ in range(60)] for _ in range(20)]
    alone, among = judge(baseline, [winner], 0, Evidence(), 0), judge(baseline, [*others, winner], 20, Evidence(), 0)
    assert alone.p_value <= among.p_value
    assert alone.gain == among.gain == mean(winner) - mean(baseline)


def test_unscored_rows_are_left_out_of_the_test() -> None:
    baseline: list[float | None] = [0.0, None, 0.0, 0.0, 1.0]
    winner: list[float | None] = [1.0, 1.0, None, 1.0, 1.0]
    verdict = judge(baseline, [winner], 0, Evidence([1.0, None], [0.0, 0.0]), 0)
    assert (verdict.val_rows, verdict.confirm_rows) == (3, 1)
    assert verdict.gain == 0.75


# --- racing


def test_blocks_cover_all_rows_once() -> None:
    assert blocks(50) == [(0, 16), (16, 24), (24, 36), (36, 50)]
    for rows in range(1, 60):
        spans = blocks(rows)
        assert [i for start, stop in spans for i in range(start, stop)] == list(range(rows))
    assert blocks(5) == [(0, 5)]


def test_a_clearly_worse_candidate_is_stopped_early_and_an_equal_one_seldom() -> None:
    rng, stopped_at, equal = random.Random(1), list[int](), 0
    for _ in range(100):
        chances = [rng.uniform(0.3, 0.9) for _ in range(96)]
        best = [binary(rng, c) for c in chances]
        worse = [binary(rng, c - 0.35) for c in chances]
        same = [binary(rng, c) for c in chances]
        stops = [stop for _, stop in blocks(96)[:-1]]
        stopped_at += [next((s for s in stops if loses(worse[:s], best)), 96)]
        equal += any(loses(same[:s], best) for s in stops)
    assert sorted(stopped_at)[50] <= 40
    assert equal / 100 < 0.25


def test_scores_are_compared_on_the_rows_that_both_have() -> None:
    assert paired([1.0, None, 0.0, 1.0], [0.0, 1.0, None]) == ([1.0], [0.0])
    assert not loses([None, None], [1.0, 1.0])
    assert math.isnan(mean([None]))
    assert mean([1.0, None, 0.0]) == 0.5


def test_a_partial_score_is_corrected_for_how_hard_its_rows_were() -> None:
    hard_first = [0.0] * 8 + [1.0] * 8
    assert estimate([0.5] * 8, hard_first) == 1.0
    assert estimate([0.0] * 8, hard_first) == 0.5
    assert estimate([], hard_first) == 0.0
    assert estimate([0.0] * 16, hard_first) == 0.0


def test_rows_that_chose_the_winner_among_rivals_say_less() -> None:
    baseline, better = [0.0, 1.0] * 20, [0.0, 1.0, 1.0, 1.0] * 10
    more = [1.0] * 6, [0.0] * 6
    alone, chosen = (judge(baseline, [better], 0, Evidence(*more, rivals), 0).confirm_p for rivals in (1, 3))
    assert alone is not None
    assert chosen == pytest.approx(1 - (1 - alone) ** 3)
