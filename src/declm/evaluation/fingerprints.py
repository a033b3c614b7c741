"""Content hashes of programs and metrics, which say when a kept result may be taken again.

A hash covers what can be seen without running anything: the source of a function, the functions and
plain values of its own package that it names, its closure and defaults; for a program also its class,
its plain attributes, and the wording and validators of its signatures. It can't see what other
packages do, nor the insides of retrievers and clients, nor template files: after such a change, use
another name for the evaluation.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import textwrap
from collections.abc import Callable, Mapping
from pathlib import PurePath
from types import CodeType, FunctionType, MethodType
from typing import Any, TypeGuard

from pydantic import BaseModel

from declm.predictors import PredictedFunction
from declm.signature import Signature
from declm.specs import spec
from declm.state import Node, Stateful, nodes, snapshot
from declm.text import canonical, digest

_SCALARS = (str, int, float, bool, type(None))
_MOST = 1000
"""Functions that are followed; more than any metric has, and an end for a whole library."""


def program_hash(program: object) -> str:
    """Hash of a program without its state."""
    return _Reader().hash(program)


def state_hash(program: object) -> str:
    """Hash of the present state of a program; empty for a plain function, whose hash covers all."""
    return snapshot(program).hash if isinstance(program, Node) else ""


def metric_hash(metric: Callable[..., Any]) -> str:
    """Hash of what a metric computes."""
    return _Reader().hash(metric)


def name_of(function: object) -> str:
    """A readable name of a function, module or callable object."""
    if isinstance(function, (FunctionType, MethodType, PredictedFunction)):
        return function.__name__
    if isinstance(function, Stateful):
        return f"{type(function).__name__}({function.spec.name})"
    if isinstance(function, functools.partial):
        return name_of(function.func)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]  # its type is open
    return type(function).__name__


class _Reader:
    """Describes values as JSON.

    Functions, classes and nodes are described once, in the order in which they are met; elsewhere
    they are references. So cycles end, and a long chain of calls is no deep recursion.
    """

    def __init__(self) -> None:
        self._met: dict[int, int] = {}
        self._queue: list[FunctionType | type | Node] = []

    def hash(self, root: object) -> str:
        found = [self._node_tree(root) if isinstance(root, Node) else self._value(root)]
        for thing in self._queue:  # which grows meanwhile
            found.append(self._described(thing))
            if len(found) > _MOST:
                break
        return digest(found)

    def _value(self, value: Any) -> Any:
        if isinstance(value, _SCALARS):
            return value
        if isinstance(value, enum.Enum):
            return [_title(type(value)), value.name]
        if isinstance(value, (FunctionType, type, Node)):
            return self._reference(value)
        if isinstance(value, MethodType):
            return [self._value(value.__func__), self._value(value.__self__)]
        if isinstance(value, PurePath):
            return str(value)
        if isinstance(value, functools.partial):
            return ["partial", self._value(value.func), self._value(value.args), self._value(value.keywords)]  # pyright: ignore[reportUnknownMemberType]  # its type is open
        if _is_mapping(value):
            return sorted(([canonical(self._value(k)), self._value(v)] for k, v in value.items()), key=canonical)
        if isinstance(value, (list, tuple)):
            return [self._value(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        if isinstance(value, (set, frozenset)):
            return sorted(canonical(self._value(item)) for item in value)  # pyright: ignore[reportUnknownVariableType]
        return self._object(value)

    def _reference(self, thing: FunctionType | type | Node) -> str:
        if id(thing) not in self._met:
            self._met[id(thing)] = len(self._queue)
            self._queue.append(thing)
        return f"#{self._met[id(thing)]}"

    def _described(self, thing: FunctionType | type | Node) -> Any:
        if isinstance(thing, FunctionType):
            return self._function(thing)
        if isinstance(thing, Node):
            return [self._node_tree(thing), snapshot(thing).hash]
        return self._signature(thing) if _is_model(thing) else _title(thing)

    def _object(self, value: Any) -> Any:
        """A callable object is its class's `__call__` and its fields; anything else counts by type."""
        if isinstance(value, BaseModel):
            return [_title(type(value)), value.model_dump(mode="json", fallback=repr)]
        call = type(value).__dict__.get("__call__")
        found = [_title(type(value)), self._value(call) if isinstance(call, FunctionType) else None]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            own: Mapping[str, Any] = getattr(value, "__dict__", {})
            found.append({f.name: self._value(own[f.name]) for f in dataclasses.fields(value) if f.name in own})
        return found

    def _function(self, function: FunctionType) -> Any:
        named = inspect.unwrap(function)
        if not isinstance(named, FunctionType):
            return self._value(named)
        found = {
            "defaults": self._value([named.__defaults__, named.__kwdefaults__]),
            "closure": [self._value(cell.cell_contents) for cell in named.__closure__ or () if _is_filled(cell)],
        }
        if _package(named) == _OWN:
            return {**found, "name": _title(named)}  # a part of declm itself, not of the user's work
        uses = {name: self._used(value, named) for name, value in _globals(named).items()}
        return {**found, "source": _source(named), "uses": uses}

    def _used(self, value: Any, user: FunctionType) -> Any:
        """What a function names: followed inside its own package, by name elsewhere."""
        if isinstance(value, FunctionType) and _package(value) != _package(user):
            return _title(value)
        if isinstance(value, (FunctionType, type, Node, enum.Enum, *_SCALARS, list, tuple, dict, set, frozenset)):
            return self._value(value)
        return _title(type(value))

    def _node_tree(self, root: Node) -> Any:
        return {path: self._node(node) for path, node in nodes(root).items()}

    def _node(self, node: Node) -> Any:
        if isinstance(node, Stateful):
            # Besides plain settings a predictor keeps only its state, its LM and caches.
            settings = {k: v for k, v in vars(node).items() if isinstance(v, _SCALARS) or _is_texts(v)}
            return [_title(type(node)), self._signature(node.spec.cls), self._value(settings)]
        forward = inspect.getattr_static(node, "forward", None)
        own = {k: self._value(v) for k, v in vars(node).items() if _is_plain(v)}
        others = {k: _title(type(v)) for k, v in vars(node).items() if k not in own and not isinstance(v, Node)}
        return [_title(type(node)), self._value(forward), own, others]

    def _signature(self, cls: type[BaseModel]) -> Any:
        """Fields with their types, every word that a prompt may take from the class, and its validators."""
        of, decorators = spec(cls), cls.__pydantic_decorators__
        functions = [
            getattr(validator.func, "__func__", validator.func)  # a class method has its function inside
            for group in (decorators.field_validators, decorators.model_validators)
            for validator in group.values()
        ]
        words = {f.key: f.description for f in of.fields if f.role != "note"}
        return [of.fingerprint, of.instructions, words, self._value(functions)]


