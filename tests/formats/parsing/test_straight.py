"""Replies that need no fitting: what is read straight is what the aligner makes of it."""

from __future__ import annotations

import json
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, Field

import declm as dm
from declm.formats import Prompt
from declm.formats.parsing.align import Aligner
from declm.formats.parsing.members import parse_members, straight
from declm.formats.parsing.parse import values_inside
from declm.formats.parsing.reading import STRICT


class Team(Enum):
    BILLING = "billing"
    BUGS = "bugs"


class Mixed(dm.Signature):
    question: str
    text: str = dm.Output()
    team: Team = dm.Output()
    urgency: Literal["low", "high", "1"] = dm.Output()
    share: Annotated[int, Field(ge=0, le=1)] = dm.Output()
    count: int = dm.Output()
    done: bool = dm.Output()


RECORD = Prompt(dm.spec(Mixed)).record

VALUES = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["billing", "Bugs", "low", "1", "true", "null", "12", "", "n/a", "85 %"]),
    st.integers(-(10**18), 10**18),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.text(max_size=3), max_size=2),
)

GOOD = st.fixed_dictionaries(
    {
        "text": st.text(max_size=8),
        "team": st.sampled_from(["billing", "bugs"]),
        "urgency": st.sampled_from(["low", "high", "1"]),
        "share": st.integers(0, 1),
        "count": st.integers(-(10**14), 10**14),
        "done": st.booleans(),
    }
)


def aligned(reply: dict[str, Any]) -> Any:
    return Aligner(values_inside).members(STRICT.decode(json.dumps(reply)), RECORD)


@given(GOOD, st.dictionaries(st.sampled_from(["Text", "more", "TEAM", "notes"]), VALUES, max_size=2))
def test_good_replies_are_read_as_the_aligner_reads_them(reply: dict[str, Any], more: dict[str, Any]) -> None:
    whole = more | reply
    expected = aligned(whole)
    found = straight(STRICT.decode(json.dumps(whole)), RECORD)
    if reply["count"] >= 0:
        assert found is not None
    if found is not None:
        assert (found.values, found.problems, found.repairs) == (expected.values, {}, ())
        assert [type(found.values[k]) for k in found.values] == [type(expected.values[k]) for k in found.values]
    assert parse_members(json.dumps(whole), RECORD).values == expected.values


@given(GOOD, st.sampled_from(sorted(RECORD.members)), VALUES)
def test_one_value_of_any_kind_makes_no_difference(reply: dict[str, Any], key: str, value: Any) -> None:
    other = reply | {key: value}
    found = straight(STRICT.decode(json.dumps(other)), RECORD)
    if found is not None:
        expected = aligned(other)
        assert (found.values, found.problems) == (expected.values, expected.problems)


def test_validators_and_missing_fields_are_left_to_the_aligner() -> None:
    class Checked(dm.Signature):
        question: str
        answer: Annotated[str, AfterValidator(str.strip)] = dm.Output()
        note: str = dm.Output("", default="-")

    record = Prompt(dm.spec(Checked)).record
    assert straight({"answer": "a"}, record) is None


@pytest.mark.parametrize("number", ["1e3", "-5", "2.0", "1234567890123456"])
def test_numbers_that_are_not_plain_digits_are_left_to_the_aligner(number: str) -> None:
    record = Prompt(dm.spec(dm.define("question -> answer: int"))).record
    assert straight(STRICT.decode(f'{{"answer": {number}}}'), record) is None
