"""Which keywords a program takes, and how rows provide them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

import declm as dm
from declm.arguments import Arguments, arguments


class QA(dm.Signature):
    question: str
    language: str = "en"
    answer: str = dm.Output()
    hint: str = dm.Note()


class Plain(BaseModel):
    question: str
    extra: int = 1


class Asks(dm.Module):
    def forward(self, question: str, *, limit: int = 3) -> str:
        return question * limit


class Open(dm.Module):
    def forward(self, question: str, **rest: Any) -> str:
        return question


class Nothing(dm.Module):
    pass


def test_a_predictor_takes_the_inputs_of_its_signature() -> None:
    assert arguments(dm.Predict(QA)) == Arguments(frozenset({"question"}), frozenset({"language"}))


def test_a_module_takes_what_forward_takes() -> None:
    assert arguments(Asks()) == Arguments(frozenset({"question"}), frozenset({"limit"}))
    assert arguments(Open()).open


def test_a_function_is_a_program_too() -> None:
    def program(question: str, *ignored: str) -> str:
        return question

    assert arguments(program) == Arguments(frozenset({"question"}), frozenset())


def test_outputs_and_notes_are_never_passed() -> None:
    row = QA(question="q", answer="a", hint="h")
    assert arguments(dm.Predict(QA)).of(row) == {"question": "q", "language": "en"}
    assert arguments(Open()).of(row) == {"question": "q", "language": "en"}
    assert arguments(Asks()).of(Plain(question="q")) == {"question": "q"}


def test_a_row_that_lacks_an_input_is_refused() -> None:
    def program(question: str, context: str) -> str:
        return question + context

    with pytest.raises(dm.InputError, match=r"needs `context`, which the rows do not have; the inputs of a QA are"):
        arguments(program).check([QA(question="q")])


def test_a_misspelled_key_of_a_dict_is_refused_with_a_hint() -> None:
    with pytest.raises(dm.InputError, match="takes no 'limt'; did you mean 'limit'"):
        arguments(Asks()).of({"question": "q", "limt": 2})
    assert arguments(Open()).of({"question": "q", "anything": 2}) == {"question": "q", "anything": 2}


def test_what_rows_can_not_provide_is_refused() -> None:
    def program(question: str, /) -> str:
        return question

    with pytest.raises(dm.UsageError, match="'question' of the program is positional-only"):
        arguments(program)
    with pytest.raises(dm.UsageError, match="Nothing has no `forward`: define it"):
        arguments(Nothing())
    with pytest.raises(dm.UsageError, match="the parameters of 3 can.t be read"):
        arguments(3)  # type: ignore[arg-type]
