"""What a template may refer to, checked before anything is rendered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jinja2 import meta, nodes

from declm.errors import TemplateError
from declm.text import closest


@dataclass(frozen=True, slots=True)
class Names:
    """The variables that a template part may use.

    Args:
        variables: names that declm passes to the part, whatever the signature.
        fields: keys of the signature's fields that the part sees as variables of their own; none
            where there is no signature.
        mapping: the variable that holds those fields by key, for keys that are no identifiers or
            are hidden by one of `variables`.
    """

    variables: tuple[str, ...]
    fields: tuple[str, ...] = ()
    mapping: str = "values"


def check(tree: nodes.Template, name: str, names: Names) -> None:
    """Compare every variable, and every `values.<field>`, with the names that exist.

    Raises:
        TemplateError: one does not exist; names the template, the line and what exists.
    """
    unknown = meta.find_undeclared_variables(tree) - {*names.variables, *names.fields}
    # Jinja counts what is set in one branch alone; whether it is read elsewhere shows when it is rendered.
    unknown -= {node.name for node in tree.find_all(nodes.Name) if node.ctx == "store"}
    for node in tree.find_all(nodes.Name):
        if node.name in unknown:
            raise _unknown(f"variable `{node.name}`", node.name, name, node.lineno, names)
    for field, line in _fields_read(tree, names.mapping) if names.fields else ():
        if field not in names.fields:
            raise _unknown(f"field `{names.mapping}.{field}`", field, name, line, names)


def _fields_read(tree: nodes.Template, mapping: str) -> Iterator[tuple[str, int]]:
    for read in tree.find_all(nodes.Getattr):
        if isinstance(read.node, nodes.Name) and read.node.name == mapping:
            yield read.attr, read.lineno
    for item in tree.find_all(nodes.Getitem):
        if isinstance(item.node, nodes.Name) and item.node.name == mapping and isinstance(item.arg, nodes.Const):
            yield str(item.arg.value), item.lineno


def _unknown(what: str, word: str, name: str, line: int, names: Names) -> TemplateError:
    near = closest(word, [*names.fields, *names.variables])
    hint = f"; did you mean `{near}`?" if near else "."
    return TemplateError(
        f"{name}, line {line}: unknown {what}{hint} Its fields are {_listed(names.fields)}; "
        f"its variables are {_listed(names.variables)}",
        name=name,
        line=line,
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"
