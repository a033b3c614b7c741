"""`configure`, `context` and what is in force: an argument beats `context`, which beats `configure`."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias, TypeVar

from declm.errors import UsageError
from declm.events import Event
from declm.protocols import LM, is_lm
from declm.text import Url, clip
from declm.usage import ATTEMPT, NOTHING, Budget, Meter, Usage

Callback: TypeAlias = Callable[[Event], object]
"""Takes every event, in the thread where it happens; what it returns is ignored."""

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Settings:
    """What is in force at one place; None means not set.

    Args:
        lm: the LM of predictors that have none of their own, as object or name.
        extractor: the LM that reads outputs from drafts in the format `two_step`; None for the one
            that wrote the draft.
        cache: False for no reply cache, a path for another file, an address for a Redis server.
        format: default format by name.
        meters: what the budgets in force have spent.
        templates: folders searched for templates before declm's own.
        sample: index of the sample that is drawn of each prompt; see `sampling`.
        callbacks: who is told of events; see `declm.events`.
        wrap: what stands around every LM that is called; see `wrapping`.
        batch: what asks an LM through its provider's batch API; see `batching`.
    """

    lm: LM | str | None = None
    extractor: LM | str | None = None
    cache: bool | Path | Url | None = None
    format: str | None = None
    meters: tuple[Meter, ...] = ()
    templates: tuple[Path, ...] = ()
    sample: int = 0
    callbacks: tuple[Callback, ...] = ()
    wrap: Callable[[LM], LM] | None = None
    batch: Callable[[LM], LM] | None = None

    def over(self, base: Settings) -> Settings:
        """These settings where they are set, else those of `base`; meters, folders and callbacks of both."""
        return Settings(
            lm=base.lm if self.lm is None else self.lm,
            extractor=base.extractor if self.extractor is None else self.extractor,
            cache=base.cache if self.cache is None else self.cache,
            format=base.format if self.format is None else self.format,
            meters=(*base.meters, *self.meters),
            templates=(*self.templates, *base.templates),
            sample=self.sample or base.sample,
            callbacks=(*base.callbacks, *self.callbacks),
            wrap=base.wrap if self.wrap is None else self.wrap,
            batch=base.batch if self.batch is None else self.batch,
        )


# One slot for the whole process, visible in every thread and task; replaced as a whole, never mutated.
_process: list[Settings] = [Settings()]


class _Scope:
    """What contexts have set, and nothing else: `configure` still shows through where they have not."""

    __slots__ = ("merged", "own")

    def __init__(self, own: Settings) -> None:
        self.own = own
        self.merged = _process[0], own.over(_process[0])
        """The process's settings, and those in force with them: put together once, for each call looks here often."""


_scoped: contextvars.ContextVar[_Scope | None] = contextvars.ContextVar("declm_settings", default=None)


def current() -> Settings:
    """The settings in force here."""
    scope, base = _scoped.get(), _process[0]
    if scope is None:
        return base
    if scope.merged[0] is not base:
        scope.merged = base, scope.own.over(base)
    return scope.merged[1]


def configure(
    *,
    lm: LM | str | None = None,
    extractor: LM | str | None = None,
    cache: bool | str | Path | None = None,
    format: str | None = None,
    budget: Budget | None = None,
    templates: str | Path | Sequence[str | Path] | None = None,
    callbacks: Sequence[Callback] | None = None,
) -> None:
    """Set defaults for the whole process; what is not given stays as it is.

    Args:
        lm: `dm.LM(...)` or a name such as `"openai/gpt-5-mini"` or `"local/smollm2"`.
        cache: False turns the reply cache off; a path puts it elsewhere, and so does the address of a
            Redis server, `"redis://host:6379/0"` (`rediss://` for TLS).
        extractor: LM or name of the LM that reads outputs from drafts in the format `two_step`; without
            one, the LM that wrote the draft does.
        format: `"auto"`, `"native"`, `"json"`, `"chat"`, `"xml"` or `"two_step"`.
        budget: hard limits for all calls from now on; a new budget replaces the last one.
        templates: one or several folders that shadow declm's templates.
        callbacks: functions that are told of every event (see `declm.events`), in the order given; one that
            raises is logged and harms nothing.

    Raises:
        UsageError: a value makes no sense; nothing has been changed.
    """
    given = _checked(cache, format, budget, templates, callbacks)
    _process[0] = replace(_process[0], **_lms(lm, extractor), **given)


@contextmanager
def context(
    *,
    lm: LM | str | None = None,
    extractor: LM | str | None = None,
    cache: bool | str | Path | None = None,
    format: str | None = None,
    budget: Budget | None = None,
    templates: str | Path | Sequence[str | Path] | None = None,
    callbacks: Sequence[Callback] | None = None,
) -> Generator[None]:
    """The same as `configure`, inside a `with` block and for this thread or task only.

    A budget adds to those already in force: the first limit that is reached stops the calls. Folders
    of templates come before those already in force; callbacks add to them.

    Example:
        >>> from declm.testing import ScriptedLM
        >>> with context(lm=ScriptedLM(["hello"])):
        ...     current().lm.model
        'scripted'
    """
    given = Settings(**_lms(lm, extractor), **_checked(cache, format, budget, templates, callbacks))
    with _scope(given.over(_own())):
        yield


