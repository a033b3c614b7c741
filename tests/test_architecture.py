"""The shape of the package: layers, no import cycles, lazy heavy libraries, small pieces.

Read from the syntax trees, so that imports inside functions and under `TYPE_CHECKING` count as well.
An exception to a rule stands in the rule's allow-list, with its reason.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Mapping

from sources import SOURCES, Source, allowed, called, fails, function_of, imports, only_for_types, qualified

import declm

# A module imports from lines above its own, or from what stands to its left in its own line.
LAYERS = """
    version text errors types files loops threads arrays
    score usage messages events fields signature shorthand specs demo likeness state protocols arguments storage
    settings callbacks history trace streams templates
    lm formats
    module predictors
    data metrics reports evaluation
    optimizers
    testing integrations __init__ cli
"""

# Pairs that the order would allow and the design does not.
SEPARATED = {
    "formats": {"lm": "a format never holds an LM; capabilities come in as data"},
    "lm": dict.fromkeys(
        ("fields", "signature", "shorthand", "specs", "demo", "state", "templates"), "an LM never sees a signature"
    ),
    "optimizers": {"formats": "a search sees states and scores only"},
}

# What may be imported at the top of a file, and where.
LIGHT = {
    "pydantic": ("declm",),
    "pydantic_core": ("declm",),
    "typing_extensions": ("declm",),
    "jinja2": ("declm.templates", "declm.reports"),
    "typer": ("declm.cli",),
}

LAZY_OWN = {
    "declm.cli": "a command loads what it needs, so that `declm --help` answers at once",
}

MUTABLE = {
    "declm.settings._process": "the one slot that `configure` sets; replaced as a whole",
}

COMPUTED_ATTRIBUTES = {
    "declm.__getattr__": "lazy exports, PEP 562",
    "declm.usage": "sums and checks over its own dataclass fields",
    "declm.state.PredictorState.differences": "compares its own Pydantic fields",
    "declm.evaluation.report._fields": "dumps a dataclass's own fields",
    "declm.protocols.is_lm": "looks for the methods that make an LM",
}

LONG: dict[str, str] = {}

ORDER = list[str](LAYERS.split())


def strongly_connected(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other; two walks in opposite directions (Kosaraju)."""
    order: list[str] = []
    seen: set[str] = set()

    def walk(start: str, graph: Mapping[str, set[str]], finish: Callable[[str], None]) -> None:
        stack = [(start, iter(sorted(graph.get(start, ()))))]
        seen.add(start)
        while stack:
            node, rest = stack[-1]
            following = next((n for n in rest if n not in seen), None)
            if following is None:
                stack.pop()
                finish(node)
            else:
                seen.add(following)
                stack.append((following, iter(sorted(graph.get(following, ())))))

    for node in edges:
        if node not in seen:
            walk(node, edges, order.append)
    backwards: dict[str, set[str]] = {}
    for node, targets in edges.items():
        for target in targets:
            backwards.setdefault(target, set()).add(node)
    seen.clear()
    groups: list[list[str]] = []
    for node in reversed(order):
        if node not in seen:
            group: list[str] = []
            walk(node, backwards, group.append)
            groups.append(sorted(group))
    return [group for group in groups if len(group) > 1]


def test_every_module_has_a_layer() -> None:
    fails([f"{s.name}: add `{s.unit}` to LAYERS" for s in SOURCES.values() if s.unit not in ORDER])


def test_imports_point_down_the_layers() -> None:
    problems: list[str] = []
    for source in SOURCES.values():
        for node, target in imports(source):
            if target not in SOURCES or SOURCES[target].unit == source.unit:
                continue
            other = SOURCES[target].unit
            if not {other, source.unit} <= set(ORDER):
                continue  # the test above names it
            if ORDER.index(other) > ORDER.index(source.unit):
                problems.append(f"{source.where(node)}: {source.unit} imports {other}, which stands above it")
            reason = SEPARATED.get(source.unit, {}).get(other)
            if reason:
                problems.append(f"{source.where(node)}: {source.unit} imports {other}, but {reason}")
    fails(problems)


def test_no_import_cycles_with_lazy_imports_counted() -> None:
    edges = {name: {t for _, t in imports(s) if t in SOURCES and t != name} for name, s in SOURCES.items()}
    fails([" <-> ".join(group) for group in strongly_connected(edges)])


def test_imports_are_absolute() -> None:
    nodes = [(s, n) for s in SOURCES.values() for n in ast.walk(s.tree)]
    fails([s.where(n) for s, n in nodes if isinstance(n, ast.ImportFrom) and n.level > 0])


def test_own_modules_are_imported_at_the_top() -> None:
    problems = [
        f"{source.where(node)}: {target} inside a function"
        for source in SOURCES.values()
        for node, target in imports(source)
        if target in SOURCES and function_of(node) is not None and not allowed(source.name, LAZY_OWN)
    ]
    fails(problems)


