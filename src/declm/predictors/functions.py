"""`@predict`: a typed function as a signature.

The parameters are the inputs, the docstring is the instruction, the return type is the output.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Generic, NoReturn, ParamSpec, TypeVar, cast, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from declm.errors import InputError, UsageError
from declm.fields import Output, annotated
from declm.predictors.predict import Predict
from declm.signature import Signature

P = ParamSpec("P")
R = TypeVar("R")

_RESULT = "result"


def fill() -> NoReturn:
    """Stand in for the body of a function under `@dm.predict`; never runs.

    Raises:
        UsageError: it was called, so the decorator is missing.
    """
    raise UsageError("dm.fill() ran: the function lacks its @dm.predict decorator")


class PredictedFunction(Predict[P, R], Generic[P, R]):
    """A function whose result an LM predicts; made by `@predict`. All of `Predict` works on it."""

    def __init__(self, function: Callable[P, R]) -> None:
        self._function = function
        self._names = tuple(inspect.signature(function).parameters)
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__doc__ = function.__doc__
        super().__init__(_signature(function))

    def _row(self, args: tuple[Any, ...], kwargs: Any) -> Any:
        if len(args) > len(self._names):
            raise InputError(f"{self.__name__} takes {len(self._names)} arguments, not {len(args)}")
        named = dict(zip(self._names, args, strict=False))
        twice = named.keys() & kwargs.keys()
        if twice:
            raise InputError(f"{self.__name__} got {min(twice)!r} twice")
        return super()._row((), {**named, **kwargs})

    def _result(self, row: BaseModel) -> Any:
        return row.__dict__[_RESULT]


def predict(function: Callable[P, R]) -> PredictedFunction[P, R]:
    """Let an LM compute a typed function; write `return dm.fill()` or `...` as its body.

    Raises:
        UsageError: a parameter or the return type lacks its annotation, or the function is
            `async`: leave the `async` out and call `await function.acall(...)`.

    Example:
        >>> from declm.settings import context
        >>> from declm.testing import ScriptedLM
        >>> @predict
        ... def double(number: int) -> int:
        ...     '''Double it.'''
        ...     return fill()
        >>> with context(lm=ScriptedLM(['{"result": 8}'])):
        ...     double(4)
        8
    """
    return PredictedFunction(function)


def _signature(function: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):
        raise UsageError(f"{function.__name__}: leave out `async`; `await {function.__name__}.acall(...)` is async")
    hints = _hints(function)
    result = hints.pop("return", None)
    if result is None or result is type(None):
        raise UsageError(f"{function.__name__} needs a return type: it is what the LM predicts")
    namespace: dict[str, Any] = {"__module__": function.__module__, "__doc__": function.__doc__ or ""}
    annotations: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in hints:
            raise UsageError(f"{function.__name__}: the parameter {name!r} needs a type")
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise UsageError(f"{function.__name__}: {parameter} can't be an input; name each input")
        annotations[name] = hints[name]
        if parameter.default is not parameter.empty:
            namespace[name] = parameter.default
    if _RESULT in annotations:
        raise UsageError(f"{function.__name__}: a parameter can't be called {_RESULT!r}, which names the output")
    # `Annotated[int, dm.Output("a grade", ge=1)]` declares the output in full; Pydantic would let a second one win.
    declared = any(isinstance(note, FieldInfo) for note in getattr(result, "__metadata__", ()))
    annotations[_RESULT] = result if declared else annotated(result, Output())
    title = "".join(part.capitalize() for part in function.__name__.split("_"))
    metaclass = cast("Callable[..., Any]", type(Signature))
    made: Callable[..., Any] = metaclass(title, (Signature,), {**namespace, "__annotations__": annotations})
    return made


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise UsageError(
            f"{function.__name__}: {error}; its types must be defined at the top level of the module, before it"
        ) from error
