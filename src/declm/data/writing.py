"""`write`: rows into a file that `read` takes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel

from declm.errors import DataError, UsageError
from declm.files import write_atomic


def write(rows: Iterable[BaseModel], path: str | Path) -> None:
    """Write rows as JSON Lines, one object a line, atomically; `read` gives equal rows back.

    Sensitive fields are written as they are: this is your data, not a report.

    Raises:
        UsageError: the name does not end in .jsonl.
        DataError: the file can't be written.
    """
    target = Path(path)
    if target.suffix != ".jsonl":
        raise UsageError(f"can't write rows as {str(path)!r}: the name must end in .jsonl")
    lines = [json.dumps(row.model_dump(mode="json", by_alias=True), ensure_ascii=False) for row in rows]
    try:
        # Half a surrogate pair, which UTF-8 refuses, becomes its JSON escape.
        write_atomic(target, "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise DataError(f"can't write {str(path)!r}: {error.strerror or error}") from error
