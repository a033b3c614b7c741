"""Replies of our own making, kind by kind: what is clear is read, what is not is refused, beginnings are shown.

`cases/` is a folder as `benchmarks/parsing.py --cases` takes it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from parsing import read_by_declm
from parsing_cases import Case, agrees, load_types, read_cases

from declm.errors import ParseError
from declm.formats.parsing import parse_partial

FOLDER = Path(__file__).with_name("cases")
CASES = read_cases(FOLDER)
RESOLVE = load_types(FOLDER)


def _kinds(value: Any) -> Any:
    """The JSON types inside of a value, so that 1 is told from 1.0."""
    if isinstance(value, dict):
        return {key: _kinds(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_kinds(inner) for inner in value]
    return type(value)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])
def test_a_reply_is_read_or_refused(case: Case) -> None:
    found = read_by_declm(case, RESOLVE(case.type))
    assert agrees(case, found), (case.raw, found)
    if not case.is_refusal:
        assert _kinds(found.value) == _kinds(case.expected), case.raw


def test_the_cases_are_many_and_of_all_kinds() -> None:
    assert len(CASES) > 1_800
    assert len({(case.raw, case.type, case.streaming) for case in CASES}) == len(CASES)
    assert sum(case.is_refusal for case in CASES) > 400
    assert sum(case.streaming for case in CASES) > 100


@pytest.mark.parametrize("kind", sorted({case.tags[0] for case in CASES}))
def test_every_beginning_of_a_reply_is_a_value_so_far_or_a_parse_error(kind: str) -> None:
    for case in (case for case in CASES if case.tags[0] == kind):
        for end in range(0, len(case.raw), max(len(case.raw) // 8, 1)):
            with contextlib.suppress(ParseError):
                parse_partial(case.raw[:end], RESOLVE(case.type))
