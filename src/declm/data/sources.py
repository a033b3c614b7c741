"""Where rows come from: every source as records, that is, values by column with a place to name.

A record that can't be read (torn JSON, a ragged line) becomes a problem with its place, so that one
pass finds all of them; what makes a whole file unreadable is raised at once.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeGuard

from pydantic import BaseModel

from declm.errors import DataError, MissingExtra, UsageError
from declm.text import clip

Format = Literal["csv", "tsv", "jsonl", "json", "parquet"]

Kind = Literal["text", "json", "python"]
"""How a record's values are to be read: cells of text, JSON values, or Python objects."""

_SUFFIXES: Mapping[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
}
_BOMS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
_LONGEST_CELL = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Record:
    """One row before validation: where it stands, and its values by column or what is wrong with it."""

    where: str
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Records:
    """All records of a source, in order.

    `name` is for messages; `columns` holds the columns of a table, in order, and is None where each
    record has keys of its own.
    """

    name: str
    kind: Kind
    items: Iterator[Record]
    columns: tuple[str, ...] | None = None


class _Frame(Protocol):
    """What is used of a pandas DataFrame."""

    columns: Any

    def to_dict(self, orient: Literal["records"]) -> list[dict[Any, Any]]: ...


def records(source: object, format: str | None) -> Records:
    """Open any source that `read` takes.

    Raises:
        DataError: a file is missing, empty, or as a whole unreadable.
        UsageError: the source or the format is of no known kind.
        MissingExtra: a Parquet file needs pyarrow.
    """
    if isinstance(source, (str, Path)):
        return _file(Path(source), format)
    if format is not None:
        raise UsageError(f"format={format!r} is for files; this source is a {type(source).__name__}")
    if _is_frame(source):
        names = tuple(str(name) for name in source.columns)
        return Records("the DataFrame", "python", _frame(source), names)
    if isinstance(source, Mapping):
        parts = ", ".join(repr(str(key)) for key in source)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  # of any mapping
        raise UsageError(
            f"the source is a mapping with the keys {parts}, not rows; pick a part, or wrap one row in a list"
        )
    if isinstance(source, Iterable) and not isinstance(source, bytes):
        return Records("the rows", "python", _objects(source))  # pyright: ignore[reportUnknownArgumentType]  # checked one by one
    raise UsageError(f"can't read rows from a {type(source).__name__}; give a path, a DataFrame or a list of dicts")


# --- files


def _file(path: Path, format: str | None) -> Records:
    chosen = _SUFFIXES.get(path.suffix.lower()) if format is None else format
    if chosen not in _SUFFIXES.values():
        raise UsageError(
            f"can't tell what {str(path)!r} is from {chosen or path.suffix!r}; "
            "pass format='csv', 'tsv', 'jsonl', 'json' or 'parquet'"
        )
    if path.is_dir():
        raise DataError(f"{str(path)!r} is a folder; name a file in it")
    try:
        if chosen == "parquet":
            return _parquet(path)
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"there is no file {str(path)!r} (looked in {str(Path.cwd())!r})") from error
    except OSError as error:
        raise DataError(f"can't read {str(path)!r}: {error.strerror or error}") from error
    content = _without_bom(content, path)
    if not content.strip():
        raise DataError(f"{str(path)!r} is empty")
    if chosen == "jsonl":
        return Records(str(path), "json", _json_lines(content, path))
    if chosen == "json":
        return Records(str(path), "json", _json(_decoded(content, path), path))
    return _table(_decoded(content, path), path, "\t" if chosen == "tsv" else None)


def _without_bom(content: bytes, path: Path) -> bytes:
    for mark, encoding in _BOMS.items():
        if content.startswith(mark):
            raise DataError(f"{str(path)!r} is {encoding} text; save it as UTF-8")
    return content.removeprefix(codecs.BOM_UTF8)


