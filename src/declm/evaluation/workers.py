"""Several workers that take rows from one list."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from declm.errors import BudgetExceeded, ProgramError


async def together(work: Callable[[], Awaitable[None]], workers: int, todo: Iterator[Any]) -> None:
    """Run workers to the end; the first error stops them all (a used-up budget: once their row is done)."""
    errors: list[Exception] = []

    async def guarded() -> None:
        try:
            await work()
        except BaseException as error:
            if isinstance(error, Exception):
                errors.append(error)
            for _ in todo:
                pass  # nothing new is started
            raise

    tasks = [asyncio.create_task(guarded()) for _ in range(workers)]
    try:
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        if any(isinstance(error, BudgetExceeded) for error in errors):
            await asyncio.wait(tasks)
        if errors:
            raise errors[0]
        if any(task.cancelled() for task in tasks):
            raise ProgramError("the program raised CancelledError, and nobody had cancelled it")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
