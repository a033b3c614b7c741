"""A task folder, ready to run: signature, labelled rows and metric."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cards import Card, peek, read_card, shapes, signature
from databases import Database
from scoring import Scoring, outputs, read_scoring

import declm as dm

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Task:
    """One task: what its card says, as types, rows and a metric."""

    name: str
    card: Card
    signature: type[dm.Signature]
    train: list[dm.Signature]
    dev: list[dm.Signature]
    test: list[dm.Signature]
    scoring: Scoring


def load(data: Path, name: str, *, metric: str | None = None, rows: int | None = None) -> Task:
    """Read a task; everything that is wrong with its files is reported before any LM call.

    Args:
        data: the folder that holds the task folders.
        name: of the task's folder.
        metric: overrides the card's, see `scoring`.
        rows: at most so many rows of each split, the same random ones every time.

    Raises:
        DataError: a file is missing, or rows don't fit; names files and lines.
        UsageError: there is no such task, or no known metric.
    """
    folder = data / name
    if not folder.is_dir():
        known = sorted(path.parent.name for path in data.glob("*/task.json"))
        raise dm.UsageError(f"{str(data)!r} has no task {name!r}; its tasks are {', '.join(known) or 'none'}")
    card = read_card(folder)
    path = folder / "database.json"
    database = Database(path) if path.is_file() else None
    paths = {split: folder / f"{split}.jsonl" for split in SPLITS}
    seen = [row for path in paths.values() for row in peek(path)]
    found = shapes(card, seen)
    scoring = read_scoring(card, found, database, metric)
    described = _tables(scoring, database)
    cls = signature(card, found, seen, described)
    splits = {split: _labelled(cls, path, rows) for split, path in paths.items()}
    if database is not None:
        _check_queries(scoring, database, splits)
    return Task(name, card, cls, **splits, scoring=scoring)


def _labelled(cls: type[dm.Signature], path: Path, limit: int | None) -> list[dm.Signature]:
    """Read a split, all of whose rows must have all outputs."""
    found: list[dm.Signature] = dm.data.read(cls, path)
    missing = [
        (f"row {number}", ", ".join(lacks))
        for number, row in enumerate(found, 1)
        if (lacks := [name for name in dm.spec(cls).outputs if name not in outputs(row)])
    ]
    if missing:
        where, what = missing[0]
        raise dm.DataError(
            f"{str(path)!r}: {len(missing)} of {len(found)} rows have no labels; the first is {where}, without {what}. "
            "Rows without labels can be neither scored nor learned from",
            tuple(missing),
        )
    return found if limit is None or limit >= len(found) else random.Random("rows").sample(found, limit)


def _tables(scoring: Scoring, database: Database | None) -> Mapping[str, str]:
    """What an output that is a query must know: the tables and their columns."""
    if database is None:
        return {}
    return {name: f"for SQLite, tables: {database.tables}" for name, m in scoring.by.items() if m == "sql_execution"}


def _check_queries(scoring: Scoring, database: Database, splits: Mapping[str, Sequence[dm.Signature]]) -> None:
    """Gold queries must run, or a right answer could not be told from a wrong one."""
    queries = [name for name, metric in scoring.by.items() if metric == "sql_execution"]
    for split, rows in splits.items():
        for query in (outputs(row)[name] for row in rows for name in queries):
            _check_query(query, database, split)


def _check_query(query: str, database: Database, split: str) -> None:
    try:
        database.rows(query)
    except sqlite3.Error as error:
        raise dm.DataError(f"a gold query of {split}.jsonl fails: {error}; it is {query!r}") from error
