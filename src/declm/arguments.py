"""Which keyword arguments a program takes, and how a row provides them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel

from declm.errors import UsageError
from declm.specs import spec
from declm.state import Node, Stateful


@dataclass(frozen=True, slots=True)
class Arguments:
    """The keywords of a program: those it must get, and those it may get.

    `open` says that it takes any keyword (`**kwargs`): it then gets all inputs of a row.
    """

    required: frozenset[str]
    optional: frozenset[str]
    open: bool = False

    def of(self, row: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
        """Pick the arguments out of a row: never an output or a note of a signature.

        Raises:
            UsageError: the row lacks a required argument.
        """
        values = _inputs(row)
        missing = self.required - values.keys()
        if missing:
            raise UsageError(
                f"the program needs {_list(missing)}, which the rows do not have; "
                f"the inputs of a {type(row).__name__} are {_list(values)}"
            )
        return {k: v for k, v in values.items() if self.open or k in self.required or k in self.optional}

    def check(self, rows: Sequence[BaseModel | Mapping[str, Any]]) -> None:
        """Refuse rows that can't call the program, before anything is paid for."""
        for row in rows:
            self.of(row)


def arguments(program: Callable[..., Any]) -> Arguments:
    """Read the keywords of a predictor, a module (from its `forward`) or any callable."""
    if isinstance(program, Stateful):
        fields = program.spec.inputs
        required = frozenset(k for k, f in fields.items() if f.required)
        return Arguments(required, frozenset(fields) - required)
    target = cast(Any, program).forward if isinstance(program, Node) else program  # every other node is a Module
    required_names, optional_names, any_keyword = set[str](), set[str](), False
    for name, parameter in inspect.signature(target).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            any_keyword = True
        elif parameter.kind is parameter.POSITIONAL_ONLY and parameter.default is parameter.empty:
            raise UsageError(f"the parameter {name!r} of the program is positional-only; rows are passed by keyword")
        elif parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            (required_names if parameter.default is parameter.empty else optional_names).add(name)
    return Arguments(frozenset(required_names), frozenset(optional_names), any_keyword)


def _inputs(row: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(row, Mapping):
        return dict(row)
    return spec(type(row)).split(row)[0]


def _list(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names)) or "none"
