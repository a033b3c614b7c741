"""The trace: a tree of calls by stable predictor path, kept only where somebody asked for it."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from declm.callbacks import listening, spanned, tell
from declm.events import CallEnded, CallStarted
from declm.messages import Request, Response
from declm.usage import NOTHING, Usage

MASK = "***"
"""Stands for what a trace may not hold."""


# Functions, for to call `dict[str, Any]` takes six times as long as to call one that returns an empty dict.
def _nothing() -> dict[str, Any]:
    return {}


def _none() -> list[Any]:
    return []


@dataclass(slots=True)
class Call:
    """One call of a module or predictor, with the calls made inside it.

    `inputs` and `outputs` are JSON values by key for predictors (sensitive fields masked); for
    modules they are empty. `probabilities` are those of the values of closed outputs, where the
    predictor asked for them. `exchanges` holds the requests and responses of a predictor's call, in
    order, re-asks included. Of a call with a sensitive field they tell the cost alone, and the
    reasoning, which may quote anything, is masked too.
    """

    path: str
    name: str
    inputs: dict[str, Any] = field(default_factory=_nothing)
    outputs: dict[str, Any] = field(default_factory=_nothing)
    reasoning: str | None = None
    probabilities: dict[str, dict[str, float]] = field(default_factory=_nothing)
    repairs: tuple[str, ...] = ()
    error: BaseException | None = None
    seconds: float = 0.0
    exchanges: list[tuple[Request, Response]] = field(default_factory=_none)
    children: list[Call] = field(default_factory=_none)
    is_predictor: bool = False

    def exchanged(self, request: Request, response: Response, *, masked: bool = False) -> None:
        """Keep one request and the response to it; `masked` leaves the words out."""
        if masked:
            request, response = replace(request, messages=()), replace(response, text=MASK, reasoning=None, tokens=())
        self.exchanges.append((request, response))

    @property
    def usage(self) -> Usage:
        """What this call and the calls inside it used."""
        return sum(self.usage_by_predictor.values(), NOTHING)

    @property
    def usage_by_predictor(self) -> dict[str, Usage]:
        """What the predictors inside used, by path; attempts that failed are not among it."""
        found: dict[str, Usage] = {}
        for call in self.walk():
            for _, response in call.exchanges:
                found[call.path] = found.get(call.path, NOTHING) + response.usage
        return found

    def walk(self) -> Iterator[Call]:
        """This call and all calls inside it, in order of their start."""
        yield self
        for child in self.children:
            yield from child.walk()

    def predictor_calls(self) -> list[Call]:
        """The calls of predictors inside, in order of their start."""
        return [call for call in self.walk() if call.is_predictor]

    def __str__(self) -> str:
        return "\n".join(self._lines(0))

    def _lines(self, depth: int) -> Iterator[str]:
        said = ", ".join(f"{key}={value!r}" for key, value in self.outputs.items())
        outcome = type(self.error).__name__ if self.error else said
        yield f"{'  ' * depth}{self.path} ({self.name}, {self.seconds:.2f} s) {outcome}".rstrip()
        for child in self.children:
            yield from child._lines(depth + 1)


@dataclass(slots=True)
class _Scope:
    call: Call
    paths: Mapping[int, str]


_open: ContextVar[_Scope | None] = ContextVar("declm_trace", default=None)


class record:  # noqa: N801  # used like the functions of `contextlib`
    """Keep a trace of what runs inside the block.

    Gives a root whose `children` are the calls made; `paths` maps `id(node)` to dotted path. A trace
    kept outside the block sees the calls too, and its paths win: a search must find the predictors of
    a program also where a `forward` says `self.step.run(...)`.
    """

    # Classes rather than generators here: every row and every predictor's call enters one of each.
    __slots__ = ("_outer", "_paths", "_root", "_token")

    def __init__(self, paths: Mapping[int, str]) -> None:
        self._paths = paths

    def __enter__(self) -> Call:
        outer = self._outer = _open.get()
        root = self._root = Call(path="", name="")
        self._token = _open.set(_Scope(root, {**self._paths, **outer.paths} if outer else self._paths))
        return root

    def __exit__(self, *_: object) -> None:
        _open.reset(self._token)
        if self._outer is not None:
            self._outer.call.children.extend(self._root.children)


def step(node: object, *, is_predictor: bool = False) -> AbstractContextManager[Call | None]:
    """Enter one call of `node`; gives None, at almost no cost, where no trace is kept and nobody listens."""
    scope, heard = _open.get(), listening()
    if scope is None and not heard:
        return _NO_STEP
    name = type(node).__name__
    paths: Mapping[int, str] = scope.paths if scope else {}
    call = Call(path=paths.get(id(node), name), name=name, is_predictor=is_predictor)
    if scope is not None:
        scope.call.children.append(call)
    return _heard(call, paths) if heard else _Step(call, paths)


_NO_STEP = nullcontext[None]()


class _Step:
    """A call under way, which those made inside it belong to."""

    __slots__ = ("_call", "_paths", "_started_s", "_token")

    def __init__(self, call: Call, paths: Mapping[int, str]) -> None:
        self._call, self._paths = call, paths

    def __enter__(self) -> Call:
        self._token = _open.set(_Scope(self._call, self._paths))
        self._started_s = time.perf_counter()
        return self._call

    def __exit__(self, _kind: object, error: BaseException | None, _where: object) -> None:
        if error is not None:
            self._call.error = error
        self._call.seconds = time.perf_counter() - self._started_s
        _open.reset(self._token)


@contextmanager
def _heard(call: Call, paths: Mapping[int, str]) -> Generator[Call]:
    with _Step(call, paths), _told(call):
        yield call


@contextmanager
def _told(call: Call) -> Generator[None]:
    """Tell callbacks of a call."""
    started, error = time.perf_counter(), None
    with spanned() as (span, parent):
        named: dict[str, Any] = {"path": call.path, "name": call.name, "is_predictor": call.is_predictor}
        tell(CallStarted(span=span, parent=parent, **named))
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            seconds = time.perf_counter() - started
            known: dict[str, Any] = {"inputs": call.inputs, "outputs": call.outputs, "usage": call.usage}
            tell(CallEnded(span=span, parent=parent, **named, **known, error=error, seconds=seconds))
