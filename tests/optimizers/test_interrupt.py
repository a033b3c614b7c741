"""Ctrl-C ends a search within a moment; the best so far comes back."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from search_cases import (
    QUESTIONS,
    TRAIN,
    VAL,
    Sort,
    TwoSteps,
    correct,
    from_demos,
    is_proposal,
    learner,
    same_answer,
    search,
    two_steps,
)

import declm as dm
from declm.messages import Request, Response
from declm.optimizers import JointSearch
from declm.testing import FunctionLM

SOON_S = 10.0
"""Much less than the waits below, and enough for a busy machine."""


class StallingLM(FunctionLM):
    """Answers so many requests, presses Ctrl-C, and never answers again."""

    def __init__(self, rule: Any, alive: int) -> None:
        super().__init__(rule)
        self.alive, self.asked = alive, 0
        self.pressed_s: list[float] = []

    async def acomplete(self, request: Request) -> Response:
        self.asked += 1
        if self.asked > self.alive:
            if not self.pressed_s:
                self.pressed_s.append(time.monotonic())
                signal.raise_signal(signal.SIGINT)
            await asyncio.Event().wait()
        return await super().acomplete(request)


def test_the_best_so_far_is_returned_when_the_user_presses_ctrl_c() -> None:
    lm = StallingLM(from_demos, alive=200)
    best = search(dm.Predict(Sort, lm=lm), trials=30)
    assert time.monotonic() - lm.pressed_s[0] < SOON_S
    assert best.report.stopped == "Ctrl-C"
    assert "Ctrl-C ended the search." in str(best.report)
    assert best.report.accepted
    assert best.score > best.baseline + 0.3
    assert best.report.verdict is not None
    assert best.report.verdict.confirm_rows == 0
    assert len(lm.requests) == 200


@pytest.mark.parametrize("alive", [40, 55])
def test_before_the_first_trial_the_given_program_is_the_best(alive: int) -> None:
    program = dm.Predict(Sort, lm=StallingLM(from_demos, alive=alive))
    best = search(program)
    assert (best.program.state, best.report.stopped) == (program.state, "Ctrl-C")


def test_during_the_confirmation_the_winner_is_judged_on_val() -> None:
    lm = learner(from_demos)
    whole = search(dm.Predict(Sort, lm=lm), trials=2, proposals=0)
    assert whole.report.verdict is not None
    assert whole.report.verdict.confirm_rows > 0
    stalling = StallingLM(from_demos, alive=len(lm.requests) - 3)
    best = search(dm.Predict(Sort, lm=stalling), trials=2, proposals=0)
    assert (best.report.stopped, best.score) == ("Ctrl-C", whole.score)


def test_before_the_given_program_is_scored_there_is_nothing_to_return(tmp_path: Path) -> None:
    ledger = str(tmp_path / "search.sqlite")
    stalling = StallingLM(from_demos, alive=20)
    with pytest.raises(dm.Interrupted, match="stopped before there was a result; the ledger .* keeps what is done"):
        search(dm.Predict(Sort, lm=stalling), name=ledger)
    assert time.monotonic() - stalling.pressed_s[0] < SOON_S
    lm = learner(from_demos)
    best = search(dm.Predict(Sort, lm=lm), name=ledger, trials=0)
    assert len(lm.requests) == len(VAL) - 20
    assert best.usage.calls == len(VAL)


def test_what_was_finished_before_ctrl_c_is_not_paid_again(tmp_path: Path) -> None:
    ledger = str(tmp_path / "search.sqlite")
    stalling, lm, plain = StallingLM(from_demos, alive=150), learner(from_demos), learner(from_demos)
    search(dm.Predict(Sort, lm=stalling), name=ledger)
    resumed = search(dm.Predict(Sort, lm=lm), name=ledger)
    unbroken = search(dm.Predict(Sort, lm=plain))
    assert resumed.program.state == unbroken.program.state
    assert 150 + len(lm.requests) <= len(plain.requests) + 16


def test_plain_code_that_hangs_in_a_thread_does_not_hold_up_ctrl_c() -> None:
    release, pressed = threading.Event(), list[float]()

    def reply(request: Request) -> str:
        if len(request.messages) > 2 and not is_proposal(request):
            if not pressed:
                pressed.append(time.monotonic())
                signal.raise_signal(signal.SIGINT)
            release.wait(45)
        return two_steps(request)

    try:
        with dm.context(lm=FunctionLM(reply)):
            best = search(TwoSteps(), train=QUESTIONS[:26], val=QUESTIONS[26:], metric=same_answer, proposals=0)
        assert time.monotonic() - pressed[0] < SOON_S
        assert best.report.stopped == "Ctrl-C"
    finally:
        release.set()


async def test_a_cancelled_coroutine_is_cancelled() -> None:
    lm = FunctionLM(from_demos)

    class Endless(FunctionLM):
        async def acomplete(self, request: Request) -> Response:
            if len(lm.requests) >= 60:
                await asyncio.Event().wait()
            return await lm.acomplete(request)

    task = asyncio.ensure_future(
        dm.aoptimize(
            dm.Predict(Sort, lm=Endless(from_demos)),
            train=TRAIN,
            val=VAL,
            metric=correct,
            optimizer=JointSearch(trials=3, proposals=0),
            progress=False,
        )
    )
    while len(lm.requests) < 60:  # noqa: ASYNC110  # the double knows no events
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(asyncio.all_tasks()) == 1
