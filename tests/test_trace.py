"""The trace: a tree of calls, kept only where somebody asked."""

from __future__ import annotations

import threading

import pytest

from declm import Usage, trace
from declm.messages import Message, Request, Response
from declm.settings import carry


class Part:
    """Anything that can be called."""


def exchange(calls: int) -> tuple[Request, Response]:
    return Request(messages=(Message("user", "q"),)), Response(text="a", usage=Usage(calls=calls))


def test_nothing_is_kept_where_nobody_asked() -> None:
    with trace.step(Part()) as call:
        assert call is None


def test_calls_nest_and_are_named_by_path() -> None:
    outer, inner = Part(), Part()
    with trace.record({id(outer): "self", id(inner): "steps.0"}) as root:
        with trace.step(outer), trace.step(inner, is_predictor=True) as call:
            assert call is not None
            call.outputs = {"answer": "42"}
        with trace.step(Part()):
            pass
    first, second = root.children
    assert (first.path, second.path, second.name) == ("self", "Part", "Part")
    assert [c.path for c in root.walk()] == ["", "self", "steps.0", "Part"]
    assert [c.path for c in first.predictor_calls()] == ["steps.0"]
    assert first.seconds >= first.children[0].seconds >= 0.0


def test_a_trace_prints_as_an_indented_tree_with_outputs_or_the_error() -> None:
    outer, inner = Part(), Part()
    with trace.record({id(outer): "self", id(inner): "ask"}) as root:
        with trace.step(outer), trace.step(inner) as call:
            assert call is not None
            call.outputs = {"answer": "42"}
        with pytest.raises(ValueError, match="no"), trace.step(inner):
            raise ValueError("no")
    first, second = str(root.children[0]).splitlines()
    assert first.startswith("self (Part, ")
    assert second.startswith("  ask (Part, ")
    assert second.endswith("answer='42'")
    assert str(root.children[1]).endswith("ValueError")
    assert isinstance(root.children[1].error, ValueError)


def test_usage_is_summed_over_the_tree() -> None:
    with trace.record({}) as root:
        for _ in range(2):
            with trace.step(Part()) as outer, trace.step(Part()) as inner:
                assert outer is not None
                assert inner is not None
                outer.exchanged(*exchange(1))
                inner.exchanged(*exchange(10))
    assert root.usage == Usage(calls=22)
    assert root.children[0].usage == Usage(calls=11)


def test_a_masked_exchange_tells_its_cost_alone() -> None:
    call = trace.Call(path="self", name="Predict")
    request = Request(messages=(Message("user", "the secret"),))
    response = Response(text="the secret", reasoning="the secret", usage=Usage(calls=1))
    call.exchanged(request, response, masked=True)
    assert "secret" not in repr(call)
    assert call.usage == Usage(calls=1)


def test_an_outer_trace_sees_inner_ones_under_its_own_paths() -> None:
    part, other = Part(), Part()
    with trace.record({id(part): "steps.ask"}) as outer:
        with trace.record({id(part): "self", id(other): "own"}) as inner, trace.step(part), trace.step(other):
            pass
        assert [c.path for c in inner.walk()] == ["", "steps.ask", "own"]
    assert outer.children == inner.children


def test_an_inner_trace_hands_its_calls_out_even_when_it_fails() -> None:
    with trace.record({}) as outer:
        with pytest.raises(KeyError), trace.record({}), trace.step(Part()):
            raise KeyError("x")
        assert len(outer.children) == 1


def test_threads_of_ones_own_join_the_trace_by_carry_only() -> None:
    part = Part()

    def work() -> None:
        with trace.step(part):
            pass

    with trace.record({}) as root:
        for target in (work, carry(work)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert len(root.children) == 1
