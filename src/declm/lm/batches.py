"""`Batches`: gathers what many callers ask, sends it as batch jobs, and gives each its answer.

Runs in the event loop of `TRAFFIC`, where nothing needs a lock. A job is noted on disk before it is waited for: the
same requests asked again, after a crash or Ctrl-C, take the answers of the job that is under way.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import secrets
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from declm import protocols
from declm.callbacks import tell_inside
from declm.errors import LMError, UsageError
from declm.events import BatchProgress
from declm.files import cache_dir, write_atomic
from declm.lm.batch_apis import MAX_BYTES, MAX_REQUESTS, BatchAPI, Outcome, Progress
from declm.lm.lanes import Question
from declm.lm.wire import Refused
from declm.text import digest

T = TypeVar("T")

_KEPT_S = 30 * 86_400.0
"""How long providers keep what a job gave."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to wait.

    Args:
        quiet_s: without a new request, until what has been gathered is sent.
        poll_s: the first and the longest pause between two looks at a job.
        patience_s: with nothing but failures of the server, until a job is given up; it goes on.
    """

    quiet_s: float = 1.0
    poll_s: tuple[float, float] = (2.0, 60.0)
    patience_s: float = 3600.0


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """One request that waits for its outcome."""

    id: str
    question: Question
    outcome: asyncio.Future[Outcome]
    is_noted: bool


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """Who asks.

    Args:
        api: raises exceptions of its own.
        model: name with its provider.
        key: text that tells accounts apart; of one, jobs can be found again.
        read: says what an exception of `api` means.
    """

    api: BatchAPI
    model: str
    key: str
    read: Callable[[Exception], LMError]

    @property
    def name(self) -> str:
        """Text that tells accounts apart, and shows nothing of them."""
        return digest([self.api.place, self.key])


@dataclass(eq=False)
class _Desk:
    """The jobs of one account: what is gathered for the next one, and those under way."""

    account: Account
    gathered: list[_Asked] = field(default_factory=list[_Asked])
    news: asyncio.Event = field(default_factory=asyncio.Event)
    is_gathering: bool = False
    waiting: dict[str, dict[str, _Asked]] = field(default_factory=dict[str, dict[str, _Asked]])
    """By job, and by the id of the request."""
    ended: dict[str, Progress] = field(default_factory=dict[str, Progress])
    taken: set[str] = field(default_factory=set[str])
    """Ids of requests that wait for their outcome or have it."""


@runtime_checkable
class Batchable(Protocol):
    """An LM that can also be asked through batch jobs."""

    def batched(self, batches: Batches) -> protocols.LM:
        """The same LM, asked through these jobs."""
        ...


class Batches:
    """The batch jobs of one evaluation.

    Args:
        folder: where jobs are noted; None for the user's cache folder.
    """

    def __init__(self, folder: Path | None = None, pace: Pace | None = None) -> None:
        self._folder = folder or cache_dir("batches")
        self._pace = pace or Pace()
        self._desks: dict[str, _Desk] = {}
        self._lms: dict[int, tuple[protocols.LM, protocols.LM]] = {}
        self._following: set[asyncio.Task[None]] = set()

    def of(self, lm: protocols.LM) -> protocols.LM:
        """The same LM, asked through these jobs.

        Raises:
            UsageError: it has no batch API.
        """
        known = self._lms.get(id(lm))  # it is held, so that its id stays its own
        if known is None:
            if not isinstance(lm, Batchable):
                raise UsageError(
                    f"batch=True needs LMs of providers, such as dm.LM('openai/...'); {lm.model!r} is none"
                )
            known = self._lms[id(lm)] = lm, lm.batched(self)
        return known[1]

    @property
    def are_under_way(self) -> bool:
        """Whether a job may still give something that was not waited for."""
        return any(desk.waiting for desk in self._desks.values())

    async def ask(self, account: Account, key: str | None, question: Question) -> Outcome:
        """The outcome of one request, when its job has ended.

        Args:
            account: who asks.
            key: text that tells requests apart; None for one that must leave no trace on disk.
            question: what is asked.

        Raises:
            Exception: what the API raises.
        """
        name = account.name
        desk = self._desks.setdefault(name, _Desk(account))
        id = secrets.token_hex(16) if key is None else self._free(key, desk)
        asked = _Asked(id, question, asyncio.get_running_loop().create_future(), key is not None)
        desk.gathered.append(asked)
        desk.news.set()
        if not desk.is_gathering:
            desk.is_gathering = True
            self._begin(self._gather(desk))
        try:
            return await asked.outcome
        except LMError:
            desk.taken.discard(id)  # asked once more, it is looked for in the job that may have it
            raise

    def _free(self, key: str, desk: _Desk) -> str:
        """An id of its own for a request; the same may be asked several times, and is numbered in that order."""
        id = next(id for number in itertools.count() if (id := f"{key}-{number}") not in desk.taken)
        desk.taken.add(id)
        return id

    def close(self) -> None:
        """Forget the jobs whose outcomes have all been given."""
        for desk in self._desks.values():
            for job in desk.ended:
                self._file(desk.account.api, job).unlink(missing_ok=True)

    async def _gather(self, desk: _Desk) -> None:
        """Wait until nothing more comes, and send it."""
        with suppress(asyncio.TimeoutError):
            while True:
                desk.news.clear()
                await asyncio.wait_for(desk.news.wait(), self._pace.quiet_s)
        gathered, desk.gathered, desk.is_gathering = desk.gathered, [], False
        todo = {asked.id: asked for asked in gathered if not asked.outcome.done()}
        try:
            await self._send(desk, todo)
        except Exception as error:  # noqa: BLE001  # handed to those who wait, who know what it means
            _fail(todo.values(), desk.account.read(error))

    async def _send(self, desk: _Desk, todo: dict[str, _Asked]) -> None:
        """Make jobs of requests, except for those that a job under way has; takes out what it has dealt with."""
        for job, ids in self._noted(desk.account):
            known = [id for id in ids if id in todo]
            if known:
                self._follow(desk, job, {id: todo.pop(id) for id in known})
        for part in _parts(list(todo.values())):
            job = await self._submitted(desk.account.api, {asked.id: asked.question for asked in part})
            self._note(desk.account, job, [asked.id for asked in part if asked.is_noted])
            self._follow(desk, job, {asked.id: todo.pop(asked.id) for asked in part})

    async def _submitted(self, api: BatchAPI, questions: Mapping[str, Question]) -> str:
        try:
            return await api.submit(questions)
        except Refused as error:
            if error.status in (404, 405):
                raise Refused(
                    f"there is no batch API at {api.place}: leave out batch=True ({error.text})", 400
                ) from error
            raise

    def _follow(self, desk: _Desk, job: str, asked: Mapping[str, _Asked]) -> None:
        if job in desk.waiting:
            desk.waiting[job].update(asked)
            return
        desk.waiting[job] = dict(asked)
        self._begin(self._watch(desk, job))

    async def _watch(self, desk: _Desk, job: str) -> None:
        """Look at a job until it has ended, and hand out what it gave."""
        try:
            progress = desk.ended.get(job) or await self._end_of(desk, job)
            if progress is None:
                return
            desk.ended[job] = progress
            await self._patiently(desk, lambda: self._hand_out(desk, job, progress))
        except Exception as error:  # noqa: BLE001  # as above
            if isinstance(error, Refused) and error.status in (404, 410):
                self._file(desk.account.api, job).unlink(missing_ok=True)  # so that the next one is new
                error = Refused(f"the provider has forgotten the batch job {job}: {error.text}")
            _fail(desk.waiting.pop(job).values(), desk.account.read(error))
            return
        for asked in desk.waiting.pop(job).values():
            if not asked.outcome.done():
                asked.outcome.set_result(progress.missing)

    async def _hand_out(self, desk: _Desk, job: str, progress: Progress) -> None:
        async with aclosing(desk.account.api.outcomes(progress)) as outcomes:
            async for id, outcome in outcomes:
                asked = desk.waiting[job].pop(id, None)
                if asked is not None and not asked.outcome.done():
                    asked.outcome.set_result(outcome)

    async def _end_of(self, desk: _Desk, job: str) -> Progress | None:
        """How a job has ended; None if nobody waits for it any more."""
        pauses_s = self._pauses()
        while any(not asked.outcome.done() for asked in desk.waiting[job].values()):
            progress = await self._patiently(desk, lambda: desk.account.api.look(job))
            model, counts = desk.account.model, {"done": progress.done, "total": progress.total}
            tell_inside(BatchProgress, model=model, job=job, status=progress.status, **counts)
            if progress.ended:
                return progress
            await asyncio.sleep(next(pauses_s))
        desk.waiting.pop(job)
        return None

    async def _patiently(self, desk: _Desk, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do something about a job, again where it fails in a way that may pass: the job has been paid for."""
        pauses_s, began_s = self._pauses(), time.monotonic()
        while True:
            try:
                return await work()
            except Exception as error:
                if not desk.account.read(error).retryable or time.monotonic() - began_s > self._pace.patience_s:
                    raise
            await asyncio.sleep(next(pauses_s))

    def _pauses(self) -> Iterator[float]:
        pause_s, longest_s = self._pace.poll_s
        while True:
            yield pause_s
            pause_s = min(pause_s * 1.5, longest_s)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._following.add(task)  # the event loop itself holds tasks weakly
        task.add_done_callback(self._following.discard)
        return task

    # --- what is noted

    def _file(self, api: BatchAPI, job: str) -> Path:
        return self._folder / f"{digest([api.place, job])}.json"

    def _note(self, account: Account, job: str, ids: Sequence[str]) -> None:
        note = {"declm": 1, "account": account.name, "place": account.api.place, "job": job, "requests": ids}
        with suppress(OSError):  # a full disk must not lose what has been sent
            write_atomic(self._file(account.api, job), json.dumps(note))

    def _noted(self, account: Account) -> list[tuple[str, list[str]]]:
        """The jobs of an account that were under way, with the ids of their requests; the newest first."""
        read = (_read(path, account.name) for path in self._folder.glob("*.json"))
        return [(job, ids) for _, job, ids in sorted(filter(None, read), reverse=True)]


def _read(path: Path, account: str) -> tuple[float, str, list[str]] | None:
    """When a job of an account was made, its id and those of its requests; None for what is no such note."""
    try:
        made_s = path.stat().st_mtime
        note = json.loads(path.read_text("utf-8"))
        if time.time() - made_s > _KEPT_S:
            path.unlink()
        elif note["account"] == account:
            return made_s, str(note["job"]), list(note["requests"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # damaged, or somebody else has just removed it: what it was about is asked anew
    return None


def _parts(asked: Sequence[_Asked]) -> Iterator[list[_Asked]]:
    """Requests by job: no more of them, and no more bytes, than one takes."""
    size = 0
    part: list[_Asked] = []
    for each in asked:
        size += len(each.question.body) + 128
        if part and (len(part) == MAX_REQUESTS or size > MAX_BYTES):
            yield part
            part, size = [], len(each.question.body) + 128
        part.append(each)
    if part:
        yield part


def _fail(asked: Iterable[_Asked], error: LMError) -> None:
    for each in asked:
        if not each.outcome.done():
            each.outcome.set_exception(copy.copy(error))  # each has attempts of its own