class metered:  # noqa: N801  # used like the functions of `contextlib`; a class, for every row enters one
    """Count every call inside the block against `meter`, beside the budgets in force."""

    __slots__ = ("_meter", "_token")

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def __enter__(self) -> Meter:
        self._token = _counting.set((*_counting.get(), self._meter))
        return self._meter

    def __exit__(self, *_: object) -> None:
        _counting.reset(self._token)


# Apart from the settings, which would have to be put together anew for every row.
_counting: contextvars.ContextVar[tuple[Meter, ...]] = contextvars.ContextVar("declm_meters", default=())


def meters() -> tuple[Meter, ...]:
    """What counts calls here: the budgets in force, and what `metered` adds."""
    return (*current().meters, *_counting.get())


def sampling(index: int) -> AbstractContextManager[None]:
    """Draw another sample: the index enters cache and ledger keys and is never sent."""
    return _scope(replace(_own(), sample=index))


def wrapping(wrap: Callable[[LM], LM]) -> AbstractContextManager[None]:
    """Call another LM in the place of each: one that records it, or that answers for it."""
    return _scope(replace(_own(), wrap=wrap))


def batching(batch: Callable[[LM], LM]) -> AbstractContextManager[None]:
    """Ask another LM in the place of each that predictors have: one that waits for batch jobs."""
    return _scope(replace(_own(), batch=batch))


@contextmanager
def _scope(own: Settings) -> Generator[None]:
    token = _scoped.set(_Scope(own))
    try:
        yield
    finally:
        _scoped.reset(token)


@dataclass(slots=True)
class Bill:
    """Where the sender of one attempt writes what the attempt used."""

    usage: Usage = NOTHING


class charged:  # noqa: N801  # as above
    """Charge one attempt to every budget in force; an LM wraps each send in this.

    Args:
        expected: what it will use at least, as far as that is known.

    Raises:
        BudgetExceeded: a budget leaves no room; nothing has been sent.
    """

    __slots__ = ("_bill", "_expected", "_taken")

    def __init__(self, expected: Usage = ATTEMPT) -> None:
        self._expected = expected
        self._bill = Bill()
        self._taken: list[Meter] = []

    def __enter__(self) -> Bill:
        try:
            for meter in meters():
                meter.reserve(self._expected)
                self._taken.append(meter)
        except BaseException:
            self.__exit__()
            raise
        return self._bill

    def __exit__(self, *_: object) -> None:
        for meter in self._taken:
            meter.settle(self._bill.usage, self._expected)


def carry(function: Callable[P, R]) -> Callable[P, R]:
    """Bind a function to the settings in force here, for use in a thread of your own.

    Example:
        >>> import threading
        >>> threading.Thread(target=carry(print), args=("inherits settings",)).start()
        inherits settings
    """
    snapshot = contextvars.copy_context()

    def carried(*args: P.args, **kwargs: P.kwargs) -> R:
        # A context can be entered once at a time; a copy lets many threads share one snapshot.
        return snapshot.copy().run(function, *args, **kwargs)

    return carried


def cache_place(cache: bool | str | Path) -> bool | Path | Url:
    """Where replies are kept, by an argument `cache`.

    Raises:
        UsageError: it is the address of something else than a Redis server.
    """
    if isinstance(cache, bool):
        return cache
    scheme, separator, _ = str(cache).partition("://")
    if not separator or isinstance(cache, Path):
        return Path(cache)
    if scheme not in {"redis", "rediss"}:
        raise UsageError(f"cache={clip(repr(Url(cache)), 80)} is neither a path nor redis://host:port/0")
    return Url(cache)


def _own() -> Settings:
    """What the contexts around this place have set."""
    scope = _scoped.get()
    return Settings() if scope is None else scope.own


def _lms(lm: LM | str | None, extractor: LM | str | None) -> dict[str, Any]:
    """The LMs that are given, by the name of their setting."""
    found = {name: given for name, given in (("lm", lm), ("extractor", extractor)) if given is not None}
    for name, given in found.items():
        if not isinstance(given, str) and not is_lm(given):
            raise UsageError(f"{name}={given!r} is neither a model name nor an LM; try {name}=dm.LM('provider/model')")
    return found


def _checked(
    cache: bool | str | Path | None,
    format: str | None,
    budget: Budget | None,
    templates: str | Path | Sequence[str | Path] | None,
    callbacks: Sequence[Callback] | None,
) -> dict[str, Any]:
    """The fields of `Settings` that are given."""
    found: dict[str, Any] = {}
    if cache is not None:
        found["cache"] = cache_place(cache)
    if format is not None:
        found["format"] = format
    if budget is not None:
        found["meters"] = (Meter(budget),)
    if templates is not None:
        found["templates"] = _folders(templates)
    if callbacks is not None:
        found["callbacks"] = _called(callbacks)
    return found


def _called(callbacks: Sequence[Callback]) -> tuple[Callback, ...]:
    if callable(callbacks) or not all(callable(one) for one in callbacks):
        raise UsageError(f"callbacks={clip(repr(callbacks), 80)} must be a list of functions of one event")
    return tuple(callbacks)


def _folders(templates: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
    given = [templates] if isinstance(templates, (str, Path)) else templates
    folders = tuple(Path(folder) for folder in given)
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"templates={str(folder)!r} is no folder")
    return folders
