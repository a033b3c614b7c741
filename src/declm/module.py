"""`Module`: a program composed in plain Python, and what every program can do."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from pydantic import BaseModel
from typing_extensions import Self

from declm import loops, storage, streams, trace
from declm.arguments import arguments, forward_of
from declm.errors import UsageError
from declm.state import Node, ProgramState, Stateful, match, nodes, predictors, rebuild, snapshot
from declm.text import clip
from declm.threads import Threads
from declm.usage import Usage

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Prediction(Generic[R_co]):
    """What `run` returns: the value, and how it came about.

    Args:
        value: what calling the program would have returned.
        reasoning: the reasoning of the predictor that ran last, if it gave one.
        trace: the tree of calls; `print(run.trace)` shows it.
        candidates: other values that were considered, by modules that sample several.
    """

    value: R_co
    trace: trace.Call
    reasoning: str | None = None
    candidates: tuple[Any, ...] = field(default=())

    @property
    def usage(self) -> Usage:
        """Calls, tokens, USD and seconds of all LM calls inside."""
        return self.trace.usage

    @property
    def probabilities(self) -> dict[str, dict[str, float]]:
        """Those of the values of closed outputs, from the last predictor that was asked for them; else empty."""
        weighed = [call.probabilities for call in self.trace.predictor_calls() if call.probabilities]
        return weighed[-1] if weighed else {}

    @property
    def usage_by_predictor(self) -> dict[str, Usage]:
        """The same for each predictor inside, by its path (`self` for the predictor that was run)."""
        return self.trace.usage_by_predictor

    def __repr__(self) -> str:
        thought = f", reasoning={clip(self.reasoning, 80)!r}" if self.reasoning else ""
        others = f", {len(self.candidates)} candidates" if self.candidates else ""
        return f"Prediction({self.value!r}{thought}{others}, {self.usage.calls} calls, {self.usage.tokens} tokens)"


class _AsyncForward(Protocol[P, R_co]):
    def forward(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]: ...


class _Forward(Protocol[P, R_co]):
    def forward(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class Module(Node):
    """A program: subclass it, keep predictors as attributes, and write `forward`.

    Calls are typed by `forward` (an overloaded `forward` keeps its first overload only). With
    `async def forward`, `await module(...)` is typed. Predictors are found in attributes, lists,
    tuples and dicts, at any depth, and named by their dotted path.

    Example:
        >>> from declm.predictors.predict import Predict
        >>> from declm.testing import ScriptedLM
        >>> from declm import define
        >>> class Twice(Module):
        ...     def __init__(self, lm):
        ...         self.step = Predict(define("text -> summary"), lm=lm)
        ...
        ...     def forward(self, text: str) -> str:
        ...         return self.step(text=self.step(text=text).summary).summary
        >>> Twice(ScriptedLM(['{"summary": "shorter"}', '{"summary": "short"}']))(text="long")
        'short'
    """

    def __call__(self: _Forward[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the program; with `async def forward`, return a coroutine."""
        program: Any = self
        found: R = program._ainvoke(args, kwargs) if program._is_async() else program._invoke(args, kwargs)
        return found

    @overload
    async def acall(self: _AsyncForward[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def acall(self: _Forward[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    async def acall(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run without blocking the event loop; a synchronous `forward` runs in a thread."""
        return await self._ainvoke(args, kwargs)

    @overload
    def run(self: _AsyncForward[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Prediction[R]: ...
    @overload
    def run(self: _Forward[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Prediction[R]: ...
    def run(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run and return a `Prediction`: value, reasoning, usage and trace."""
        return self._run(args, kwargs)

    @overload
    async def arun(self: _AsyncForward[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Prediction[R]: ...
    @overload
    async def arun(self: _Forward[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Prediction[R]: ...
    async def arun(self, /, *args: Any, **kwargs: Any) -> Any:
        """The same as `run`, without blocking the event loop."""
        return await self._arun(args, kwargs)

    def stream(self: _Forward[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Generator[Any]:
        """Run, and yield what the predictors inside have written so far, as `(path, partial output)`.

        A partial output is an instance that lacks the outputs which are not known yet. The last pair is
        `("", result)`. Closing the iterator (leaving the loop) stops the program and its LM's stream.
        """
        program = cast(Module, self)
        return streams.pieces(lambda: program._run(args, kwargs).value)

    def astream(self: _Forward[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any]:
        """The same as `stream`, without blocking the event loop."""
        return cast(Module, self)._apieces(args, kwargs)

    @overload
    def map(
        self: _AsyncForward[..., R], rows: Iterable[BaseModel | Mapping[str, Any]], *, concurrency: int = 16
    ) -> list[R]: ...
    @overload
    def map(
        self: _Forward[..., R], rows: Iterable[BaseModel | Mapping[str, Any]], *, concurrency: int = 16
    ) -> list[R]: ...
    def map(self, rows: Iterable[BaseModel | Mapping[str, Any]], *, concurrency: int = 16) -> Any:
        """Run over rows (or dicts of inputs), several at a time; one result per row, same order.

        The program gets the inputs that `forward` names, never outputs or notes. The first error
        cancels the rest and is raised; use `dm.evaluate` to keep errors per row.

        Raises:
            InputError: a row can't call the program; nothing has been sent.
        """
        if concurrency < 1:
            raise UsageError(f"concurrency={concurrency} must be 1 or more")
        wanted = arguments(self)
        calls = [wanted.of(row) for row in rows]
        for inputs in calls:
            self._check(inputs)
        return loops.run(self._amap(calls, concurrency))

    def predictors(self) -> dict[str, Stateful]:
        """The predictors inside, by dotted path; `{"self": ...}` for a predictor."""
        return predictors(self)

    @property
    def state(self) -> ProgramState:
        """Instructions, demos and options of all predictors, as plain data."""
        return snapshot(self)

    def with_state(self, state: ProgramState) -> Self:
        """A copy with another state: predictors are copied, everything else is shared.

        Raises:
            UsageError: the state names a predictor that the program does not have.
        """
        return rebuild(self, match(self, state))

    def save(self, path: str | Path) -> None:
        """Write the state as JSON, atomically; code, keys and weights are not in it.

        Raises:
            StateError: the file can't be written.
        """
        storage.save(self, path)

    def load(self, path: str | Path) -> Self:
        """A copy of this program with a saved state.

        Raises:
            SignatureMismatch: the file was saved for other predictors or fields.
            StateError: the file is missing, torn or from a newer declm.
        """
        return storage.load(self, path)

    def _is_native(self) -> bool:
        """Whether it runs on an event loop without blocking it; other programs run in threads."""
        return self._is_async()

    def _is_async(self) -> bool:
        return inspect.iscoroutinefunction(forward_of(self))

    def _check(self, inputs: Mapping[str, Any]) -> None:
        """Refuse inputs of the wrong type, where the program can tell without running."""

    def _invoke(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with trace.step(self):
            return forward_of(self)(*args, **kwargs)

    async def _ainvoke(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self._is_async():
            return await asyncio.to_thread(self._invoke, args, kwargs)
        with trace.step(self):
            return await forward_of(self)(*args, **kwargs)

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Prediction[Any]:
        if self._is_async():
            return loops.run(self._arun(args, kwargs))
        with trace.record(self._paths()) as root:
            value = self._invoke(args, kwargs)
        return _prediction(value, root)

    def _apieces(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncGenerator[streams.Piece]:
        async def run() -> Any:
            return (await self._arun(args, kwargs)).value

        return streams.apieces(run)

    async def _arun(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Prediction[Any]:
        with trace.record(self._paths()) as root:
            value = await self._ainvoke(args, kwargs)
        return _prediction(value, root)

    async def _amap(self, calls: list[dict[str, Any]], concurrency: int) -> list[Any]:
        gate, threads = asyncio.Semaphore(concurrency), Threads(concurrency)

        async def one(inputs: dict[str, Any]) -> Any:
            async with gate:
                if self._is_native():
                    return await self._ainvoke((), inputs)
                return await threads.call(self._invoke, (), inputs)

        try:
            return await loops.together(one(inputs) for inputs in calls)
        finally:
            threads.close()

    def _paths(self) -> dict[int, str]:
        return {id(node): path for path, node in nodes(self).items()}


def _prediction(value: Any, root: trace.Call) -> Prediction[Any]:
    call = root.children[0]
    inner = call.predictor_calls()
    return Prediction(value, call, inner[-1].reasoning if inner else None)
