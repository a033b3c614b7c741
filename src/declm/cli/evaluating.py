"""`declm eval`: measure a program from a shell, alone or against an earlier report."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from declm import data, storage
from declm.errors import UsageError
from declm.evaluation import Comparison, Report, evaluate
from declm.reports.values import masked
from declm.settings import context
from declm.state import Node, Stateful
from declm.text import clip, closest

WORSE = 0.05
"""Below this p a program counts as worse than it was."""

_CHANGES = 5
"""Changed rows that are shown."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Task:
    """What the command is told; `declm eval --help` documents it."""

    program: str
    metric: str
    data: Path
    rows: str | None
    state: Path | None
    lm: str | None
    against: Path | None
    save: Path | None
    name: str | None
    limit: int | None
    concurrency: int | None
    repeats: int
    cache: bool | None


def tell(say: Say, task: Task) -> bool:
    """Evaluate, print, save and compare; whether the program is no worse than it was.

    Raises:
        UsageError: something that was named is not there, or does not fit.
        DeclmError: whatever `evaluate` raises.
    """
    before = None if task.against is None else Report.load(task.against)
    program, metric = _program(task), found(task.metric)
    rows = data.read(_rows_of(task, program), task.data, limit=task.limit)
    # What a cache says about a model that may have changed is what it said before.
    cache = before is None if task.cache is None else task.cache
    with nullcontext() if cache else context(cache=False):
        report: Report[Any, Any] = evaluate(
            program,
            rows,
            metric,
            lm=task.lm,
            name=task.name,
            concurrency=task.concurrency,
            repeats=task.repeats,
        )
    say(str(report))
    if task.save is not None:
        report.save(task.save)
        say(f"saved as {task.save}")
    if before is None:
        return True
    comparison = report.compare(before)
    for line in _told(comparison, task.against):
        say(line)
    return not _is_worse(comparison)


def _program(task: Task) -> Any:
    program = found(task.program)
    if task.state is None:
        return program
    if not isinstance(program, Node):
        raise UsageError(f"{task.program!r} is no program with a state: leave out --state")
    return storage.load(program, task.state)


def found(reference: str) -> Any:
    """The object that `file.py:name` or `package.module:name` means.

    Raises:
        UsageError: there is no such file, module or object, or it can't be imported.
    """
    place, _, name = reference.rpartition(":")
    if not place or not name:
        raise UsageError(f"{reference!r} must be written as file.py:name or package.module:name")
    module = _file(Path(place)) if place.endswith(".py") else _module(place)
    if not hasattr(module, name):
        near = closest(name, [word for word in vars(module) if not word.startswith("_")])
        raise UsageError(f"{place!r} has no {name!r}" + (f"; did you mean {near!r}?" if near else ""))
    return vars(module)[name]


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no file {str(path)!r}")
    path = path.resolve()
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    if known is not None or path.stem in sys.stdlib_module_names:
        raise UsageError(f"{path.name} is called like a module that others import: rename the file")
    _look_in(path.parent)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{str(path)!r} is no Python file")
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[path.stem]
        raise UsageError(f"{str(path)!r} can't be imported: {_told_of(error)}") from error
    return module


def _module(name: str) -> ModuleType:
    _look_in(Path.cwd())
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise UsageError(f"the module {name!r} can't be imported: {_told_of(error)}") from error


def _told_of(error: Exception) -> str:
    """What a user's code raised, and where."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{clip(repr(error), 300)} ({last.filename}, line {last.lineno})"


def _look_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _rows_of(task: Task, program: Any) -> Callable[..., Any]:
    if task.rows is not None:
        cls: Callable[..., Any] = found(task.rows)
        return cls
    if isinstance(program, Stateful):
        return program.spec.cls
    raise UsageError(f"say of which class the rows are: --rows {task.program.rpartition(':')[0]}:YourSignature")


def _told(comparison: Comparison, against: Path | None) -> list[str]:
    lines = [f"against {against}: {comparison}"]
    for change in comparison.changes[:_CHANGES]:
        gold = ", ".join(f"{key}={clip(repr(value), 60)}" for key, value in masked(change.gold).items())
        lines.append(f"  {change.second:.2f} -> {change.first:.2f}  {gold}")
    if len(comparison.changes) > _CHANGES:
        lines.append(f"  and {len(comparison.changes) - _CHANGES} more rows that changed")
    if _is_worse(comparison):
        lines.append(f"worse than it was (p below {WORSE:g})")
    return lines


def _is_worse(comparison: Comparison) -> bool:
    return comparison.difference < 0 and comparison.p < WORSE
