"""One program for several LMs: a variant for each, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from search_cases import (
    QUESTIONS,
    VAL,
    Sort,
    TwoSteps,
    correct,
    from_demos,
    from_instructions,
    same_answer,
    search,
    two_steps,
)

import declm as dm
from declm.errors import ServerError
from declm.messages import Request
from declm.optimizers import LabeledFewShot, Optimized
from declm.testing import FunctionLM


def named(name: str, rule: Any) -> FunctionLM:
    """An LM with a name of its own."""
    return FunctionLM(rule, name=name)


def confused(request: Request) -> Any:
    """As `from_instructions`, but demonstrations confuse it."""
    if len(request.messages) > 2:
        return '{"label": "tool"}'
    return from_instructions(request)


SMALL, LARGE = named("small", from_demos), named("large", confused)


@pytest.fixture(scope="module")
def best() -> Optimized[Any]:
    return search(dm.Predict(Sort), lms=[SMALL, LARGE], trials=8)


def score(program: Any, lm: FunctionLM) -> float:
    with dm.context(lm=lm):
        return dm.evaluate(program, VAL, correct, progress=False).score


def test_each_variant_is_best_on_its_own_lm(best: Optimized[Any]) -> None:
    small, large = (best.variants[name].program for name in ("small", "large"))
    assert small.state != large.state
    plain = dm.Predict(Sort)
    for lm, mine, other in ((SMALL, small, large), (LARGE, large, small)):
        own = score(plain.with_state(mine.state), lm)
        assert own >= 0.9
        assert own > score(plain.with_state(other.state), lm)


def test_the_program_takes_the_variant_of_the_lm_in_force(best: Optimized[Any]) -> None:
    assert score(best.program, SMALL) == best.variants["small"].score
    assert score(best.program, LARGE) == best.variants["large"].score
    assert best.score == max(one.score for one in best.variants.values())


def test_an_lm_that_was_not_searched_for_gets_the_given_program(best: Optimized[Any]) -> None:
    with dm.context(lm=named("other", from_demos)):
        assert best.program.render(text="fig 1") == dm.Predict(Sort).render(text="fig 1")


def test_one_file_holds_all_variants(best: Optimized[Any], tmp_path: Path) -> None:
    best.program.save(tmp_path / "sort.json")
    loaded = dm.Predict(Sort).load(tmp_path / "sort.json")
    assert loaded.state == best.program.state
    assert score(loaded, LARGE) == best.variants["large"].score


def test_the_table_compares_the_lms(best: Optimized[Any]) -> None:
    head, *lines = best.table.splitlines()
    assert head.split() == ["LM", "given", "found", "tokens", "USD", "seconds"]
    assert [line.split()[0] for line in lines] == ["small", "large"]
    assert best.table in repr(best)


def test_pick_takes_the_lm_that_is_best_within_the_limits(best: Optimized[Any]) -> None:
    cheap = best.pick(max_tokens=60)
    assert cheap.lm.model == "large"  # whose instructions are short; demonstrations are not
    assert dm.evaluate(cheap, VAL, correct, progress=False).score >= 0.9


def test_the_budget_is_for_all_lms_together() -> None:
    best = search(dm.Predict(Sort), lms=[SMALL, LARGE], budget=dm.Budget(calls=300))
    assert best.usage.calls <= 300
    assert all(one.usage.calls >= 100 for one in best.variants.values())


def test_a_program_with_variants_is_searched_for_its_lm(best: Optimized[Any]) -> None:
    again = search(best.program.with_lm(SMALL), trials=2)
    assert again.baseline == best.variants["small"].score
    assert not again.program.state.predictors["self"].variants


def test_steps_of_a_program_have_variants_each() -> None:
    lms = [named("one", two_steps), named("two", two_steps)]
    best = search(
        TwoSteps(), lms=lms, optimizer=LabeledFewShot(), train=QUESTIONS[:26], val=QUESTIONS[26:], metric=same_answer
    )
    assert {tuple(own.variants) for own in best.program.state.predictors.values()} == {("one", "two")}


def test_two_lms_of_one_name_are_refused() -> None:
    with pytest.raises(dm.UsageError, match="names an LM twice: small, small"):
        search(dm.Predict(Sort), lms=[SMALL, SMALL])


def test_differences_name_the_model(best: Optimized[Any]) -> None:
    lines = dm.Predict(Sort).state.diff(best.program.state)
    assert any(line.startswith("self.for small: demos: 0 ->") for line in lines)


def down(request: Request) -> str:
    raise ServerError("down", model="broken")


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_an_lm_that_is_down_costs_its_own_variant_only(order: list[int]) -> None:
    lms = [SMALL, named("broken", down)]
    best = search(dm.Predict(Sort), lms=[lms[place] for place in order], trials=2)
    assert list(best.variants) == ["small"]
    assert score(best.program, SMALL) == best.score
    assert any(trouble.startswith("nothing was found for broken: ") for trouble in best.report.troubles)


def test_if_all_lms_are_down_that_is_an_error() -> None:
    with pytest.raises(dm.TooManyErrors, match="down"):
        search(dm.Predict(Sort), lms=[named("one", down), named("two", down)])
