"""The Jinja environment of prompt templates: plain data in, text out, nothing else.

Templates come from files that users share, so they are treated as untrusted code. On top of Jinja's
immutable sandbox: names reach mappings by key only (no attribute or method of any object), calls
reach nothing but macros, filters are a closed list, templates don't build containers, and every
character and every turn of a loop or macro is paid for from a budget per rendering.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from functools import wraps
from typing import Any, cast

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, nodes, pass_context
from jinja2.environment import TemplateModule
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS as _JINJA_FILTERS  # pyright: ignore[reportUnknownVariableType]  # partly untyped
from jinja2.runtime import Context, LoopContext, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from declm.templates.forms import INDENT, indented

OUTPUT_LIMIT = 16_000_000
"""Characters that one rendering may write, intermediate texts included."""

SECONDS_LIMIT = 0.5
"""Processor time that one rendering may take, once it has written more than `UNTIMED`."""

UNTIMED = 100_000
"""Characters (and turns of loops, at their price) that are never timed: the clock costs as much as a prompt."""

_TURN = 64
_CALL = 1000
"""What a turn of a loop and a call of a macro cost, in characters, besides the text in its body."""

_INTEGER_LIMIT = 2**63

_KEPT_FILTERS = (
    "abs capitalize count d default first float int items last length list lower map max min reject rejectattr "
    "reverse select selectattr sort title trim truncate unique upper"
)
_REFUSED = {
    nodes.CallBlock: "call blocks are not available",
    nodes.Include: "include is not available: import macros instead",
    nodes.Extends: "extends is not available: copy the template",
    nodes.Block: "blocks are not available",
    nodes.Dict: "templates can't build mappings",
}


class _Purse:
    """What one rendering may still spend."""

    __slots__ = ("left", "look", "until")

    def __init__(self) -> None:
        self.left = OUTPUT_LIMIT
        self.until: float | None = None
        self.look = 0.0


_purse: ContextVar[_Purse | None] = ContextVar("declm_template_purse", default=None)


def render(template: Template, context: Mapping[str, Any]) -> str:
    """Render within the budget; errors are Jinja's and those of its filters."""
    token = _purse.set(_Purse())
    try:
        return template.render(context)
    finally:
        _purse.reset(token)


def _pay(amount: int) -> None:
    purse = _purse.get()
    if purse is None:  # while Jinja compiles
        return
    purse.left -= amount
    if purse.left < 0:
        raise SecurityError(f"the template writes more than {OUTPUT_LIMIT:,} characters or loops too long")
    # The wall clock is the cheaper one, and never behind; a busy machine is no reason to give up, and
    # neither is a garbage collection that happens to run inside a short template.
    if purse.left > OUTPUT_LIMIT - UNTIMED:
        return
    if purse.until is None:
        purse.until, purse.look = time.thread_time() + SECONDS_LIMIT, time.perf_counter() + SECONDS_LIMIT
    elif time.perf_counter() > purse.look and time.thread_time() > purse.until:
        raise SecurityError(f"the template takes longer than {SECONDS_LIMIT} seconds")


class Environment(ImmutableSandboxedEnvironment):
    """Jinja environment in which a template can do nothing but write text."""

    intercepted_binops = frozenset("+ - * / // % **".split())

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True, finalize=_finalize
        )
        self.globals: dict[str, Any] = {}
        self.filters: dict[str, Callable[..., Any]] = {
            name: _paid(_JINJA_FILTERS[name])  # pyright: ignore[reportUnknownArgumentType]  # partly untyped
            for name in _KEPT_FILTERS.split()
        }
        self.filters |= {"charge": _charge, "indent": _indent, "join": _join, "json": _json, "tojson": _json}
        self.filters |= {"replace": _replace, "round": _round, "string": _string}

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Look a name up: a mapping's key, or what loops and imported macros offer."""
        if type(obj) is dict and attribute in obj:  # the usual case, and most of the time of a rendering
            return obj[attribute]  # pyright: ignore[reportUnknownVariableType]  # any JSON
        if isinstance(obj, (LoopContext, TemplateModule)):
            return super().getattr(obj, attribute)
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Look an index, slice or key up; never an attribute."""
        if isinstance(obj, (Mapping, list, tuple, str)):
            try:
                return obj[argument]  # pyright: ignore[reportUnknownVariableType]  # any JSON
            except (TypeError, LookupError):
                pass
        return self.undefined(obj=obj, name=argument)

    def is_safe_callable(self, obj: Any) -> bool:
        """Macros only."""
        return isinstance(obj, Macro)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic on numbers of ordinary size, and `+` on texts within the budget."""
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            _pay(len(left) + len(right))
            return left + right
        if operator == "**" or not (isinstance(left, (int, float)) and isinstance(right, (int, float))):
            raise SecurityError(f"templates can't compute {type(left).__name__} {operator} {type(right).__name__}")
        found = super().call_binop(context, operator, left, right)
        if isinstance(found, int) and abs(found) > _INTEGER_LIMIT:
            raise SecurityError("a number in the template is too large")
        return found

    def _generate(self, source: nodes.Template, name: Any, filename: Any, defer_init: bool = False) -> str:
        # Jinja's documented hook between parsing and compiling.
        _refuse(source, name)
        _meter(source)
        return super()._generate(source, name, filename, defer_init=defer_init)


