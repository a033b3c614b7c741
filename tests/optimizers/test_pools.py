"""Demo pools and the search space."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from declm import Demo, PredictorState, ProgramState
from declm.likeness import Likeness
from declm.optimizers.pools import Pool
from declm.optimizers.spaces import SUBSETS, Slot, Space, demo_counts, unique

TEXTS = ["pay the bill", "bill was charged twice", "app crashes on start", "crash when I log in", "buy more seats"]


def demos(count: int, labels: int = 3) -> tuple[Demo, ...]:
    return tuple(
        Demo(inputs={"text": f"{TEXTS[i % 5]} {i}"}, outputs={"label": f"label {i % labels}"}) for i in range(count)
    )


def labels_of(chosen: tuple[Demo, ...]) -> Counter[Any]:
    return Counter(demo.outputs["label"] for demo in chosen)


@given(count=st.integers(0, 32), index=st.integers(0, 12), size=st.integers(1, 60))
def test_a_subset_has_the_asked_size_and_repeats_nothing(count: int, index: int, size: int) -> None:
    pool = Pool(demos(size), ("label",))
    chosen = pool.subset(count, index)
    assert len(chosen) == len({id(demo) for demo in chosen}) == min(count, size)
    assert all(demo in pool.demos for demo in chosen)
    assert chosen == Pool(demos(size), ("label",)).subset(count, index)


@pytest.mark.parametrize("index", range(SUBSETS))
@pytest.mark.parametrize("count", [3, 6, 8, 16])
def test_subsets_are_balanced_over_the_labels(index: int, count: int) -> None:
    most = labels_of(Pool(demos(48), ("label",)).subset(count, index)).most_common()
    assert most[0][1] - most[-1][1] <= 1
    assert len(most) == 3


def test_a_rare_label_is_shown_as_often_as_it_can_be() -> None:
    rare = Demo(inputs={"text": "rare"}, outputs={"label": "rare"})
    assert rare in Pool((*demos(40), rare), ("label",)).subset(4, 0)


@pytest.mark.parametrize("index", range(SUBSETS))
def test_a_larger_subset_holds_the_smaller_one(index: int) -> None:
    pool = Pool(demos(48), ("label",))
    inputs = [{d.inputs["text"] for d in pool.subset(count, index)} for count in (3, 6, 12, 24)]
    assert inputs[0] < inputs[1] < inputs[2] < inputs[3]


def test_indices_choose_differently() -> None:
    pool = Pool(demos(60), ("label",))
    assert len({frozenset(d.inputs["text"] for d in pool.subset(8, index)) for index in range(SUBSETS)}) >= 6


def test_labels_do_not_come_in_a_fixed_rhythm() -> None:
    said = [demo.outputs["label"] for demo in Pool(demos(48), ("label",)).subset(24, 0)]
    assert said != said[:3] * 8


def test_typical_demos_come_first_and_diverse_ones_differ() -> None:
    group = tuple(Demo(inputs={"text": text}, outputs={}) for text in ("red apple", "red pear", "red plum", "blue car"))
    assert "blue car" not in [d.inputs["text"] for d in Pool(group).subset(3, 0)]
    assert "blue car" in [d.inputs["text"] for d in Pool(group).subset(2, 1)]


def test_vectors_have_unit_length_and_ignore_case() -> None:
    one, two, other = Likeness(["Red Apple", "red apple", "blue"]).vectors
    assert one == two
    assert sum(v * v for v in one.values()) == pytest.approx(1.0)
    assert not one.keys() & other.keys()
    assert Likeness(["", "..."]).vectors == [{}, {}]


# --- the space


def slot(path: str = "self", size: int = 20, texts: tuple[str | None, ...] = (None, "a"), **more: Any) -> Slot:
    pool = Pool(demos(size), ("label",))
    return Slot(path, texts, pool, demo_counts(pool, 32), **more)


BASE = ProgramState(predictors={"self": PredictorState(format="chat", demos=demos(1))})


def test_counts_are_those_that_pool_and_limit_allow() -> None:
    pool = Pool(demos(20))
    assert demo_counts(pool, 32) == (0, 2, 4, 8, 16)
    assert demo_counts(pool, 5) == (0, 2, 4)
    assert demo_counts(pool, 0) == demo_counts(Pool(()), 32) == (0,)


def test_counts_that_show_every_label_equally_often_are_among_them() -> None:
    pool = Pool(demos(20), ("label",))  # three labels
    assert demo_counts(pool, 32) == (0, 2, 3, 4, 8, 15, 16)
    assert demo_counts(pool, 3) == (0, 2, 3)
    assert demo_counts(pool, 2) == (0, 2)


def test_the_numbers_to_try_first_show_labels_equally_often_and_then_as_many_as_there_are() -> None:
    for size, limit, wanted in ((40, 32, (30, 32)), (20, 15, (15, 4)), (20, 2, (2, 0)), (2, 32, (2, 0))):
        pool = Pool(demos(size), ("label",))
        counts = demo_counts(pool, limit)
        first, second = Slot("self", (None,), pool, counts).favoured()
        assert (counts[first], counts[second]) == wanted


def test_choices_with_one_value_are_left_out() -> None:
    assert slot().sizes() == {"self:instructions": 2, "self:demos": 7, "self:subset": SUBSETS}
    assert slot(size=1, texts=(None,)).sizes() == {}
    assert Space(BASE, (slot(size=1, texts=(None,)),)).count() == 1


def test_no_choice_means_the_program_as_it_is() -> None:
    space = Space(BASE, (slot(),))
    assert space.state({}) == space.state(dict.fromkeys(space.sizes(), 0)) == BASE


def test_choices_map_to_states_without_touching_the_rest() -> None:
    chosen = Space(BASE, (slot(),)).state({"self:instructions": 1, "self:demos": 2, "self:subset": 3})
    state = chosen.predictors["self"]
    assert (state.instructions, len(state.demos), state.format) == ("a", 3, "chat")
    assert BASE.predictors["self"].instructions is None


def test_the_openings_show_many_demos_in_every_predictor() -> None:
    base = ProgramState(predictors={"a": PredictorState(), "b": PredictorState()})
    space = Space(base, (slot("a"), slot("b", size=5)))
    first, second = space.openings()
    assert [len(space.state(first).predictors[p].demos) for p in "ab"] == [15, 3]
    assert [len(space.state(second).predictors[p].demos) for p in "ab"] == [16, 4]
    assert all(point["a:instructions"] == 0 for point in (first, second))


def test_tiny_spaces_are_listed_whole_in_an_order_of_the_seed() -> None:
    space = Space(BASE, (slot(size=1, texts=(None, *map(str, range(9)))),))
    points = space.others(0)
    assert sorted(point["self:instructions"] for point in points) == list(range(1, 10))
    assert points == space.others(0) != space.others(1)


def test_calibration_is_a_choice_where_outputs_are_closed_and_inputs_are_known() -> None:
    assert "self:calibrate" not in slot(closed=("label",)).sizes()
    closed = slot(closed=("label",), inputs=({"text": "a"},))
    assert closed.sizes()["self:calibrate"] == 2
    assert closed.state(PredictorState(), {"self:calibrate": 1}).biases == {"label": {}}


def test_repeated_instructions_are_dropped() -> None:
    assert unique([None, "a", "b", "a", None]) == (None, "a", "b")