_OWN = __name__.partition(".")[0]


def _is_model(cls: type) -> TypeGuard[type[BaseModel]]:
    """Whether this is a user's Pydantic class, with all its types known."""
    return issubclass(cls, BaseModel) and cls not in (BaseModel, Signature) and cls.__pydantic_complete__


def _source(function: FunctionType) -> Any:
    if function.__name__ != "<lambda>":  # several lambdas may share one line of source
        try:
            return textwrap.dedent(inspect.getsource(function))
        except (OSError, TypeError):
            pass
    return _code(function.__code__)


def _code(code: CodeType) -> Any:
    constants = [_code(c) if isinstance(c, CodeType) else _constant(c) for c in code.co_consts]
    return [code.co_code.hex(), constants, list(code.co_names)]


def _constant(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_constant(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, frozenset):
        return sorted(canonical(_constant(item)) for item in value)  # pyright: ignore[reportUnknownVariableType]
    return repr(value)


def _globals(function: FunctionType) -> dict[str, Any]:
    names = dict.fromkeys(_names(function.__code__))
    return {name: function.__globals__[name] for name in names if name in function.__globals__}


def _names(code: CodeType) -> list[str]:
    inner = [name for c in code.co_consts if isinstance(c, CodeType) for name in _names(c)]
    return [*code.co_names, *inner]


def _package(function: FunctionType) -> str:
    return (function.__module__ or "").partition(".")[0]


def _title(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018  # an empty cell raises
    except ValueError:
        return False
    return True


def _is_texts(value: Any) -> bool:
    return _is_mapping(value) and bool(value) and all(isinstance(part, str) for item in value.items() for part in item)


def _is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def _is_plain(value: Any) -> bool:
    """Whether a module's attribute is a setting rather than a part or a service."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(_is_plain(item) for item in value)  # pyright: ignore[reportUnknownVariableType]
    if _is_mapping(value):
        return all(_is_plain(item) for pair in value.items() for item in pair)
    return isinstance(value, (*_SCALARS, enum.Enum, PurePath, BaseModel, FunctionType))