def _refuse(source: nodes.Template, name: str | None) -> None:
    """Refuse what prompt templates don't need and attackers do."""
    for kind, reason in _REFUSED.items():
        for node in source.find_all(kind):
            raise TemplateSyntaxError(reason, node.lineno, name)
    _refuse_calls(source, name)
    for node in source.find_all((nodes.List, nodes.Tuple)):
        loads = getattr(node, "ctx", "load") == "load"
        if loads and not all(isinstance(item, nodes.Const) for item in node.items):  # type: ignore[attr-defined]  # both kinds have items
            raise TemplateSyntaxError("lists in templates hold constants only", node.lineno, name)
    for node in source.find_all((nodes.Import, nodes.FromImport)):
        if not isinstance(node.template, nodes.Const):  # type: ignore[attr-defined]  # both kinds name a template
            raise TemplateSyntaxError("the name of an imported template must be a constant", node.lineno, name)
    for node in source.find_all(nodes.Filter):
        if node.name == "charge":
            raise TemplateSyntaxError("No filter named 'charge'.", node.lineno, name)


def _refuse_calls(source: nodes.Template, name: str | None) -> None:
    """Let calls reach macros by their name only, defined here or imported."""
    macros: set[Any] = {macro.name for macro in source.find_all(nodes.Macro)}
    for found in source.find_all(nodes.FromImport):
        macros |= {item[1] if isinstance(item, tuple) else item for item in found.names}
    modules = {found.target for found in source.find_all(nodes.Import)}
    for call in source.find_all(nodes.Call):
        target = call.node
        by_module = (
            isinstance(target, nodes.Getattr) and isinstance(target.node, nodes.Name) and target.node.name in modules
        )
        if not by_module and not (isinstance(target, nodes.Name) and target.name in macros):
            raise TemplateSyntaxError("only macros can be called; use filters", call.lineno, name)


def _meter(source: nodes.Template) -> None:
    """Let every turn of a loop or macro pay for itself, and join texts within the budget."""
    for node in list(source.find_all((nodes.For, nodes.Macro))):
        body: list[nodes.Node] = node.body  # type: ignore[attr-defined]  # both kinds have a body
        size = (_TURN if isinstance(node, nodes.For) else _CALL) + sum(
            len(data.data) for data in node.find_all(nodes.TemplateData)
        )
        price = nodes.Filter(nodes.Const(size), "charge", [], [], None, None)
        body.insert(0, nodes.Output([price]).set_lineno(node.lineno))
    for concat in list(source.find_all(nodes.Concat)):
        concat.nodes[:] = [nodes.Filter(n, "string", [], [], None, None, lineno=n.lineno) for n in concat.nodes]


def _size(value: Any) -> int:
    """About what a filter has to read of a value: a list's texts are sorted and compared as well."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, (list, tuple, dict)):
        parts = cast("dict[str, Any] | list[Any] | tuple[Any, ...]", value)
        items = parts.values() if isinstance(parts, dict) else parts
        return len(parts) + sum(len(item) for item in items if isinstance(item, str))
    return 0


def _paid(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let one of Jinja's filters pay for the size of its arguments, and look at the clock."""

    @wraps(function)  # keeps Jinja's mark of what it passes
    def paid(*args: Any, **options: Any) -> Any:
        _pay(sum(_size(arg) for arg in args))
        return function(*args, **options)

    return paid


# --- filters; `pass_context` keeps Jinja from running them while it compiles


@pass_context
def _charge(_context: Context, amount: int) -> str:
    _pay(max(amount, 0))  # a template may name the filter in `map`
    return ""


def _text(value: Any) -> str:
    if isinstance(value, str):
        _pay(len(value))
        return value
    if isinstance(value, Undefined):
        return str(value)  # raises, naming what is undefined
    if isinstance(value, (Macro, TemplateModule)):
        raise SecurityError("a macro is no text: call it")
    if value is None or isinstance(value, (bool, int, float, Mapping, list, tuple)):
        return _dumped(value)
    raise SecurityError(f"a {type(value).__name__} is no text: add a filter such as `| list` or `| join(', ')`")


def _dumped(value: Any) -> str:
    parts: list[str] = []
    for part in json.JSONEncoder(ensure_ascii=False).iterencode(value):
        _pay(len(part))
        parts.append(part)
    return "".join(parts)


@pass_context
def _finalize(_context: Context, value: Any) -> str:
    return _text(value)


@pass_context
def _string(_context: Context, value: Any) -> str:
    return _text(value)


@pass_context
def _json(_context: Context, value: Any) -> str:
    if isinstance(value, Undefined):
        return str(value)  # raises, naming what is undefined
    return _dumped(value)


@pass_context
def _join(context: Context, values: Iterable[Any], separator: str = "", attribute: str | None = None) -> str:
    parts: list[str] = []
    for value in values:
        _pay(len(separator) + 1)
        parts.append(_text(value if attribute is None else context.environment.getitem(value, attribute)))
    return separator.join(parts)


@pass_context
def _replace(_context: Context, text: str, old: str, new: str) -> str:
    _pay(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


@pass_context
def _indent(_context: Context, text: str, width: int = len(INDENT), first: bool = True) -> str:
    """Indent every line, so that no line of a value can pass for one of the prompt's own."""
    _pay(len(text) + len(text.splitlines()) * min(max(width, 0), OUTPUT_LIMIT))
    shown = indented(text, " " * width)
    return shown if first else shown[width:]


@pass_context
def _round(_context: Context, number: float, digits: int = 0) -> float:
    return round(number, min(max(digits, 0), 15))
