"""`ProgramState`: everything of a program that a search may change, as plain data.

A program is code plus state. Searches map states to states and never touch objects: a candidate is
bound to the running program by a context variable (`bind`), so that many candidates run at once over
one program; `rebuild` makes a program that owns its state.
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import Self

from declm.demo import Demo
from declm.errors import UsageError
from declm.specs import Spec
from declm.text import closest, digest

T = TypeVar("T")

SELF = "self"
"""Path of a predictor that is a whole program by itself."""


class _Hashed(BaseModel):
    """Frozen data that remembers its content hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other fields; the remembered hash is not copied along."""
        made = super().model_copy(update=update, deep=deep)
        vars(made).pop("hash", None)
        return made


class PredictorState(_Hashed):
    """What one predictor says besides its signature; None and empty mean the signature's own.

    `descriptions` rewords fields by key; `options` are LM options such as `temperature`;
    `templates` overrides template parts (`system`, `user`, ...) by text.
    """

    instructions: str | None = None
    descriptions: dict[str, str] = Field(default_factory=dict[str, str])
    demos: tuple[Demo, ...] = ()
    format: str | None = None
    options: dict[str, Any] = Field(default_factory=dict[str, Any])
    templates: dict[str, str] = Field(default_factory=dict[str, str])

    @cached_property
    def hash(self) -> str:
        """Content hash."""
        return digest(self.model_dump(mode="json"))

    def differences(self, other: PredictorState) -> list[str]:
        """One line per difference, from `self` to `other`."""
        found = list[str]()
        for name in type(self).model_fields:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine == theirs:
                continue
            if name == "demos":
                found.append(f"demos: {len(mine)} -> {len(theirs)}")
            else:
                found.append(f"{name}: {mine!r} -> {theirs!r}")
        return found


class ProgramState(_Hashed):
    """The states of all predictors of a program, by dotted path."""

    predictors: dict[str, PredictorState]

    @cached_property
    def hash(self) -> str:
        """Content hash."""
        return digest({path: state.hash for path, state in self.predictors.items()})

    def with_predictor(self, path: str, state: PredictorState) -> ProgramState:
        """A state in which one predictor differs."""
        return ProgramState(predictors={**self.predictors, path: state})

    def diff(self, other: ProgramState) -> list[str]:
        """One readable line per difference, from `self` to `other`."""
        found = list[str]()
        for path in dict.fromkeys([*self.predictors, *other.predictors]):
            mine, theirs = self.predictors.get(path), other.predictors.get(path)
            if mine is None or theirs is None:
                found.append(f"{path}: {'added' if mine is None else 'removed'}")
            else:
                found += [f"{path}.{line}" for line in mine.differences(theirs)]
        return found


class Node:
    """Anything whose attributes are searched for predictors."""


class Stateful(Node):
    """A predictor: the owner of one `PredictorState`."""

    _state: PredictorState

    @property
    def spec(self) -> Spec[Any]:
        """The signature of the predictor."""
        raise NotImplementedError

    @property
    def reasoning_key(self) -> str | None:
        """Name in prompts and demos of a text that the LM writes before the outputs; None for none."""
        return None

    @property
    def predictor_state(self) -> PredictorState:
        """The candidate that is bound at the moment, else the predictor's own state."""
        return _bound.get().get(self, self._state)

    def with_predictor_state(self, state: PredictorState) -> Self:
        """A copy that owns `state` and shares everything else."""
        made = copy.copy(self)
        made._state = state
        return made


_bound: ContextVar[Mapping[Stateful, PredictorState]] = ContextVar("declm_bound_states", default=MappingProxyType({}))


@contextmanager
def bind(states: Mapping[Stateful, PredictorState]) -> Generator[None]:
    """Let predictors take these states inside the block, in this thread or task only."""
    token = _bound.set({**_bound.get(), **states})
    try:
        yield
    finally:
        _bound.reset(token)


def nodes(root: Node) -> dict[str, Node]:
    """Every node of a program, the root as `self`, by dotted path; each object once."""
    found: dict[str, Node] = {}
    _walk(root, "", set(), found)
    return found


def predictors(root: Node) -> dict[str, Stateful]:
    """The predictors of a program by dotted path, in order of declaration."""
    return {path: node for path, node in nodes(root).items() if isinstance(node, Stateful)}


def _walk(value: Any, path: str, seen: set[int], found: dict[str, Node]) -> None:
    if not _is_any(value, Node, list, tuple, dict) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Node):
        found[path or SELF] = value
        if isinstance(value, Stateful):
            return
    for name, child in _children(value):
        _walk(child, f"{path}.{name}" if path else name, seen, found)


def _children(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Node):
        return list(vars(value).items())
    if _is_any(value, dict):
        return [(str(k), v) for k, v in value.items()]
    return [(str(i), v) for i, v in enumerate(value)]


def snapshot(root: Node) -> ProgramState:
    """The present state of a program; bound candidates count."""
    return ProgramState(predictors={path: p.predictor_state for path, p in predictors(root).items()})


def match(root: Node, state: ProgramState) -> dict[Stateful, PredictorState]:
    """Pair the predictors of a program with their states.

    Raises:
        UsageError: the state names a predictor that the program does not have.
    """
    found = predictors(root)
    for path in state.predictors:
        if path not in found:
            near = closest(path, list(found))
            hint = f"; did you mean {near!r}?" if near else ""
            raise UsageError(f"the program has no predictor {path!r}{hint} It has {', '.join(found) or 'none'}")
    return {found[path]: s for path, s in state.predictors.items()}


def rebuild(root: T, states: Mapping[Stateful, PredictorState]) -> T:
    """A program with these states: predictors and what leads to them are copied, the rest is shared."""
    return cast(T, _rebuild(root, states, {}))


def _rebuild(value: Any, states: Mapping[Stateful, PredictorState], memo: dict[int, Any]) -> Any:
    if not _is_any(value, Node, list, tuple, dict):
        return value
    if id(value) in memo:
        return memo[id(value)]
    if isinstance(value, Stateful):
        made: Any = value.with_predictor_state(states[value]) if value in states else value
        memo[id(value)] = made
        return made
    if isinstance(value, Node):
        node: Node = copy.copy(value)
        memo[id(value)] = node
        vars(node).update({k: _rebuild(v, states, memo) for k, v in vars(value).items()})
        return node
    items: Any = value
    if _is_any(items, dict):
        made = {}
        memo[id(items)] = made
        for k, v in items.items():
            made[k] = _rebuild(v, states, memo)
    elif _is_any(items, list):
        made = []
        memo[id(items)] = made
        made.extend(_rebuild(v, states, memo) for v in items)
    else:
        parts = [_rebuild(v, states, memo) for v in items]
        made = type(items)(*parts) if hasattr(items, "_fields") else tuple(parts)
        memo[id(items)] = made
    # Containers without a predictor inside are shared, not copied: they may be large.
    if all(a is b for a, b in zip(_values(made), _values(items), strict=True)):
        memo[id(items)] = items
        return items
    return made


def _values(items: Any) -> list[Any]:
    return list(items.values()) if _is_any(items, dict) else list(items)


def _is_any(value: Any, *kinds: type) -> bool:
    """`isinstance` without narrowing: of a list or dict that holds anything, checkers would say `Unknown`."""
    return isinstance(value, kinds)
