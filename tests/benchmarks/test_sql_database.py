"""Predicted queries can read the tables in memory, and nothing else, for a limited time."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import MOST_ROWS, Database, SqlExecution
from task_folders import DATABASE

import declm as dm


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    path = tmp_path / "database.json"
    path.write_text(json.dumps(DATABASE))
    made = Database(path)
    yield made
    made.close()


def test_tables_are_rebuilt(database: Database) -> None:
    assert database.rows("SELECT name FROM item WHERE price > 10 ORDER BY price") == [("saw",), ("drill",)]
    assert database.tables == "item(name, price)"


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM item",
        "UPDATE item SET price = 0",
        "INSERT INTO item VALUES ('x', 1)",
        "DROP TABLE item",
        "CREATE TEMP TABLE x (y)",
        "ATTACH 'other.db' AS other",
        "VACUUM INTO 'copy.db'",
        "PRAGMA writable_schema = 1",
        "SELECT * FROM pragma_table_info('item')",
        "SELECT load_extension('x')",
        "SELECT zeroblob(100000000)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
        "BEGIN",
        "SELECT 1; SELECT 2",
        "SELECT 'a\0b'",
        "",
        "-- nothing",
        "not a query",
    ],
)
def test_a_query_that_does_more_than_read_is_refused(query: str, database: Database) -> None:
    with pytest.raises(sqlite3.Error):
        database.rows(query)
    assert database.rows("SELECT count(*) FROM item") == [(4,)]


def test_a_query_is_stopped_when_its_time_is_up(database: Database) -> None:
    product = ", ".join(f"item AS i{n}" for n in range(16))
    started = time.monotonic()
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        database.rows(f"SELECT count(*) FROM {product}", limit_s=0.1)
    assert time.monotonic() - started < 5
    assert database.rows("SELECT 1") == [(1,)]


def test_a_query_that_returns_too_much_is_refused(database: Database) -> None:
    product = ", ".join(f"item AS i{n}" for n in range(8))
    with pytest.raises(sqlite3.DataError, match=f"more than {MOST_ROWS:,} rows"):
        database.rows(f"SELECT i0.name FROM {product}")


@pytest.mark.parametrize(
    ("gold", "got", "score"),
    [
        ("SELECT name FROM item", "SELECT name FROM item ORDER BY price DESC", 1),
        ("SELECT name FROM item ORDER BY price", "SELECT name FROM item ORDER BY price DESC", 0),
        ("SELECT name FROM (SELECT name FROM item ORDER BY price)", "SELECT name FROM item ORDER BY name", 1),
        ("SELECT price FROM item WHERE name = 'drill'", "SELECT 80.0", 1),
        ("SELECT avg(price) FROM item", "SELECT sum(price) / count(price) FROM item", 1),
        ("SELECT 1", "SELECT 1 UNION ALL SELECT 1", 0),
        ("SELECT count(*) FROM item", "```sql\nSELECT count(*) FROM item;\n```", 1),
        ("SELECT name FROM item WHERE price < 0", "", 0),
        ("SELECT name FROM item", "SELECT label FROM item", 0),
    ],
)
def test_queries_are_compared_by_their_rows(gold: str, got: str, score: float, database: Database) -> None:
    assert SqlExecution(database)(gold, got).value == score


def test_the_feedback_says_what_went_wrong(database: Database) -> None:
    compare = SqlExecution(database)
    assert compare("SELECT 1", "SELECT label FROM item").feedback == "the query fails: no such column: label"
    assert "it returns [(2,)], not [(1,)]" in compare("SELECT 1", "SELECT 2").feedback


def one_table(ddl: str, row: list[int]) -> str:
    return json.dumps({"tables": {"t": {"ddl": ddl, "columns": ["a"], "rows": [row]}}})


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        one_table("CREATE", [1]),
        one_table("CREATE TABLE t (a)", [1, 2]),
        one_table("ATTACH 'other.db' AS t", [1]),
        one_table("CREATE TABLE t (a); ATTACH 'other.db' AS x", [1]),
    ],
)
def test_a_file_that_is_no_database_is_an_error(content: str, tmp_path: Path) -> None:
    path = tmp_path / "database.json"
    path.write_text(content)
    with pytest.raises(dm.DataError, match="database"):
        Database(path)