def _decoded(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{str(path)!r}, line {line}: {_not_utf8(content, error)}") from error


def _not_utf8(content: bytes, error: UnicodeDecodeError) -> str:
    near = content[max(0, error.start - 20) : error.start].decode("utf-8", "ignore")
    return f"no UTF-8 text (byte 0x{content[error.start]:02x} after {near!r}); save the file as UTF-8"


def _json_lines(content: bytes, path: Path) -> Iterator[Record]:
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        try:
            yield _object(where, json.loads(line.decode("utf-8")))
        except UnicodeDecodeError as error:
            yield Record(where, problem=_not_utf8(line, error))
        except (ValueError, RecursionError) as error:
            yield Record(where, problem=f"no JSON: {error}; the line is {clip(line.decode('utf-8'), 80)!r}")


def _json(text: str, path: Path) -> Iterator[Record]:
    content: Any
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        hint = "; if it has one object a line, pass format='jsonl'" if text.lstrip().startswith("{") else ""
        raise DataError(f"{str(path)!r} is no JSON: {error}{hint}") from error
    if not _is_list(content):
        raise DataError(f"{str(path)!r} holds one {type(content).__name__}, not a list of objects")
    for index, value in enumerate(content):
        yield _object(f"{path.name}, item {index}", value)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _object(where: str, value: object) -> Record:
    if not isinstance(value, dict):
        return Record(where, problem=f"a row is a JSON object, not {clip(json.dumps(value), 80)}")
    return Record(where, value)  # pyright: ignore[reportUnknownArgumentType]  # keys of JSON objects are texts


def _table(text: str, path: Path, delimiter: str | None) -> Records:
    first = text.partition("\n")[0]
    if delimiter is None:
        # Spreadsheets of half of Europe write semicolons, which stand in no ordinary column name.
        delimiter = next((mark for mark in ",;\t" if mark in first), ",")
    lines = _cells(text, path, delimiter)
    _, header = next(lines)
    names = [name.strip() for name in header]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{str(path)!r} has the column {twice[0]!r} twice")
    return Records(str(path), "text", _table_records(lines, path, names), tuple(names))


def _table_records(lines: Iterator[tuple[int, list[str]]], path: Path, names: Sequence[str]) -> Iterator[Record]:
    for number, cells in lines:
        where = f"{path.name}, line {number}"
        if not cells:
            continue
        if len(cells) != len(names):
            count = f"{len(cells)} cell{'s' if len(cells) > 1 else ''} where the header has {len(names)}"
            yield Record(where, problem=f"{count}; quote cells that contain the separator")
        else:
            yield Record(where, dict(zip(names, cells, strict=True)))


def _cells(text: str, path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Lines of a table with the number of the text line on which each begins."""
    # Strict, since otherwise one unclosed quote makes a single cell of the rest of the file.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    limit = csv.field_size_limit(_LONGEST_CELL)
    begin = 1
    try:
        for cells in reader:
            yield begin, cells
            begin = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{str(path)!r}, line {begin}: {error}; is a quote left open there?") from error
    finally:
        csv.field_size_limit(limit)


def _parquet(path: Path) -> Records:
    parquet, invalid = _arrow()
    try:
        table = parquet.read_table(path)
    except invalid as error:
        raise DataError(f"{str(path)!r} is no Parquet file: {error}") from error
    rows: list[dict[str, Any]] = table.to_pylist()
    items = (Record(f"{path.name}, row {index}", values) for index, values in enumerate(rows))
    return Records(str(path), "python", items, tuple(table.column_names))


def _arrow() -> tuple[Any, type[Exception]]:
    """The reader of pyarrow, which ships no types, and the error that it raises."""
    try:
        from pyarrow import ArrowInvalid, parquet  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
    except ImportError as error:
        raise MissingExtra("data", "pyarrow") from error
    reader: Any = parquet
    return reader, ArrowInvalid  # pyright: ignore[reportUnknownVariableType]  # as above


# --- objects in memory


def _is_frame(source: object) -> TypeGuard[_Frame]:
    """Whether this is a DataFrame, without importing pandas."""
    return type(source).__module__.partition(".")[0] == "pandas" and hasattr(source, "to_dict")


def _frame(frame: _Frame) -> Iterator[Record]:
    for index, row in enumerate(frame.to_dict("records")):
        yield Record(f"row {index}", {str(k): _plain(v) for k, v in row.items() if not _is_na(v)})


def _is_na(value: Any) -> bool:
    """NaN, NaT and NA, which stand for an empty cell in a DataFrame."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _plain(value: Any) -> Any:
    """Lists out of the arrays that a DataFrame read from Parquet has in its cells."""
    return value.tolist() if type(value).__module__ == "numpy" else value


def _objects(rows: Iterable[object]) -> Iterator[Record]:
    for index, row in enumerate(rows):
        where = f"row {index}"
        if isinstance(row, BaseModel):
            yield Record(where, {"": row})
        elif isinstance(row, Mapping):
            yield Record(where, {str(k): v for k, v in row.items()})  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  # of any mapping
        else:
            yield Record(where, problem=f"a row is a dict or a Pydantic object, not a {type(row).__name__}")
