"""Gates, with a clock of the test's own: no sleep, no server."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from declm.lm.gates import Gate, Limits, Ticket, gate_of


@dataclass
class Clock:
    """Seconds that pass when the test says so."""

    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


def gate(clock: Clock | None = None, **limits: int) -> Gate:
    return Gate(Limits(**limits), clock=clock or Clock())


def enter(gate: Gate, count: int, tokens: int = 0) -> list[Ticket]:
    return [gate.enter(tokens) for _ in range(count)]


def passed(tickets: list[Ticket]) -> int:
    return sum(ticket.passed for ticket in tickets)


def test_without_limits_everybody_passes() -> None:
    assert passed(enter(gate(), 1000)) == 1000


def test_no_more_are_in_flight_than_allowed_and_the_others_are_served_in_order() -> None:
    door = gate(concurrency=2)
    tickets = enter(door, 5)
    assert [t.passed for t in tickets] == [True, True, False, False, False]
    for ticket in tickets[2:]:
        door.knock(ticket)
    door.leave(tickets[0])
    turns = [t.turn is not None and t.turn.done() for t in tickets[2:]]
    assert turns == [True, False, False]  # the next is told, and nobody else
    assert door.knock(tickets[3])[1] == float("inf")
    door.knock(tickets[2])
    assert [t.passed for t in tickets] == [True, True, True, False, False]


def test_who_comes_later_does_not_overtake() -> None:
    door = gate(concurrency=1)
    first, second = enter(door, 2)
    door.leave(first)
    third = door.enter(0)
    assert not third.passed
    door.knock(second)
    assert second.passed


def test_who_gives_up_in_the_queue_takes_no_place() -> None:
    door = gate(concurrency=1)
    first, second, third = enter(door, 3)
    door.knock(third)
    door.leave(second)
    door.leave(first)
    assert third.turn is not None
    assert third.turn.done()
    door.knock(third)
    assert third.passed


@given(st.lists(st.floats(0.0, 30.0), min_size=1, max_size=60), st.integers(1, 10))
def test_no_minute_sees_more_calls_than_allowed(pauses: list[float], rpm: int) -> None:
    clock = Clock()
    door, sent = gate(clock, rpm=rpm), list[float]()
    for pause in pauses:
        clock.now_s += pause
        ticket = door.enter(0)
        while not ticket.passed:
            _, wait_s = door.knock(ticket)
            clock.now_s += 0.0 if ticket.passed else wait_s
        sent.append(clock.now_s)
        door.leave(ticket)
    for last in range(rpm, len(sent)):
        assert sent[last] - sent[last - rpm] >= 60.0 - 1e-6


def test_tokens_are_counted_at_their_real_price_once_it_is_known() -> None:
    clock = Clock()
    door = gate(clock, tpm=100)
    first, second = enter(door, 2, tokens=60)
    assert (first.passed, second.passed) == (True, False)
    door.leave(first, 10)
    door.knock(second)
    assert second.passed
    door.leave(second, 90)
    third = door.enter(60)
    assert not third.passed
    assert door.knock(third)[1] == pytest.approx(60.0)


def test_a_call_of_more_tokens_than_a_minute_has_passes_alone() -> None:
    clock = Clock()
    door = gate(clock, tpm=100)
    small, large = door.enter(1), door.enter(1000)
    assert not large.passed
    clock.now_s += door.knock(large)[1]
    door.knock(large)
    assert large.passed
    door.leave(small)


def test_a_refusal_holds_everybody_for_as_long_as_the_provider_asks() -> None:
    clock = Clock()
    door = gate(clock)
    (refused,) = enter(door, 1)
    door.too_many(refused, 7.0)
    door.leave(refused)
    later = door.enter(0)
    assert not later.passed
    assert door.knock(later)[1] == pytest.approx(7.0)
    assert door.held_s() == pytest.approx(7.0)
    clock.now_s += 7.0
    door.knock(later)
    assert later.passed


def test_those_who_were_held_are_let_through_one_by_one() -> None:
    clock = Clock()
    door = gate(clock)
    refused = enter(door, 40)
    door.too_many(refused[0], 5.0)
    for ticket in refused:
        door.leave(ticket)
    queue, passes = enter(door, 20), list[float]()
    for ticket in queue:
        while not ticket.passed:
            _, wait_s = door.knock(ticket)
            clock.now_s += 0.0 if ticket.passed else wait_s
        passes.append(clock.now_s)
    assert passes[0] == pytest.approx(105.0)
    assert passes[-1] >= 105.6  # 20 at once would be a burst of their own
    assert max(b - a for a, b in pairwise(passes)) <= 0.06


def test_one_burst_of_refusals_halves_the_calls_in_flight_once() -> None:
    clock = Clock()
    door = gate(clock)
    burst = enter(door, 16)
    clock.now_s += 1.0
    for ticket in burst:
        door.too_many(ticket, None)
    assert door.width == 8.0
    for ticket in burst:
        door.leave(ticket)
    clock.now_s += 1.0
    again = enter(door, 16)
    assert passed(again) == 8
    clock.now_s += 1.0
    door.too_many(again[0], None)
    assert door.width == 4.0


def test_it_opens_again_step_by_step() -> None:
    clock = Clock()
    door = gate(clock)
    burst = enter(door, 16)
    clock.now_s += 1.0
    door.too_many(burst[0], None)
    widths = [door.width]
    while door.width is not None:
        for _ in range(int(door.width)):  # a round that goes well
            door.went_well()
        widths.append(door.width)
    grown = [width for width in widths if width is not None]
    assert all(0.5 < b - a <= 1.0 for a, b in pairwise(grown))
    assert len(widths) > 16


def test_it_never_closes() -> None:
    clock = Clock()
    door = gate(clock)
    for _ in range(10):
        (ticket,) = enter(door, 1)
        clock.now_s += 1.0
        door.too_many(ticket, None)
        door.leave(ticket)
        clock.now_s += 1.0
    assert door.width == 1.0
    assert passed(enter(door, 1)) == 1


def test_the_users_limit_holds_when_it_opens_again() -> None:
    door = gate(concurrency=4)
    burst = enter(door, 4)
    door.too_many(burst[0], None)
    for _ in range(200):
        door.went_well()
    assert door.width == 4


def test_lms_of_one_account_share_a_gate() -> None:
    assert gate_of("a", Limits(rpm=3)) is gate_of("a", Limits(rpm=3))
    assert gate_of("a", Limits(rpm=3)) is not gate_of("b", Limits(rpm=3))