def test_libraries_are_imported_lazily_and_in_one_module_each() -> None:
    problems: list[str] = []
    users: dict[str, set[str]] = {}
    for source in SOURCES.values():
        for node, target in imports(source):
            if target.split(".")[0] == "declm" or target in sys.stdlib_module_names or only_for_types(node):
                continue
            homes = LIGHT.get(target)
            if homes is not None:
                if not allowed(source.name, homes):
                    problems.append(f"{source.where(node)}: {target} belongs into {' or '.join(homes)}")
                continue
            users.setdefault(target, set()).add(source.name)
            if function_of(node) is None:
                problems.append(f"{source.where(node)}: import {target} inside the function that needs it")
    problems += [f"{lib} is imported in {', '.join(sorted(names))}" for lib, names in users.items() if len(names) > 1]
    fails(problems)


# --- exports


def test_exports_are_sorted_complete_and_load() -> None:
    assert declm.__all__ == sorted(declm.__all__, key=in_export_order)
    declared = {
        alias.asname or alias.name
        for node in SOURCES["declm"].tree.body
        if isinstance(node, ast.If)
        for inner in node.body
        if isinstance(inner, ast.ImportFrom)
        for alias in inner.names
    }
    assert declared | {"__version__"} == set(declm.__all__)
    fails([name for name in declm.__all__ if getattr(declm, name, None) is None])
    assert set(dir(declm)) == set(declm.__all__)


def test_all_errors_are_exported() -> None:
    defined = {n.name for n in SOURCES["declm.errors"].tree.body if isinstance(n, ast.ClassDef)}
    assert defined <= set(declm.__all__)


def in_export_order(name: str) -> tuple[int, str]:
    """Constants, classes, functions: the order that ruff sorts `__all__` in."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def test_every_package_lists_its_exports_in_order() -> None:
    problems: list[str] = []
    for source in SOURCES.values():
        if source.path.name != "__init__.py" or source.name == "declm":
            continue
        own = {n.name for n in source.tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)}
        imported = {
            alias.asname or alias.name
            for node in source.tree.body
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(source.name)
            for alias in node.names
        }
        names = exported(source)
        # A package that only re-exports lists all that it imports; one with code of its own, that code.
        public = {name for name in own or imported if not name.startswith("_")}
        problems += [f"{source.name}.__all__ lacks {name}" for name in sorted(public - set(names))]
        if names != sorted(names, key=in_export_order):
            problems.append(f"{source.name}.__all__ is not sorted: {sorted(names, key=in_export_order)}")
    fails(problems)


def exported(source: Source) -> list[str]:
    for node in source.tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            found = ast.literal_eval(node.value)
            assert isinstance(found, list)
            return found
    return []


# --- state and size

_MUTATORS = {
    "append", "add", "update", "pop", "popitem", "clear", "setdefault", "extend", "insert", "remove", "discard",
    "appendleft",
}  # fmt: skip


def changed_globals(source: Source) -> Iterator[tuple[ast.AST, str]]:
    """Module-level names that something in the module changes after import."""
    own = {
        target.id
        for node in source.tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Global):
            for name in node.names:
                yield node, name
        elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            if isinstance(node.value, ast.Name) and node.value.id in own:
                yield node, node.value.id
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            holder = node.func.value
            if node.func.attr in _MUTATORS and isinstance(holder, ast.Name) and holder.id in own:
                yield node, holder.id


def test_no_module_keeps_state_that_changes() -> None:
    problems = [
        f"{source.where(node)}: {source.name}.{name} changes after import"
        for source in SOURCES.values()
        for node, name in changed_globals(source)
        if f"{source.name}.{name}" not in MUTABLE
    ]
    fails(problems)


def test_attributes_are_named_not_computed() -> None:
    problems = [
        f"{source.where(node)}: {ast.unparse(node)} in {qualified(source, node)}"
        for source in SOURCES.values()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"getattr", "setattr", "delattr"}
        and len(node.args) > 1
        and not isinstance(node.args[1], ast.Constant)
        and not (isinstance(node.args[1], ast.Name) and node.args[1].id.isupper())
        and not allowed(qualified(source, node), COMPUTED_ATTRIBUTES)
    ]
    fails(problems)


def test_nothing_is_evaluated_unpickled_or_read_from_frames() -> None:
    banned = {"eval", "exec", "_getframe", "currentframe", "stack"}
    problems = [
        f"{source.where(node)}: {ast.unparse(node.func)}"
        for source in SOURCES.values()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and called(node) in banned
    ]
    unsafe = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "diskcache"}
    problems += [f"{s.where(n)}: import {t}" for s in SOURCES.values() for n, t in imports(s) if t in unsafe]
    fails(problems)


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def test_functions_and_modules_stay_small() -> None:
    problems = [
        f"{s.name}: {s.lines} lines, over 400" for s in SOURCES.values() if s.lines > 400 and s.name not in LONG
    ]
    problems += [
        f"{source.where(node)}: {qualified(source, node)} has {length(node)} lines, more than 60"
        for source in SOURCES.values()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and length(node) > 60
        and qualified(source, node) not in LONG
    ]
    fails(problems)


def test_allow_lists_hold_nothing_that_is_gone() -> None:
    known = {s.name for s in SOURCES.values()}
    for source in SOURCES.values():
        known |= {qualified(source, n) for n in ast.walk(source.tree)}
        known |= {f"{source.name}.{name}" for _, name in changed_globals(source)}
    lists = (LAZY_OWN, MUTABLE, COMPUTED_ATTRIBUTES, LONG)
    fails([f"{entry} does not exist" for entries in lists for entry in entries if entry not in known])
