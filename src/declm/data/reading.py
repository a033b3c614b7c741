"""`read`: rows from files, tables and objects, validated one by one."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from declm.data.sources import Kind, Record, Records, records
from declm.errors import DataError, UsageError
from declm.fields import FieldSpec
from declm.specs import Spec, spec
from declm.text import clip, closest

if TYPE_CHECKING:
    import pandas as pd

S = TypeVar("S", bound=BaseModel)

_log = logging.getLogger("declm")

_SHOWN = 5
"""Bad rows that a message quotes; `DataError.problems` has all of them."""


def read(
    signature: Callable[..., S],
    source: str | Path | pd.DataFrame | Iterable[Mapping[str, Any] | BaseModel],
    *,
    format: Literal["csv", "tsv", "jsonl", "json", "parquet"] | None = None,
    limit: int | None = None,
    columns: Mapping[str, str] | None = None,
) -> list[S]:
    """Read rows and validate each of them; outputs that the source does not have stay unset.

    Cells of csv files are read by the field's type: lists, dicts and models are JSON, an empty cell
    is a missing value (None where the field allows it). Columns that the signature does not have are
    dropped, and named once by the logger `declm`.

    Args:
        signature: the rows' class: a signature or any Pydantic class.
        source: a path, a pandas DataFrame, a Hugging Face dataset, or dicts or Pydantic objects.
        format: of a file whose suffix does not say it.
        limit: read the first rows only.
        columns: field name by column name, for columns that are called otherwise.

    Raises:
        DataError: rows don't fit, each with its file and line in `problems`; or the source is
            missing, empty or unreadable.
        UsageError: an argument is wrong.
        MissingExtra: a Parquet file needs pyarrow.

    Example:
        >>> from declm import Input, Output, Signature
        >>> class QA(Signature):
        ...     question: str = Input()
        ...     answer: str = Output()
        >>> read(QA, [{"question": "2 + 2", "answer": "4"}])
        [QA(question='2 + 2', answer='4')]
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit={limit} must be 1 or more")
    reader = _Reader(spec(signature), columns or {})
    return reader.rows(records(source, format), limit)


class _Reader:
    """Validates records as rows of one class."""

    def __init__(self, of: Spec[Any], columns: Mapping[str, str]) -> None:
        self._spec = of
        self._columns = columns
        self._keys = {name: f.key for f in of.fields for name in (f.name, f.key)}
        self._fields = {f.key: f for f in of.fields}
        self._nullable = {f.key for f in of.fields if f.required and _takes_none(f)}
        for column, name in columns.items():
            if name not in self._keys:
                near = closest(name, list(self._fields))
                hint = f"; did you mean {near!r}?" if near else ""
                raise UsageError(f"columns={{{column!r}: {name!r}}}: {of.name} has no field {name!r}{hint}")

    def rows(self, source: Records, limit: int | None) -> list[Any]:
        self._check_columns(source)
        found: list[Any] = []
        problems: list[tuple[str, str]] = []
        dropped: dict[str, None] = {}
        for record in islice(source.items, limit):
            row, problem = self._row(record, source.kind, dropped)
            if problem:
                problems.append((record.where, problem))
            else:
                found.append(row)
        if problems:
            raise _refused(self._spec, source, problems, len(found) + len(problems))
        if not found:
            raise DataError(f"{source.name}: there are no rows")
        if dropped:
            names = ", ".join(repr(name) for name in dropped)
            _log.warning("%s: dropped what %s has no field for: %s", source.name, self._spec.name, names)
        return found

    def _check_columns(self, source: Records) -> None:
        """Refuse a table that lacks a column, once instead of once per row."""
        if source.columns is None:
            return
        unknown = [column for column in self._columns if column not in source.columns]
        if unknown:
            raise DataError(f"{source.name} has no column {unknown[0]!r}; its columns are {_list(source.columns)}")
        given = {self._key(column) for column in source.columns}
        for field in self._fields.values():
            if field.role == "input" and field.required and field.key not in given:
                near = closest(field.key, [c for c in source.columns if self._key(c) is None])
                hint = f"; if {near!r} is it, pass columns={{{near!r}: {field.key!r}}}" if near else ""
                raise DataError(
                    f"{source.name} has no column {field.key!r}; its columns are {_list(source.columns)}{hint}"
                )

    def _key(self, column: str) -> str | None:
        return self._keys.get(self._columns.get(column, column))

    def _row(self, record: Record, kind: Kind, dropped: dict[str, None]) -> tuple[Any, str]:
        """The row, or what is wrong with it."""
        if record.problem:
            return None, record.problem
        values = record.values
        if "" in values and isinstance(values[""], BaseModel):
            row = values[""]
            if isinstance(row, self._spec.cls):
                return row, ""
            values = {name: value for name, value in vars(row).items() if name in type(row).model_fields}
        named: dict[str, Any] = {}
        for column, value in values.items():
            key = self._key(column)
            if key is None:
                dropped[column] = None
            elif kind != "text":
                named[key] = value
            elif value != "":
                named[key] = _read_cell(self._fields[key], value)
            elif key in self._nullable:
                named[key] = None
        return self._validated(named, kind, values)

    def _validated(self, values: dict[str, Any], kind: Kind, given: Mapping[str, Any]) -> tuple[Any, str]:
        cls, problem = self._spec.cls, ""
        if kind == "json":
            try:  # JSON rules, so that strict fields take dates, sets and enums
                return cls.model_validate_json(json.dumps(values)), ""
            except ValidationError as error:
                problem = "; ".join(_told(error, given))
        try:  # which takes half a surrogate pair, that is no JSON for Pydantic
            return cls.model_validate(values), ""
        except ValidationError as error:
            return None, problem or "; ".join(_told(error, given))


def _read_cell(field: FieldSpec, text: str) -> Any:
    """A cell as the field's type takes it: as text if it does, else as JSON."""
    try:
        field.adapter.validate_python(text)
    except ValidationError:
        try:
            value = json.loads(text)
            field.adapter.validate_python(value)
        except (ValueError, RecursionError):
            return text  # neither fits: the row's own validation says why
        return value
    return text


def _takes_none(field: FieldSpec) -> bool:
    try:
        field.adapter.validate_python(None)
    except ValidationError:
        return False
    return True


def _told(error: ValidationError, given: Mapping[str, Any]) -> Iterator[str]:
    for detail in error.errors(include_url=False, include_context=False):
        place = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "missing":
            yield f"{place}: missing (the row has {_list(given)})"
        else:
            yield f"{place}: {detail['msg']}, not {clip(repr(detail['input']), 80)}" if place else detail["msg"]


def _refused(of: Spec[Any], source: Records, problems: Sequence[tuple[str, str]], total: int) -> DataError:
    lines = [f"  {where}: {clip(what, 400)}" for where, what in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"  ... and {len(problems) - _SHOWN} more, in the error's `problems`")
    head = f"{len(problems)} of {total} rows of {source.name} are no {of.name}:"
    return DataError("\n".join([head, *lines]), tuple(problems))


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"
