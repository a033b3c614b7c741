"""The ledger: finished rows in a database, so that nothing is paid for twice, and no row by two processes at once.

Content is JSON. A process claims a row before it runs it; others take other rows meanwhile, and find its outcome later.
A claim ends with the row, or with its process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import Self

from declm.errors import StateError, UsageError
from declm.evaluation.stores import PostgresStore, SQLiteStore, Store
from declm.files import cache_dir
from declm.score import Score
from declm.text import Url, digest

_COLUMNS = "program, state, row, lm, sample"

_KEPT = (
    "SELECT outcomes.program, outcomes.state, outcomes.row, outcomes.lm, outcomes.sample, body, value, feedback "
    "FROM outcomes LEFT JOIN scores ON scores.program = outcomes.program AND scores.state = outcomes.state "
    "AND scores.row = outcomes.row AND scores.lm = outcomes.lm AND scores.sample = outcomes.sample "
    "AND scores.metric = ?"
)

_AT_ONCE = 200
"""Rows that are looked for in one query."""

_KEEP_OUTCOME = (
    "INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (program, state, row, lm, sample) DO UPDATE SET body = excluded.body"
)
_KEEP_SCORE = (
    "INSERT INTO scores VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (program, state, row, lm, sample, metric) "
    "DO UPDATE SET value = excluded.value, feedback = excluded.feedback"
)
_KEEP_NOTE = "INSERT INTO notes VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET body = excluded.body"


@dataclass(frozen=True, slots=True)
class Key:
    """What an outcome depends on, as hashes; `sample` tells several samples of one prompt apart."""

    program: str
    state: str
    row: str
    lm: str
    sample: int = 0

    @property
    def columns(self) -> tuple[str, str, str, str, int]:
        """The values in the order of the tables."""
        return self.program, self.state, self.row, self.lm, self.sample

    @property
    def claim(self) -> str:
        """What the row is claimed by."""
        return digest(self.columns)


@dataclass(frozen=True, slots=True)
class Entry:
    """What is written about one row: its outcome, its score under a metric (by hash), or both."""

    key: Key
    outcome: Mapping[str, Any] | None = None
    metric: str = ""
    score: Score | None = None


class Ledger:
    """Outcomes and scores of rows; safe for several threads, processes and, in PostgreSQL, machines.

    Outcomes are kept apart from scores, which are keyed by the metric as well: a changed metric
    scores kept outputs anew, without any LM call.

    Args:
        place: a file, or the address of a PostgreSQL database (`postgresql://...`).

    Raises:
        StateError: the file or database can't be opened, is no ledger, or was written by a newer declm.
        MissingExtra: psycopg is not installed.
    """

    def __init__(self, place: str | Path) -> None:
        address = str(place)
        self._store: Store = PostgresStore(Url(address)) if _is_address(address) else SQLiteStore(Path(place))

    @classmethod
    def named(cls, name: str) -> Ledger:
        """The ledger of that name in the user's cache folder, of a file (a path with a suffix), or of an address.

        Raises:
            UsageError: the name is none of these.
        """
        if _is_address(name):
            return cls(name)
        path = Path(name)
        if path.suffix in (".sqlite", ".db"):
            return cls(path)
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise UsageError(
                f"name={Url(name)!r}: use letters, digits, '.', '_' and '-', a path that ends in .sqlite, "
                "or the address of a database, postgresql://..."
            )
        return cls(cache_dir("ledgers") / f"{name}.sqlite")

    @property
    def is_remote(self) -> bool:
        """Whether reading takes the way over a network."""
        return self._store.is_remote

    def outcomes(self, keys: Sequence[Key], metric: str) -> dict[Key, tuple[dict[str, Any], Score | None]]:
        """The kept outcomes of rows, each with its score under a metric (by hash) if there is one."""
        found: dict[Key, tuple[dict[str, Any], Score | None]] = {}
        for start in range(0, len(keys), _AT_ONCE):
            part = {key.columns: key for key in keys[start : start + _AT_ONCE]}
            where, values = _among(list(part.values()))
            for *columns, body, value, feedback in self._store.read(f"{_KEPT} WHERE {where}", (metric, *values)):
                key = part.get(tuple(columns))
                if key is not None:
                    found[key] = self._decoded(body), None if value is None else Score(value, feedback)
        return found

    def record(self, *entries: Entry) -> None:
        """Write entries in one transaction, and give up their claims; on disk when this returns."""
        outcomes = [(*e.key.columns, _encoded(e.outcome)) for e in entries if e.outcome is not None]
        scores = [(*e.key.columns, e.metric, e.score.value, e.score.feedback) for e in entries if e.score is not None]
        self._store.write((_KEEP_OUTCOME, outcomes), (_KEEP_SCORE, scores))
        self._store.release([entry.key.claim for entry in entries])

    def note(self, key: str) -> Any:
        """What was kept under a free key (a search keeps proposals so), or None."""
        found = self._store.read("SELECT body FROM notes WHERE key = ?", (key,))
        return self._decoded(found[0][0]) if found else None

    def keep_note(self, key: str, value: Any) -> None:
        """Keep a JSON value under a free key; on disk when this returns."""
        self._store.write((_KEEP_NOTE, [(key, _encoded(value))]))

    # --- claims

    def claim(self, key: str) -> bool:
        """Take a row or note on, given as a digest; False while another process has it."""
        return self._store.claim(key)

    def release(self, keys: Sequence[str]) -> None:
        """Give up rows or notes."""
        self._store.release(keys)

    def close(self) -> None:
        """Give up all claims and close; using the ledger again opens it again."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def damage(self) -> str:
        """What to say of an entry that nobody of us has written."""
        rest = "" if self.is_remote else "; delete the file"
        return f"the ledger {self._store} holds a damaged entry{rest}"

    def _decoded(self, body: str) -> Any:
        try:
            return json.loads(body)
        except (ValueError, TypeError, RecursionError) as error:
            raise StateError(self.damage) from error


def _is_address(place: str) -> bool:
    return place.startswith(("postgresql://", "postgres://"))


def _among(keys: Sequence[Key]) -> tuple[str, list[Any]]:
    """A condition that holds for these rows, and maybe for others, with its values."""
    where: list[str] = []
    values: list[Any] = []
    for name, wanted in zip(_COLUMNS.split(", "), zip(*(key.columns for key in keys), strict=True), strict=True):
        distinct = list(dict.fromkeys(wanted))
        where.append(f"outcomes.{name} IN ({', '.join('?' * len(distinct))})")
        values += distinct
    return " AND ".join(where), values


def _encoded(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))  # ASCII, so that a lone surrogate survives
