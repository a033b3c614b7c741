"""What a template writes around values, learnt once: most calls then need not run the template at all.

Most templates print values and decide nothing by them, but by which of them are there and which have several
lines. That shows in their syntax. Such a template is run once for each of these cases with marks in the place
of the values; what it wrote around the marks is its form, and filling that in is all that later calls do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from jinja2 import nodes

from declm.templates.check import Names

INDENT = "  "
"""What the filter `indent` puts before lines by default."""

_LISTED = "inputs"
"""The variable that holds the views of the values."""

_DESCRIBED = frozenset("key type description default examples reasoning lone is_text bare multiline".split())
"""What a view says besides its value."""

_COUNTED = frozenset("index index0 revindex revindex0 first last length depth depth0".split())
"""What a loop says besides its items."""

_HIDING = (nodes.Macro, nodes.FilterBlock, nodes.AssignBlock, nodes.ScopedEvalContextModifier)
"""Blocks whose output need not be printed as it is."""

# Unicode keeps these for use inside of programs. Two lines, to see whether they were indented.
_MARK = "\ufdd0{0}\ufdd1\n\ufdd2{0}\ufdd1"
_MARKED = re.compile(f"({INDENT})?\ufdd0(\\d+)\ufdd1\n({INDENT})?\ufdd2\\2\ufdd1")
_LEFT = re.compile("[\ufdd0-\ufdd2]")


@dataclass(frozen=True, slots=True)
class Form:
    """What a template writes, with gaps for values.

    Args:
        pattern: for the operator `%`.
        gaps: whose text goes into each gap, and whether it is indented.
    """

    pattern: str
    gaps: tuple[tuple[str, bool], ...]

    def length(self, texts: Mapping[str, str]) -> int:
        """Characters that `fill` writes, before texts are indented; a template may print one text many times."""
        return len(self.pattern) + sum([len(texts[key]) for key, _ in self.gaps])

    def fill(self, texts: Mapping[str, str]) -> str:
        """Write the texts into the gaps."""
        return self.pattern % tuple([indented(texts[key]) if deep else texts[key] for key, deep in self.gaps])


def indented(text: str, by: str = INDENT) -> str:
    """The text with every line indented."""
    return "".join([f"{by}{line}" for line in text.splitlines(keepends=True)])


def marks(keys: tuple[str, ...]) -> dict[str, str]:
    """A text for each key that can be found again in what a template writes."""
    return {key: _MARK.format(index) for index, key in enumerate(keys)}


def learnt(written: str, keys: tuple[str, ...]) -> Form | None:
    """The form of what a template wrote around `marks(keys)`; None if it took one apart."""
    pattern, end = "", 0
    gaps: list[tuple[str, bool]] = []
    for found in _MARKED.finditer(written):
        before, index, deep = found.groups()
        pattern += _escaped(written[end : found.start()] + ("" if deep else before or "")) + "%s"
        gaps.append((keys[int(index)], bool(deep)))
        end = found.end()
    pattern += _escaped(written[end:])
    return None if _LEFT.search(pattern) else Form(pattern, tuple(gaps))


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def only_prints(tree: nodes.Template, names: Names) -> bool:
    """Whether a template prints the values of `names.fields`, and does nothing else with them."""
    imports: list[nodes.Import | nodes.FromImport] = [*tree.find_all(nodes.Import), *tree.find_all(nodes.FromImport)]
    if any(True for _ in tree.find_all(_HIDING)) or any(found.with_context for found in imports):
        return False
    loops = [loop for loop in tree.find_all(nodes.For) if _is_named(loop.iter, (_LISTED,))]
    views = {loop.target.name for loop in loops if isinstance(loop.target, nodes.Name)}
    values = {_LISTED, names.mapping, *names.fields}
    harmless = {id(loop.iter) for loop in loops} | set(_harmless(tree, names, views))
    for name in tree.find_all(nodes.Name):
        if name.name in values and name.ctx != "load":
            return False
        if name.name in values | views | {"loop"} and name.ctx == "load" and id(name) not in harmless:
            return False
    return True


def _harmless(tree: nodes.Template, names: Names, views: Collection[str]) -> Iterator[int]:
    """Which mentions of names, by the identity of their nodes, print a value or don't touch it."""
    for output in tree.find_all(nodes.Output):
        for node in output.nodes:
            deep = isinstance(node, nodes.Filter) and node.name == "indent" and not (node.args or node.kwargs)
            inner = node.node if deep and isinstance(node, nodes.Filter) else node
            if isinstance(inner, nodes.Getattr) and inner.attr == "text" and _is_named(inner.node, views):
                yield id(inner.node)
            elif not deep and _is_named(inner, names.fields):
                yield id(inner)
            elif isinstance(inner, (nodes.Getattr, nodes.Getitem)) and not deep and _is_member(inner, names.mapping):
                yield id(inner.node)
    for read in tree.find_all(nodes.Getattr):
        known = _COUNTED if _is_named(read.node, ("loop",)) else _DESCRIBED if _is_named(read.node, views) else ()
        if read.attr in known:
            yield id(read.node)


def _is_member(node: nodes.Getattr | nodes.Getitem, mapping: str) -> bool:
    by_name = isinstance(node, nodes.Getattr) or isinstance(node.arg, nodes.Const)
    return by_name and _is_named(node.node, (mapping,))


def _is_named(node: nodes.Node | None, names: Collection[str]) -> bool:
    return isinstance(node, nodes.Name) and node.name in names
