"""Rows into the ledger and out of it, for one program and one metric."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

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

P = ParamSpec("P")
T = TypeVar("T")


class Keeper:
    """Keeps what is worth keeping: answers, and the program's own failures.

    Provider failures and crashes are not kept: the next run tries those rows again. Where the gold
    row or the output has a sensitive field, the score is kept and the content is not.
    """

    def __init__(self, ledger: Ledger, program: Callable[..., Any], metric: str, traces: bool) -> None:
        self._ledger = ledger
        self._writer = _Writer(ledger)
        self._reader = Threads(4)
        self._codec = OutputCodec.of(program)
        self._metric = metric
        self._traces = traces

    async def known(self, keys: Sequence[Key]) -> dict[Key, Ran]:
        """What is kept of rows; without a score where the metric is another one. What is missing is to be run.

        Raises:
            StateError: the ledger can't be read, or somebody has changed an entry.
        """
        return await self._apart(self._known, keys)

    async def claim(self, key: Key) -> bool:
        """Take a row on; False while another process is at it."""
        return await self._apart(self._ledger.claim, key.claim)

    async def release(self, key: Key) -> None:
        """Let others run a row that gave nothing to keep."""
        await self._writer.release(key.claim)

    async def _apart(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that reads: in a thread where that takes the way over a network."""
        if self._ledger.is_remote:
            return await self._reader.call(function, *args, **kwargs)
        return function(*args, **kwargs)

    def _known(self, keys: Sequence[Key]) -> dict[Key, Ran]:
        found: dict[Key, Ran] = {}
        try:
            for key, (body, score) in self._ledger.outcomes(keys, self._metric).items():
                ran = self._restored(body, score)
                if ran is not None:
                    found[key] = ran
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StateError(f"{self._ledger.damage}: {clip(repr(error), 200)}") from error
        return found

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

    def keeps(self, ran: Ran) -> bool:
        """Whether a run is worth keeping."""
        return ran.answered or isinstance(ran.error, FAILURES)

    async def keep(self, key: Key, row: BaseModel, ran: Ran) -> None:
        """Write what a row gave; on disk when this returns.

        Raises:
            UsageError: the output can't be kept as JSON.
            StateError: the ledger can't be written.
        """
        if not self.keeps(ran):
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
        """Let the threads end; the ledger stays open."""
        self._writer.close()
        self._reader.close()


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

    async def release(self, claim: str) -> None:
        await self._thread.call(self._ledger.release, [claim])

    def close(self) -> None:
        self._thread.close()


def _is_sensitive(value: Any) -> bool:
    return isinstance(value, BaseModel) and bool(spec(type(value)).sensitive)


def _without_text(error: DeclmError | None) -> DeclmError | None:
    """An error of the same kind that quotes nothing."""
    if error is None:
        return None
    return load_error({"type": type(error).__name__, "message": "(withheld: the row has a sensitive field)"})
