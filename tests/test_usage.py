"""Usage, budgets and meters."""

from __future__ import annotations

import threading
import time

import pytest

from declm import Budget, BudgetExceeded, Usage, UsageError
from declm.usage import Meter


def test_usage_adds_up_in_every_figure() -> None:
    one = Usage(calls=1, cached=2, input_tokens=3, output_tokens=4, usd=0.5, seconds=1.0, unpriced=1)
    both = one + one
    assert both == Usage(calls=2, cached=4, input_tokens=6, output_tokens=8, usd=1.0, seconds=2.0, unpriced=2)
    assert both - one == one
    assert sum([one, one]) == both
    assert both.tokens == 14
    with pytest.raises(TypeError):
        _ = 3 + one


@pytest.mark.parametrize(
    "limits",
    [
        {"calls": -1},
        {"calls": 1.5},
        {"calls": "10"},
        {"calls": True},
        {"calls": float("inf")},
        {"tokens": -5},
        {"trials": 0.5},
        {"usd": -0.01},
        {"usd": float("nan")},
        {"usd": "2 $"},
        {"seconds": -1},
        {"seconds": True},
    ],
)
def test_a_budget_refuses_what_is_no_limit(limits: dict[str, object]) -> None:
    (name,) = limits
    with pytest.raises(UsageError, match=rf"Budget\({name}=.*\) must be a (whole )?number from 0"):
        Budget(**limits)  # type: ignore[arg-type]


def test_a_budget_takes_zero_and_fractions_where_they_make_sense() -> None:
    assert Budget() == Budget(None, None, None, None, None)
    assert Budget(calls=0, tokens=10, usd=0.25, seconds=1, trials=3).usd == 0.25


def test_fifty_threads_never_overshoot_the_calls() -> None:
    meter, sent, refused = Meter(Budget(calls=137)), list[int](), list[str]()
    start = threading.Barrier(50)

    def work() -> None:
        start.wait()
        for _ in range(10):
            try:
                meter.reserve()
            except BudgetExceeded as error:
                refused.append(error.limit)
                continue
            sent.append(1)
            time.sleep(0.0001)
            meter.settle(Usage(calls=1, input_tokens=2))

    threads = [threading.Thread(target=work) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sent) == meter.spent.calls == 137
    assert refused == ["calls"] * (500 - 137)
    assert meter.spent.input_tokens == 2 * 137


def test_a_reservation_that_sent_nothing_is_given_back() -> None:
    meter = Meter(Budget(calls=1))
    meter.reserve()
    with pytest.raises(BudgetExceeded, match=r"the budget of 1 calls is used up; raise it with Budget\(calls=\.\.\.\)"):
        meter.reserve()
    meter.settle(Usage())
    meter.reserve()


@pytest.mark.parametrize(
    ("budget", "spent", "limit"),
    [
        (Budget(tokens=10), Usage(input_tokens=4, output_tokens=6), "tokens"),
        (Budget(usd=0.5), Usage(usd=0.5), "usd"),
        (Budget(seconds=0), Usage(), "seconds"),
        (Budget(calls=3), Usage(calls=3), "calls"),
    ],
)
def test_each_limit_is_named_when_it_is_reached(budget: Budget, spent: Usage, limit: str) -> None:
    meter = Meter(budget)
    meter.charge(spent)
    assert meter.exhausted() == limit
    with pytest.raises(BudgetExceeded) as caught:
        meter.reserve()
    assert caught.value.limit == limit


def test_no_limit_means_no_end() -> None:
    meter = Meter(Budget())
    meter.charge(Usage(calls=10**9, input_tokens=10**12, usd=1e6))
    assert meter.exhausted() is None
