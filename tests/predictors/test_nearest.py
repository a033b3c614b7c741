"""Demos that a call chooses by its own inputs."""

from __future__ import annotations

from pathlib import Path

import pytest

import declm as dm
from declm.testing import FunctionLM


class Sort(dm.Signature):
    """Sort the word."""

    text: str
    label: str = dm.Output()


FRUIT = Sort(text="a ripe apple", label="fruit")
TOOL = Sort(text="a heavy hammer", label="tool")
ANIMAL = Sort(text="a brown cow", label="animal")


def shown(program: dm.Predict[..., Sort], text: str) -> list[str]:
    """The demos' inputs in a prompt, in order."""
    return [m.content.removeprefix("text: ") for m in program.render(text=text)[1:-1] if m.role == "user"]


@pytest.fixture
def program() -> dm.Predict[..., Sort]:
    lm = FunctionLM(lambda request: '{"label": "%s"}' % len(request.messages))
    return dm.Predict(Sort, lm=lm).with_demos([FRUIT, TOOL, ANIMAL], nearest=2)


def test_the_most_alike_demos_are_shown_and_the_most_alike_one_last(program: dm.Predict[..., Sort]) -> None:
    assert shown(program, "one ripe cow and another ripe one") == ["a brown cow", "a ripe apple"]
    assert shown(program, "the heavy brown hammer") == ["a brown cow", "a heavy hammer"]


def test_each_call_chooses_anew(program: dm.Predict[..., Sort]) -> None:
    assert [program(text=text).label for text in ("hammer", "cow", "hammer")] == ["6"] * 3
    assert shown(program, "hammer")[-1] == "a heavy hammer"
    assert shown(program, "cow")[-1] == "a brown cow"


def test_more_than_there_are_shows_all(program: dm.Predict[..., Sort]) -> None:
    assert sorted(shown(program.with_demos([FRUIT, TOOL], nearest=9), "cow")) == ["a heavy hammer", "a ripe apple"]


def test_texts_without_a_common_word_take_the_first_demos(program: dm.Predict[..., Sort]) -> None:
    assert shown(program, "zebra") == ["a heavy hammer", "a ripe apple"]


def test_a_saved_program_goes_on_choosing(program: dm.Predict[..., Sort], tmp_path: Path) -> None:
    program.save(tmp_path / "program.json")
    loaded = dm.Predict(Sort).load(tmp_path / "program.json")
    assert shown(loaded.with_lm("openai/any"), "brown") == shown(program, "brown")


def test_less_than_one_is_refused(program: dm.Predict[..., Sort]) -> None:
    with pytest.raises(dm.UsageError, match="nearest=0 must be 1 or more"):
        program.with_demos([FRUIT], nearest=0)
