"""`define("question, notes: list[str] -> answer, sure: bool")`: a signature in one line, for notebooks.

Types are read as syntax and looked up in an explicit map; nothing is evaluated and no caller's
variables are searched, so a text from a file or a form is safe to define.
"""

from __future__ import annotations

import ast
import keyword
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Optional, Union
from uuid import UUID

from pydantic import BaseModel, create_model
from pydantic.errors import PydanticUserError

from declm.errors import UsageError
from declm.fields import Input, Output
from declm.signature import Signature
from declm.text import clip, closest

_TYPES: Mapping[str, Any] = MappingProxyType(
    {
        "Any": Any,
        "Decimal": Decimal,
        "Dict": dict,
        "FrozenSet": frozenset,
        "List": list,
        "Literal": Literal,
        "Mapping": Mapping,
        "None": None,
        "Optional": Optional,
        "Path": Path,
        "Sequence": Sequence,
        "Set": set,
        "Tuple": tuple,
        "UUID": UUID,
        "Union": Union,
        "bool": bool,
        "bytes": bytes,
        "date": date,
        "datetime": datetime,
        "dict": dict,
        "float": float,
        "frozenset": frozenset,
        "int": int,
        "list": list,
        "set": set,
        "str": str,
        "time": time,
        "timedelta": timedelta,
        "tuple": tuple,
    }
)

_ARITIES: Mapping[Any, int] = MappingProxyType(
    {list: 1, set: 1, frozenset: 1, Sequence: 1, Optional: 1, dict: 2, Mapping: 2}
)

_MAX_CHARACTERS = 20_000
_SHOWN = 60


def define(
    text: str, *, instructions: str = "", types: Mapping[str, Any] | None = None, name: str | None = None
) -> Callable[..., Any]:
    """Make a signature class from `"input, input: type -> output: type"`.

    A field without a type is a `str`. Types are names of the usual built-ins and of `typing`,
    `datetime`, `decimal` and `uuid`, nested and joined with `|` as in Python; other classes are
    given by `types`. Defaults and descriptions need the class form.

    Args:
        text: the fields.
        instructions: what the docstring is to a class: the instruction to the LM.
        types: more types by the name that `text` uses; they win over the known ones.
        name: class name; by default made from the fields.

    Raises:
        UsageError: the text can't be read; the message points at the place.

    Example:
        >>> QA = define("question, notes: list[str] -> answer, sure: bool")
        >>> QA(question="Which is the largest planet?", notes=[])
        QuestionNotesToAnswerSure(question='Which is the largest planet?', notes=[])
    """
    source = _Source(text, {**_TYPES, **(types or {})})
    inputs, outputs = source.fields()
    definitions: dict[str, Any] = {field: (annotation, Input()) for field, annotation in inputs.items()}
    definitions |= {field: (annotation, Output()) for field, annotation in outputs.items()}
    title = name or _title(list(inputs), list(outputs))
    try:
        # An explicit module keeps Pydantic from looking it up in the caller's frame.
        return create_model(title, __base__=Signature, __doc__=instructions, __module__=__name__, **definitions)
    except PydanticUserError as error:
        raise UsageError(f"{text!r} is no signature: {error.message}") from error


