"""Rows into the ledger and out of it, for one program and one metric."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from declm.errors import DeclmError, StateError, dump_error, load_error
from declm.evaluation.codec import OutputCodec, dump_trace, dump_usage, dump_usages, load_trace, load_usage, load_usages
from declm.evaluation.ledger import Entry, Key, Ledger
from declm.evaluation.results import FAILURES, Ran
from declm.score import Score
from declm.specs import spec
from declm.text import clip
from declm.threads import Threads
from declm.trace import Call


class Keeper:
    """Keeps what is worth keeping: answers, and the program's own failures.

    Provider failures and crashes are not kept: the next run tries those rows again. Where the gold
    row or the output has a sensitive field, the score is kept and the content is not.
    """

    def __init__(self, ledger: Ledger, program: Callable[..., Any], metric: str, traces: bool) -> None:
        self._ledger = ledger
        self._writer = _Writer(ledger)
        self._codec = OutputCodec.of(program)
        self._metric = metric
        self._traces = traces

    def find(self, key: Key) -> Ran | None:
        """What is kept of a row; without a score if the metric is another one. None: run it.

        Raises:
            StateError: the ledger can't be read, or somebody has changed the entry.
        """
        body = self._ledger.outcome(key)
        if body is None:
            return None
        try:
            return self._restored(body, self._ledger.score(key, self._metric))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StateError(f"{self._ledger.damage}: {clip(repr(error), 200)}") from error

    def _restored(self, body: Mapping[str, Any], score: Score | None) -> Ran | None:
        if self._traces and body["trace"] is None:
            return None
        if body["withheld"] and score is None:
            return None
        call = load_trace(body["trace"]) if self._traces else Call(path="", name="")
        ran = Ran(call, seconds=body["seconds"], usage=load_usage(body["usage"]))
        ran.usage_by_predictor = load_usages(body.get("predictors", {}))
        error = load_error(body["error"])
        if error is not None:
            ran.fail(error)
            return ran
        ran.answered, ran.score = True, score
        try:
            ran.output = None if body["withheld"] else self._codec.load(body["output"])
        except StateError:
            return None  # the class has changed since: run the row again
        return ran

    async def keep(self, key: Key, row: BaseModel, ran: Ran) -> None:
        """Write what a row gave; on disk when this returns.

        Raises:
            UsageError: the output can't be kept as JSON.
            StateError: the ledger can't be written.
        """
        if not ran.answered and not isinstance(ran.error, FAILURES):
            return
        withheld = _is_sensitive(row) or _is_sensitive(ran.output)
        body = {
            "output": self._codec.dump(ran.output) if ran.answered and not withheld else None,
            "withheld": withheld,
            "error": None if ran.answered else dump_error(_without_text(ran.error) if withheld else ran.error),
            "usage": dump_usage(ran.usage),
            "predictors": dump_usages(ran.usage_by_predictor),
            "seconds": ran.seconds,
            "trace": dump_trace(ran.call) if self._traces and not withheld else None,
        }
        await self._writer.write(Entry(key, body, self._metric, ran.score if ran.answered else None))

    def close(self) -> None:
        """Let the writing thread end; the ledger stays open."""
        self._writer.close()


class _Writer:
    """Writes entries beside the event loop; those that come during one commit share the next."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._thread = Threads(1)
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def write(self, entry: Entry) -> None:
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, written))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())
        await written

    async def _drain(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            error: StateError | None = None
            try:
                await self._thread.call(self._ledger.record, *(entry for entry, _ in batch))
            except StateError as raised:
                error = raised
            for _, written in batch:
                if written.done():
                    continue  # its row was cancelled meanwhile
                if error is None:
                    written.set_result(None)
                else:
                    written.set_exception(error)

    def close(self) -> None:
        self._thread.close()


def _is_sensitive(value: Any) -> bool:
    return isinstance(value, BaseModel) and bool(spec(type(value)).sensitive)


def _without_text(error: DeclmError | None) -> DeclmError | None:
    """An error of the same kind that quotes nothing."""
    if error is None:
        return None
    return load_error({"type": type(error).__name__, "message": "(withheld: the row has a sensitive field)"})
