"""Which keyword arguments a program takes, and how a row provides them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from declm.errors import InputError, UsageError
from declm.specs import spec
from declm.state import Node, Stateful
from declm.text import closest


@dataclass(frozen=True, slots=True)
class Arguments:
    """The keywords of a program: those it must get, and those it may get.

    `open` says that it takes any keyword (`**kwargs`): it then gets all inputs of a row.
    """

    required: frozenset[str]
    optional: frozenset[str]
    open: bool = False
    _taken: dict[type[BaseModel], tuple[tuple[str, str], ...]] = field(
        default_factory=dict[Any, Any], init=False, compare=False, repr=False
    )
    """Keys and names of what is taken of the rows of a class."""

    def of(self, row: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
        """Pick the arguments out of a row: never an output or a note of a signature.

        Raises:
            InputError: the row lacks a required argument, or a dict of inputs holds an unknown one.
        """
        if isinstance(row, BaseModel):
            values = row.__dict__
            taken = self._taken.get(type(row)) or self._taken_of(type(row))
            found = {key: values[name] for key, name in taken if name in values}
        else:
            self._check_names(row)
            found = dict(row)
        if not found.keys() >= self.required:
            known = spec(type(row)).split(row)[0] if isinstance(row, BaseModel) else row
            raise InputError(
                f"the program needs {_list(self.required - known.keys())}, which the rows do not have; "
                f"the inputs of a {type(row).__name__} are {_list(known)}"
            )
        return found

    def _taken_of(self, row: type[BaseModel]) -> tuple[tuple[str, str], ...]:
        names, inputs = self.required | self.optional, spec(row).inputs
        taken = tuple((key, field.name) for key, field in inputs.items() if self.open or key in names)
        self._taken[row] = taken
        return taken

    def _check_names(self, given: Mapping[str, Any]) -> None:
        """Refuse keywords that the program does not take; rows of a class may carry more than inputs."""
        known = self.required | self.optional
        for name in given if not self.open else ():
            if name not in known:
                near = closest(name, sorted(known))
                hint = f"did you mean {near!r}? " if near else ""
                raise InputError(f"the program takes no {name!r}; {hint}it takes {_list(known)}")

    def check(self, rows: Sequence[BaseModel | Mapping[str, Any]]) -> None:
        """Refuse rows that can't call the program, before anything is paid for."""
        for row in rows:
            self.of(row)


def forward_of(node: Node) -> Callable[..., Any]:
    """The `forward` that the user of a module has written.

    Raises:
        UsageError: there is none.
    """
    forward: Callable[..., Any] | None = getattr(node, "forward", None)
    if forward is None:
        raise UsageError(f"{type(node).__name__} has no `forward`: define it, with the program's inputs as parameters")
    return forward


def arguments(program: Callable[..., Any] | Node) -> Arguments:
    """Read the keywords of a predictor, a module (from its `forward`) or any callable.

    Raises:
        UsageError: they can't be read, or rows can't provide them.
    """
    if isinstance(program, Stateful):
        fields = program.spec.inputs
        required = frozenset(k for k, f in fields.items() if f.required)
        return Arguments(required, frozenset(fields) - required)
    target = forward_of(program) if isinstance(program, Node) else program
    any_keyword = False
    required_names: set[str] = set()
    optional_names: set[str] = set()
    for name, parameter in _parameters(target).items():
        if parameter.kind is parameter.VAR_KEYWORD:
            any_keyword = True
        elif parameter.kind is parameter.POSITIONAL_ONLY and parameter.default is parameter.empty:
            raise UsageError(f"the parameter {name!r} of the program is positional-only; rows are passed by keyword")
        elif parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            (required_names if parameter.default is parameter.empty else optional_names).add(name)
    return Arguments(frozenset(required_names), frozenset(optional_names), any_keyword)


def _parameters(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"the parameters of {target!r} can't be read: wrap it in a function that names them"
        ) from error


def _list(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names)) or "none"