@dataclass(frozen=True)
class _Source:
    """The text, and how to read it and complain about a place in it."""

    text: str
    types: Mapping[str, Any]

    def fields(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Types of the inputs and of the outputs by name."""
        if len(self.text) > _MAX_CHARACTERS:
            raise self.error(f"is longer than {_MAX_CHARACTERS} characters", 0)
        arrows = [at for at, mark in self._marks(0, len(self.text)) if mark == "->"]
        if len(arrows) != 1:
            raise self.error(f"needs exactly one '->', not {len(arrows)}", arrows[1] if arrows else len(self.text))
        inputs = self._side(0, arrows[0], {})
        outputs = self._side(arrows[0] + 2, len(self.text), inputs)
        if not outputs:
            raise self.error("has no output: name at least one field after '->'", len(self.text))
        return inputs, outputs

    def _side(self, start: int, end: int, taken: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if not self.text[start:end].strip():
            return found
        commas = [at for at, mark in self._marks(start, end) if mark == ","]
        for left, right in zip([start, *(at + 1 for at in commas)], [*commas, end], strict=True):
            field, annotation, at = self._field(left, right)
            if field in found or field in taken:
                raise self.error(f"names the field {field!r} twice", at)
            found[field] = annotation
        return found

    def _field(self, start: int, end: int) -> tuple[str, Any, int]:
        colon = next((at for at, mark in self._marks(start, end) if mark == ":"), end)
        start = self._skip_spaces(start, colon)
        field = self.text[start:colon].rstrip()
        if not field.isidentifier() or keyword.iskeyword(field):
            raise self.error(f"needs a field name where it has {field!r}" if field else "lacks a field name", start)
        if field.startswith("_") or hasattr(BaseModel, field):
            raise self.error(
                f"can't have a field {field!r}, a name that Pydantic keeps; in the class form, write "
                f"`{field.strip('_')}_: str = dm.Input(alias={field!r})`",
                start,
            )
        if colon == end:
            return field, str, start
        return field, self._annotation(colon + 1, end), start

    def _annotation(self, start: int, end: int) -> Any:
        default = next((at for at, mark in self._marks(start, end) if mark == "="), None)
        if default is not None:
            raise self.error("can't give defaults; they need the class form, `dm.Input(default=...)`", default)
        start = self._skip_spaces(start, end)
        code = self.text[start:end].strip().replace("\r", " ")  # or `\r` would count as a line
        if not code:
            raise self.error("lacks a type after ':'", start)
        try:
            # In parentheses, so that a type may go over several lines; columns then start at 1.
            tree = ast.parse(f"({code})", mode="eval").body
            return _Types(self, start, code).read(tree)
        except SyntaxError as error:
            place = _place(code, error.lineno or 1, (error.offset or 1) - 1)
            raise self.error(f"has no valid type there ({error.msg})", start + place) from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise self.error(f"has no valid type there ({type(error).__name__})", start) from error

    def _skip_spaces(self, start: int, end: int) -> int:
        part = self.text[start:end]
        return start + len(part) - len(part.lstrip())

    def _marks(self, start: int, end: int) -> Iterator[tuple[int, str]]:
        """Places of `,`, `:`, `=` and `->` outside of brackets and quotes, which must close."""
        quote, at = "", start
        opened: list[int] = []
        while at < end:
            character = self.text[at]
            if quote:
                if character == "\\":
                    at += 1
                elif character == quote:
                    quote = ""
                    opened.pop()
            elif character in "'\"([{":
                quote = character if character in "'\"" else ""
                opened.append(at)
            elif character in ")]}":
                if not opened:
                    raise self.error(f"closes {character!r}, which was never opened", at)
                opened.pop()
            elif not opened and self.text.startswith("->", at):
                yield at, "->"
                at += 1
            elif not opened and character in ",:=":
                yield at, character
            at += 1
        if opened:
            raise self.error(f"never closes {self.text[opened[-1]]!r}", opened[-1])

    def error(self, what: str, at: int) -> UsageError:
        """A complaint that shows the line with a mark under the place."""
        first = self.text.rfind("\n", 0, at) + 1
        last = self.text.find("\n", at)
        line = self.text[max(first, at - _SHOWN) : min(last if last >= 0 else len(self.text), at + _SHOWN)]
        pointer = " " * (at - max(first, at - _SHOWN)) + "^"
        return UsageError(f"the shorthand signature {what} (character {at + 1}):\n  {line}\n  {pointer}")


@dataclass(frozen=True)
class _Types:
    """Reads one type from its syntax tree; `offset` is where its code begins in the text."""

    source: _Source
    offset: int
    code: str

    def read(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and node.value is None:
            return None
        if isinstance(node, (ast.Name, ast.Attribute)):
            found = self._named(node)
            if found in (Literal, Optional, Union):
                raise self._error(f"needs `[...]` after {ast.unparse(node)}", node)
            return found
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            return Union[self.read(node.left), self.read(node.right)]  # noqa: UP007  # the members are values
        if isinstance(node, ast.Subscript):
            return self._generic(node)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            raise self._error("takes types without quotes; closed sets of texts are `Literal['a', 'b']`", node)
        raise self._error(f"has {_shown(node)!r} where a type should be", node)

    def _named(self, node: ast.Name | ast.Attribute) -> Any:
        name = ast.unparse(node)
        if name in self.source.types:
            return self.source.types[name]
        near = closest(name.rsplit(".", 1)[-1], list(self.source.types))
        hint = f"did you mean {near!r}? " if near else ""
        raise self._error(
            f"does not know the type {name!r}; {hint}Types of your own are given by types={{{name!r}: ...}}", node
        )

    def _generic(self, node: ast.Subscript) -> Any:
        if not isinstance(node.value, (ast.Name, ast.Attribute)):
            raise self._error(f"has {_shown(node)!r} where a type should be", node)
        origin = self._named(node.value)
        given = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if origin is Literal:
            return Literal[tuple(self._constant(value) for value in given)]
        wanted = _ARITIES.get(origin)
        if wanted is not None and len(given) != wanted:
            raise self._error(f"gives {len(given)} types to {ast.unparse(node.value)}, which takes {wanted}", node)
        arguments = tuple(self._argument(value, origin) for value in given)
        try:
            return origin[arguments if len(arguments) != 1 else arguments[0]]
        except (TypeError, PydanticUserError) as error:
            raise self._error(f"has a type that takes no `[...]`: {error}", node) from error

    def _argument(self, node: ast.expr, origin: Any) -> Any:
        if origin is tuple and isinstance(node, ast.Constant) and node.value is ...:
            return ...
        return self.read(node)

    def _constant(self, node: ast.expr) -> Any:
        try:
            value = ast.literal_eval(node)
        except ValueError:
            value = node
        if value is None or isinstance(value, (str, bytes, int)):
            return value
        raise self._error(f"takes texts, whole numbers, True, False and None in Literal, not {_shown(node)}", node)

    def _error(self, what: str, node: ast.expr) -> UsageError:
        line = f"({self.code}".split("\n")[node.lineno - 1]
        column = len(line.encode()[: node.col_offset].decode())  # syntax trees count UTF-8 bytes
        return self.source.error(what, self.offset + _place(self.code, node.lineno, column))


def _place(code: str, line: int, column: int) -> int:
    """Where a line (from 1) and column (from 0) of `(code)` lie in `code`."""
    before = sum(len(text) + 1 for text in f"({code}".split("\n")[: line - 1])
    return max(before + column - 1, 0)


def _shown(node: ast.expr) -> str:
    return clip(ast.unparse(node), _SHOWN)


def _title(inputs: Sequence[str], outputs: Sequence[str]) -> str:
    words = [*inputs, "to", *outputs] if inputs else outputs
    title = "".join(part.capitalize() for word in words for part in word.split("_"))
    return title if len(title) <= _SHOWN else "Shorthand"
