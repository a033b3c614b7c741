"""Round trips of random types and values in every format; arbitrary texts give a value or a `ParseError`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parsing_properties import (
    MANY_TYPES,
    ODD,
    TEXTS,
    Typed,
    any_text,
    as_json,
    grows,
    lone_round_trip,
    reads_json,
    round_trip,
    typed,
)

few = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
many = settings(few, max_examples=10_000)
slow = pytest.mark.slow
long = pytest.mark.timeout(3600)


@few
@given(typed(), TEXTS)
def test_an_ideal_reply_is_read_back_in_every_format(one: Typed, remark: str) -> None:
    round_trip(one, remark)


@slow
@long
@many
@given(typed(), TEXTS)
def test_ten_thousand_ideal_replies_are_read_back_in_every_format(one: Typed, remark: str) -> None:
    round_trip(one, remark)


@few
@given(typed())
def test_an_ideal_reply_of_one_output_is_read_back_in_every_format(one: Typed) -> None:
    lone_round_trip(one)


@slow
@long
@many
@given(typed())
def test_ten_thousand_ideal_replies_of_one_output_are_read_back(one: Typed) -> None:
    lone_round_trip(one)


@few
@given(typed(), st.sampled_from([None, 2]), st.booleans())
def test_json_is_read_as_it_stands_and_in_a_fence(one: Typed, indent: int | None, ascii: bool) -> None:
    reads_json(one, indent, ascii)


@slow
@long
@many
@given(typed(), st.sampled_from([None, 2]), st.booleans())
def test_ten_thousand_times_json_is_read_as_it_stands_and_in_a_fence(
    one: Typed, indent: int | None, ascii: bool
) -> None:
    reads_json(one, indent, ascii)


@few
@given(typed(), st.floats(0, 1), st.booleans())
def test_the_beginning_of_json_shows_what_its_end_goes_on_with(one: Typed, cut: float, ascii: bool) -> None:
    grows(one, cut, ascii)


@slow
@long
@many
@given(typed(), st.floats(0, 1), st.booleans())
def test_ten_thousand_beginnings_show_what_their_ends_go_on_with(one: Typed, cut: float, ascii: bool) -> None:
    grows(one, cut, ascii)


@few
@given(ODD, st.sampled_from(MANY_TYPES))
def test_any_text_is_a_value_or_a_parse_error(text: str, type: Any) -> None:
    any_text(text, type)


@slow
@long
@many
@given(ODD, st.sampled_from(MANY_TYPES))
def test_ten_thousand_texts_are_a_value_or_a_parse_error(text: str, type: Any) -> None:
    any_text(text, type)


@few
@given(typed(), st.data())
def test_a_reply_with_a_piece_cut_out_is_a_value_or_a_parse_error(one: Typed, data: st.DataObject) -> None:
    text = json.dumps(as_json(one), ensure_ascii=False)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 5)))
    any_text(text[:start] + text[end:], one.type)
