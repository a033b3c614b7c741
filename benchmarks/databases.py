"""Text-to-SQL: the task's database in memory, and queries that can only read it, for a limited time.

A predicted query is untrusted text. SQLite's authorizer lets it select from the tables and call harmless
functions, nothing else: no writes, no other files, no settings, no endless recursion.
"""

from __future__ import annotations

import math
import re
import sqlite3
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

import declm as dm

Rows = list[tuple[Any, ...]]

LIMIT_S = 2.0
"""Seconds that one query may run."""

MOST_ROWS = 10_000
"""Rows that one query may return."""

LONGEST = 1_000_000
"""Bytes that one value may take."""

_STEPS = 1000
"""Instructions of SQLite's machine between two looks at the clock."""

_FUNCTIONS = frozenset(
    "abs avg ceil ceiling coalesce count cume_dist date datetime dense_rank first_value floor group_concat ifnull iif "
    "instr julianday lag last_value lead length like glob lower ltrim max min mod nth_value ntile nullif percent_rank "
    "power pow rank replace round row_number rtrim sign sqrt strftime substr substring sum time total trim typeof "
    "upper".split()
)

_PARENTHESES = re.compile(r"\([^()]*\)")
_FENCE = re.compile(r"^\s*```(?:sql|sqlite)?\s*\n(.*?)\n?\s*```\s*$", re.DOTALL | re.IGNORECASE)


class _Table(BaseModel):
    model_config = ConfigDict(extra="ignore")

    ddl: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float | bool | None, ...], ...]


class _Content(BaseModel):
    model_config = ConfigDict(extra="ignore")

    tables: dict[str, _Table]


class Database:
    """The tables of a `database.json`, in memory until `close()` or the last reference goes; threads may share it.

    Raises:
        DataError: the file is no database of that layout, or SQLite refuses it.
    """

    def __init__(self, path: Path) -> None:
        try:
            content = _Content.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise dm.DataError(f"{str(path)!r} is no database (tables with ddl, columns and rows): {error}") from error
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(":memory:", check_same_thread=False)
        self.close = weakref.finalize(self, self._connection.close)
        try:
            for name, table in content.tables.items():
                self._create(name, table)
            self._connection.commit()
        except (sqlite3.Error, sqlite3.Warning) as error:  # a warning: several statements, on Python 3.10
            raise dm.DataError(f"{str(path)!r} can't be built in SQLite: {error}") from error
        self.tables = "; ".join(f"{name}({', '.join(table.columns)})" for name, table in content.tables.items())
        self._connection.set_authorizer(_authorize)
        if sys.version_info >= (3, 11):
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)

    def _create(self, name: str, table: _Table) -> None:
        if not re.match(r"\s*create\s+table\b", table.ddl, re.IGNORECASE):
            raise sqlite3.ProgrammingError(f"the ddl of {name!r} creates no table")
        marks = ", ".join("?" * len(table.columns))
        self._connection.execute(table.ddl)
        self._connection.executemany(f"INSERT INTO {_quoted(name)} VALUES ({marks})", table.rows)

    def rows(self, query: str, limit_s: float = LIMIT_S) -> Rows:
        """Run one query.

        Raises:
            sqlite3.Error: it is wrong, does more than read, or takes too long or too much.
        """
        deadline = time.monotonic() + limit_s
        with self._lock:
            self._connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
            try:
                cursor = self._connection.execute(query)
                found: Rows = cursor.fetchmany(MOST_ROWS + 1)
            except (sqlite3.Warning, ValueError) as error:  # as above; a zero byte
                raise sqlite3.ProgrammingError(str(error)) from error
            finally:
                self._connection.set_progress_handler(None, 0)
        if cursor.description is None:
            raise sqlite3.ProgrammingError("there is no query")
        if len(found) > MOST_ROWS:
            raise sqlite3.DataError(f"more than {MOST_ROWS:,} rows")
        return found


@dataclass(frozen=True)
class SqlExecution:
    """Compares queries by what they return: the same rows, in any order unless the gold query sorts them."""

    database: Database

    def __call__(self, gold: str, got: str) -> dm.Score:
        """Run both; a query that SQLite refuses scores 0."""
        fenced = _FENCE.match(got)
        try:
            answer = self.database.rows(fenced[1] if fenced else got)
        except sqlite3.Error as error:
            return dm.Score(0.0, f"the query fails: {error}")
        expected = self.database.rows(gold)
        if _same(expected, answer, is_ordered=_is_ordered(gold)):
            return dm.Score(1.0)
        return dm.Score(0.0, f"it returns {_shown(answer)}, not {_shown(expected)}; a right query is {gold}")


def _authorize(action: int, *about: str | None) -> int:
    if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ):
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and (about[1] or "").lower() in _FUNCTIONS:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _same(expected: Rows, answer: Rows, *, is_ordered: bool) -> bool:
    first, second = [_comparable(row) for row in expected], [_comparable(row) for row in answer]
    return first == second if is_ordered else Counter(first) == Counter(second)


def _comparable(row: Sequence[Any]) -> tuple[Any, ...]:
    """The row with numbers rounded to nine digits, so that the order of a sum does not matter."""
    return tuple(float(f"{value:.9g}") if isinstance(value, float) and math.isfinite(value) else value for value in row)


def _is_ordered(query: str) -> bool:
    """Whether the outermost query sorts; a subquery's order does not show."""
    outer, before = query, ""
    while outer != before:
        before, outer = outer, _PARENTHESES.sub(" ", outer)
    return re.search(r"\border\s+by\b", outer, re.IGNORECASE) is not None


def _shown(rows: Rows) -> str:
    return f"{rows[:3]!r}" + (f" and {len(rows) - 3} more rows" if len(rows) > 3 else "")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
