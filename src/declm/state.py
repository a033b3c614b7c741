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
    `templates` overrides template parts (`system`, `user`, ...) by text; `biases` add to the
    log-probabilities of closed outputs, by key and value (see `declm.formats.choices`). With `nearest`, a
    call shows only so many of the demos: those whose inputs are most alike to its own, the most alike last.
    `variants` are states for other LMs by the name of their model: a call takes that of its LM, if there is one.
    """

    instructions: str | None = None
    descriptions: dict[str, str] = Field(default_factory=dict[str, str])
    demos: tuple[Demo, ...] = ()
    nearest: int | None = Field(default=None, ge=1)
    format: str | None = None
    options: dict[str, Any] = Field(default_factory=dict[str, Any])
    templates: dict[str, str] = Field(default_factory=dict[str, str])
    biases: dict[str, dict[str, float]] = Field(default_factory=dict[str, dict[str, float]])
    variants: dict[str, PredictorState] = Field(default_factory=dict[str, "PredictorState"])

    def variant(self, model: str) -> PredictorState:
        """What holds for an LM of this model."""
        return self.variants.get(model, self) if self.variants else self

    @cached_property
    def hash(self) -> str:
        """Content hash."""
        return digest(self.model_dump(mode="json"))

    def differences(self, other: PredictorState) -> list[str]:
        """One line per difference, from `self` to `other`."""
        found: list[str] = []
        for name in type(self).model_fields:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine == theirs:
                continue
            if name == "demos":
                new = sum(demo not in mine for demo in theirs)
                found.append(f"demos: {len(mine)} -> {len(theirs)}" + (f" ({new} new)" if mine and new else ""))
            elif name == "variants":
                found += [
                    f"for {model}: {line}"
                    for model, state in theirs.items()
                    for line in mine.get(model, self).differences(state)
                ]
            elif name == "biases":
                found.append(f"biases: {_shown(mine)} -> {_shown(theirs)}")
            else:
                found.append(f"{name}: {mine!r} -> {theirs!r}")
        return found


def _shown(biases: Mapping[str, Mapping[str, float]]) -> str:
    keys = [f"{key} ({', '.join(f'{label} {bias:+.1f}' for label, bias in by.items())})" for key, by in biases.items()]
    return "; ".join(keys) or "none"


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
        found: list[str] = []
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
    """Every node of a program, the root as `self`, by dotted path; each object once, under its first path.

    Raises:
        UsageError: two different nodes have one path.
    """
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
        if (path or SELF) in found:
            raise UsageError(f"two parts of the program have the path {path!r}: rename an attribute or a key")
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
            hint = f"did you mean {near!r}? " if near else ""
            raise UsageError(f"the program has no predictor {path!r}; {hint}it has {', '.join(found) or 'none'}")
    return {found[path]: s for path, s in state.predictors.items()}


def rebuild(root: T, states: Mapping[Stateful, PredictorState]) -> T:
    """A program with these states: predictors and what leads to them are copied, the rest is shared.

    Functions and bound methods among the attributes still refer to the old parts.
    """
    return exchange(root, {predictor: predictor.with_predictor_state(state) for predictor, state in states.items()})


def exchange(root: T, parts: Mapping[Stateful, Stateful]) -> T:
    """A program in which others stand in for some of its predictors; always a new object."""
    made = _exchanged(root, parts, {})
    return cast(T, copy.copy(root) if made is root else made)


def _exchanged(value: Any, parts: Mapping[Stateful, Stateful], memo: dict[int, Any]) -> Any:
    if not _is_any(value, Node, list, tuple, dict):
        return value
    if id(value) in memo:
        return memo[id(value)]
    if isinstance(value, Stateful):
        return parts.get(value, value)
    made: Any = copy.copy(value)
    memo[id(value)] = made  # before its parts: they may refer to it
    if _is_any(value, tuple):
        made = memo[id(value)] = _tuple_like(value, [_exchanged(v, parts, memo) for v in value])
    elif _is_any(value, list):
        made[:] = [_exchanged(v, parts, memo) for v in value]
    else:
        named = cast("dict[Any, Any]", made if _is_any(value, dict) else vars(made))
        named.update({k: _exchanged(v, parts, memo) for k, v in named.items()})
    # What leads to no predictor is shared, not copied: it may be large, or stand for a connection.
    if all(new is old for new, old in zip(_values(made), _values(value), strict=True)):
        memo[id(value)] = value
        return value
    return made


def _tuple_like(old: tuple[Any, ...], parts: list[Any]) -> tuple[Any, ...]:
    return type(old)(*parts) if hasattr(old, "_fields") else type(old)(parts)


def _values(items: Any) -> list[Any]:
    if isinstance(items, Node):
        return list(vars(items).values())
    return list(items.values()) if _is_any(items, dict) else list(items)


def _is_any(value: Any, *kinds: type) -> bool:
    """`isinstance` without narrowing: of a list or dict that holds anything, checkers would say `Unknown`."""
    return isinstance(value, kinds)
