"""Content hashes of programs and metrics, which say when a kept result may be taken again.

A hash covers what can be seen without running anything: the source of a function, the functions and
plain values of its own package that it names, its closure and defaults; for a program also its class,
its plain attributes and the wording of its signatures. It can't see what other packages do, nor the
insides of retrievers and clients: after such a change, use another name for the evaluation.
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

from declm.specs import Spec, spec
from declm.state import Node, Stateful, nodes, snapshot
from declm.text import canonical, digest

_SCALARS = (str, int, float, bool, type(None))


def program_hash(program: object) -> str:
    """Hash of a program without its state."""
    return digest(_Reader().program(program))


def state_hash(program: object) -> str:
    """Hash of the present state of a program; empty for a plain function, whose hash covers all."""
    return snapshot(program).hash if isinstance(program, Node) else ""


def metric_hash(metric: Callable[..., Any]) -> str:
    """Hash of what a metric computes."""
    return digest(_Reader().value(metric))


def name_of(function: object) -> str:
    """A readable name of a function, module or callable object."""
    if isinstance(function, (FunctionType, MethodType)):
        return function.__name__
    if isinstance(function, functools.partial):
        return name_of(function.func)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]  # its type is open
    return type(function).__name__


class _Reader:
    """Describes values as JSON; each function and object once, so that cycles end."""

    def __init__(self) -> None:
        self._seen = set[int]()

    def program(self, program: object) -> Any:
        if not isinstance(program, Node):
            return self.value(program)
        return {path: self._node(node) for path, node in nodes(program).items()}

    def value(self, value: Any) -> Any:
        if isinstance(value, _SCALARS):
            return value
        if isinstance(value, (FunctionType, MethodType, type, Node)):
            return self._once(value)
        if isinstance(value, enum.Enum):
            return [_title(type(value)), value.name]
        if isinstance(value, PurePath):
            return str(value)
        if isinstance(value, functools.partial):
            return ["partial", self.value(value.func), self.value(value.args), self.value(value.keywords)]  # pyright: ignore[reportUnknownMemberType]  # its type is open
        if _is_mapping(value):
            return self._mapping(value)
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        if isinstance(value, (set, frozenset)):
            return sorted(canonical(self.value(item)) for item in value)  # pyright: ignore[reportUnknownVariableType]
        return self._object(value)

    def _mapping(self, value: Mapping[Any, Any]) -> Any:
        return sorted([canonical(self.value(k)), self.value(v)] for k, v in value.items())

    def _once(self, value: FunctionType | MethodType | type | Node) -> Any:
        if id(value) in self._seen:
            return "..."
        self._seen.add(id(value))
        if isinstance(value, MethodType):
            return [self.value(value.__func__), self.value(value.__self__)]
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, Node):
            return [self.program(value), snapshot(value).hash]
        return _signature(spec(value)) if issubclass(value, BaseModel) else _title(value)

    def _object(self, value: Any) -> Any:
        """A callable object is its class's `__call__` and its fields; anything else counts by type."""
        if isinstance(value, BaseModel):
            return [_title(type(value)), value.model_dump(mode="json", fallback=repr)]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            own = _vars(value)
            fields = {f.name: self.value(own[f.name]) for f in dataclasses.fields(value) if f.name in own}
            return [_title(type(value)), self._call(value), fields]
        return [_title(type(value)), self._call(value)]

    def _call(self, value: Any) -> Any:
        call = type(value).__dict__.get("__call__")
        return self.value(call) if isinstance(call, FunctionType) else None

    def _function(self, function: FunctionType) -> Any:
        named = inspect.unwrap(function)
        if not isinstance(named, FunctionType):
            return self.value(named)
        return {
            "source": _source(named),
            "defaults": self.value([named.__defaults__, named.__kwdefaults__]),
            "closure": [self.value(cell.cell_contents) for cell in named.__closure__ or () if _is_filled(cell)],
            "uses": {name: self._used(value, named) for name, value in _globals(named).items()},
        }

    def _used(self, value: Any, user: FunctionType) -> Any:
        """What a function names: followed inside its own package, by name elsewhere."""
        if isinstance(value, FunctionType) and _package(value) != _package(user):
            return _title(value)
        if isinstance(value, (FunctionType, type, Node, enum.Enum, *_SCALARS, list, tuple, dict, set, frozenset)):
            return self.value(value)
        return _title(type(value))

    def _node(self, node: Node) -> Any:
        if isinstance(node, Stateful):
            # Besides scalars a predictor keeps only its state, its LM and caches.
            knobs = {k: v for k, v in vars(node).items() if isinstance(v, _SCALARS) or _is_texts(v)}
            return [_title(type(node)), _signature(node.spec), self.value(knobs)]
        forward = type(node).__dict__.get("forward") or inspect.getattr_static(node, "forward", None)
        own = {k: self.value(v) for k, v in vars(node).items() if _is_plain(v)}
        others = {k: _title(type(v)) for k, v in vars(node).items() if k not in own and not isinstance(v, Node)}
        return [_title(type(node)), self.value(forward), own, others]


def _signature(of: Spec[Any]) -> Any:
    """Fields with their types, and every word that a prompt may take from the class."""
    return [of.fingerprint, of.instructions, {f.key: f.description for f in of.fields if f.role != "note"}]


def _source(function: FunctionType) -> Any:
    if function.__name__ != "<lambda>":  # several lambdas may share one line of source
        try:
            return textwrap.dedent(inspect.getsource(function))
        except (OSError, TypeError):
            pass
    return _code(function.__code__)


def _code(code: CodeType) -> Any:
    constants = [_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return [code.co_code.hex(), constants, list(code.co_names)]


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
    if isinstance(value, dict):
        return all(_is_plain(item) for pair in value.items() for item in pair)  # pyright: ignore[reportUnknownVariableType]
    return isinstance(value, (*_SCALARS, enum.Enum, PurePath, BaseModel, FunctionType))


def _vars(value: Any) -> Mapping[str, Any]:
    return getattr(value, "__dict__", {})
