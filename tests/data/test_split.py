"""`data.split`: sizes, seeds, strata and no leaks."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import declm as dm
from declm.data import split


class Text(dm.Signature):
    text: str
    label: str = dm.Output()


def rows(n: int, labels: str = "ab") -> list[Text]:
    return [Text(text=f"t{i}", label=labels[i % len(labels)]) for i in range(n)]


def test_counts_shares_and_the_rest() -> None:
    assert [len(part) for part in split(rows(10), 0.7, 0.3)] == [7, 3]
    assert [len(part) for part in split(rows(10), 6, ...)] == [6, 4]
    assert [len(part) for part in split(rows(10), ..., 0.2, 1)] == [7, 2, 1]
    assert [len(part) for part in split(rows(10), 2, 3)] == [2, 3]
    assert [len(part) for part in split(rows(7), 1 / 3, 1 / 3, 1 / 3)] == [2, 3, 2]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((), "one size per part"),
        ((..., ...), "at most once"),
        ((0,), "size 0"),
        ((1.5,), "size 1.5"),
        ((-1,), "size -1"),
        ((True,), "size True"),
        ((8, 3), "more than the 10 rows"),
        ((0.8, 0.3), "more than the 10 rows"),
        ((10, ...), "would be empty"),
        ((0.01,), "would be empty"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes: tuple[float, ...], message: str) -> None:
    with pytest.raises(dm.UsageError, match=message):
        split(rows(10), *sizes)


def test_seeds_decide() -> None:
    assert split(rows(50), 0.5, ...) == split(rows(50), 0.5, ...)
    assert split(rows(50), 0.5, ..., seed=1) != split(rows(50), 0.5, ...)


def test_the_parts_do_not_depend_on_the_hash_seed_of_the_process() -> None:
    code = (
        "import declm as dm\n"
        "from declm.data import split\n"
        "class T(dm.Signature):\n    text: str\n    label: str = dm.Output()\n"
        "rows = [T(text=str(i % 9), label='abc'[i % 3]) for i in range(20)]\n"
        "print([[r.text for r in p] for p in split(rows, 0.5, ..., by='label')])\n"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("0", "1")
    }  # fmt: skip
    assert len(seen) == 1


def test_every_part_gets_its_share_of_each_value() -> None:
    train, val = split(rows(60, "aaab"), 0.5, ..., by="label")
    assert Counter(r.label for r in train) in (Counter(a=22, b=8), Counter(a=23, b=7))
    assert len(train) == len(val) == 30
    by_length, _ = split(rows(12), 6, ..., by=lambda row: len(row.text))
    assert Counter(len(r.text) for r in by_length) == {2: 5, 3: 1}


def test_an_unknown_field_to_split_by_is_refused() -> None:
    with pytest.raises(dm.UsageError, match="by='topic'"):
        split(rows(4), 2, ..., by="topic")


def test_parts_are_not_ordered_by_stratum() -> None:
    (part,) = split(rows(40), 1.0, by="label")
    assert [r.label for r in part] not in (sorted("ab" * 20), sorted("ab" * 20, reverse=True))


@given(
    st.lists(st.integers(0, 12), min_size=4, max_size=40),
    st.floats(0.2, 0.8),
    st.integers(0, 5),
    st.sampled_from([None, "label"]),
)
@settings(max_examples=60)
def test_equal_inputs_never_stand_in_two_parts(texts: list[int], share: float, seed: int, by: str | None) -> None:
    made = [Text(text=str(t), label=f"{t % 2}{i % 2}") for i, t in enumerate(texts)]
    try:
        first, second = split(made, share, ..., seed=seed, by=by)
    except dm.UsageError:
        return  # too few rows for that share
    assert not {r.text for r in first} & {r.text for r in second}
    assert Counter(map(repr, first + second)) == Counter(map(repr, made))
    if len(set(texts)) == len(texts):
        assert abs(len(first) - share * len(made)) <= 0.5 + 1e-6
