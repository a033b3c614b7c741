"""The package's files as syntax trees, for tests of its shape."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import declm

ROOT = Path(declm.__file__).parent


@dataclass(frozen=True)
class Source:
    """One file of the package."""

    name: str
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        tree = ast.parse(self.path.read_text("utf-8"))
        for parent in ast.walk(tree):
            for child in ast.iter_child_nodes(parent):
                child.parent = parent  # type: ignore[attr-defined]  # the usual way to walk upwards
        return tree

    @property
    def unit(self) -> str:
        """The module or package that stands in `LAYERS`."""
        return self.name.split(".")[1] if "." in self.name else "__init__"

    @property
    def lines(self) -> int:
        return self.path.read_text("utf-8").count("\n")

    def where(self, node: ast.AST) -> str:
        return f"{self.path.relative_to(ROOT.parent)}:{getattr(node, 'lineno', 0)}"


def _load() -> dict[str, Source]:
    found: dict[str, Source] = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Source(name, path)
    return found


SOURCES = _load()


def ancestors(node: ast.AST) -> Iterator[ast.AST]:
    while (parent := getattr(node, "parent", None)) is not None:
        yield parent
        node = parent


def function_of(node: ast.AST) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    return next((a for a in ancestors(node) if isinstance(a, ast.FunctionDef | ast.AsyncFunctionDef)), None)


def qualified(source: Source, node: ast.AST) -> str:
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = [a.name for a in (node, *ancestors(node)) if isinstance(a, defined)]
    return ".".join([source.name, *reversed(names)])


def only_for_types(node: ast.AST) -> bool:
    return any(isinstance(a, ast.If) and ast.unparse(a.test).endswith("TYPE_CHECKING") for a in ancestors(node))


def allowed(name: str, entries: Iterable[str]) -> bool:
    return any(name == entry or name.startswith(f"{entry}.") for entry in entries)


def imports(source: Source) -> Iterator[tuple[ast.AST, str]]:
    """Every import with its target: a module of ours in full, a library by its top name."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name if alias.name.startswith("declm.") else alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module.split(".")[0] != "declm":
                yield node, node.module.split(".")[0]
                continue
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield node, inner if inner in SOURCES else node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            target = node.args[0] if node.args else None
            if isinstance(target, ast.Constant) and isinstance(target.value, str):
                yield node, target.value if target.value.startswith("declm") else target.value.split(".")[0]


def called(node: ast.Call) -> str:
    return ast.unparse(node.func).rsplit(".", 1)[-1]


def fails(problems: list[str]) -> None:
    assert not problems, "\n  " + "\n  ".join(problems)
