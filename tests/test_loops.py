"""Coroutines from synchronous code."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from declm import loops

VARIABLE = contextvars.ContextVar("test_variable", default="unset")


async def value() -> str:
    await asyncio.sleep(0)
    return VARIABLE.get()


async def failing() -> None:
    await asyncio.sleep(0)
    raise KeyError("inside")


@pytest.mark.parametrize("run", [loops.run, loops.run_apart])
def test_results_errors_and_context_variables_come_through(run: object) -> None:
    assert callable(run)
    token = VARIABLE.set("carried")
    try:
        assert run(value()) == "carried"
    finally:
        VARIABLE.reset(token)
    with pytest.raises(KeyError, match="inside"):
        run(failing())


async def test_a_running_loop_is_no_hindrance() -> None:
    assert loops.run(value()) == "unset"
    with pytest.raises(KeyError, match="inside"):
        loops.run(failing())


async def test_together_keeps_the_order() -> None:
    async def after(seconds: float, what: int) -> int:
        await asyncio.sleep(seconds)
        return what

    assert await loops.together(after(0.01 / (i + 1), i) for i in range(5)) == [0, 1, 2, 3, 4]
    assert await loops.together([]) == []


async def test_together_cancels_the_others_on_an_error() -> None:
    ended: list[str] = []

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    with pytest.raises(KeyError):
        await loops.together([endless(), failing(), endless()])
    assert ended == ["cancelled", "cancelled"]
    assert len(asyncio.all_tasks()) == 1


async def test_together_is_cancelled_as_a_whole() -> None:
    ended: list[int] = []

    async def endless(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    task = asyncio.ensure_future(loops.together(endless(i) for i in range(3)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == [0, 1, 2]


def interrupt_soon(seconds: float = 0.2) -> None:
    threading.Timer(seconds, signal.raise_signal, (signal.SIGINT,)).start()


def test_ctrl_c_cancels_and_is_raised_at_once() -> None:
    ended = threading.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    interrupt_soon()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        loops.run_apart(endless(), patience_s=5.0)
    assert time.monotonic() - started < 2.0
    assert ended.is_set()


def test_after_ctrl_c_the_coroutine_may_end_with_what_it_has() -> None:
    stop = threading.Event()

    async def searching() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not stop.is_set():
                raise
        return "best so far"

    interrupt_soon()
    assert loops.run_apart(searching(), patience_s=5.0, stop=stop) == "best so far"


def test_a_coroutine_that_has_nothing_to_return_is_interrupted() -> None:
    stop = threading.Event()
    interrupt_soon()
    with pytest.raises(KeyboardInterrupt):
        loops.run_apart(asyncio.sleep(60), patience_s=5.0, stop=stop)
    assert stop.is_set()


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to a process")
def test_what_blocks_the_loop_can_not_hold_up_ctrl_c_or_the_exit() -> None:
    code = """
        import time
        from declm import loops

        async def stuck():
            print("ready", flush=True)
            time.sleep(60)

        try:
            loops.run_apart(stuck(), patience_s=0.2)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
        assert (out, process.returncode) == ("interrupted\n", 0)
        assert time.monotonic() - started < 5.0
    finally:
        process.kill()
        process.wait()
