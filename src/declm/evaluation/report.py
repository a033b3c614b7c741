"""`Report`: what an evaluation found, row by row."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from declm.errors import MissingExtra, StateError, UsageError, dump_error, load_error
from declm.evaluation import statistics
from declm.evaluation.codec import dump_usage, dump_usages, load_usage, load_usages
from declm.evaluation.comparison import Comparison, Rows, by_row, compared, mean_score, pass_all, pass_at
from declm.evaluation.results import RowResult, field_of
from declm.evaluation.statistics import Interval
from declm.files import write_atomic
from declm.reports import html
from declm.reports.values import is_object, masked, scrubbed
from declm.text import clip, digest
from declm.usage import NOTHING, Usage

if TYPE_CHECKING:
    import pandas as pd

G_co = TypeVar("G_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)

LAYOUT = 1
"""Version of saved reports; a reader takes its own version and older ones."""


@dataclass(frozen=True, slots=True)
class Run:
    """What was run, for titles and for refusing comparisons that mean nothing.

    Args:
        program: name of the program.
        metric: name of the metric.
        metric_hash: content hash of the metric.
        models: the LMs that were known beforehand.
        total: rows that were asked for; more than there are results if the run was stopped.
        seconds: wall-clock time.
        started: ISO 8601 time, UTC.
        name: under which a ledger keeps the rows, if any.
        repeats: how often each row was run.
    """

    program: str
    metric: str
    metric_hash: str
    models: tuple[str, ...] = ()
    total: int = 0
    seconds: float = 0.0
    started: str = ""
    name: str | None = None
    repeats: int = 1


@dataclass(frozen=True, repr=False)
class Report(Generic[G_co, R_co]):
    """The results of an evaluation.

    `rows` holds one result per row in the order of the data; a partial report (of an evaluation that
    was stopped) holds those that had finished. Sensitive fields are masked wherever a report is
    shown, saved or exported; `rows` has the real values.
    """

    rows: tuple[RowResult[G_co, R_co], ...]
    run: Run = field(default_factory=lambda: Run("program", "metric", ""))

    @property
    def scores(self) -> list[float]:
        """The scores of the scored rows, in order; of a row that was run several times the mean."""
        if self.run.repeats == 1:
            return [row.score for row in self.rows if row.score is not None]
        return [mean_score(results) for results in by_row(self.rows).values()]

    @property
    def score(self) -> float:
        """Mean over the scored rows, in [0, 1]; nan if a partial report has none."""
        scores = self.scores
        return math.fsum(scores) / len(scores) if scores else math.nan

    @cached_property
    def interval(self) -> Interval:
        """95 % interval of the score: Wilson's for 0/1 scores, its extension for graded ones."""
        return statistics.mean_interval(self.scores)

    @property
    def errors(self) -> tuple[RowResult[G_co, R_co], ...]:
        """Rows that should not have ended so: unscored (the provider failed) or crashed (score 0)."""
        return tuple(row for row in self.rows if row.is_error)

    @property
    def failures(self) -> tuple[RowResult[G_co, R_co], ...]:
        """Rows that the program failed by itself: unreadable, cut or withheld reply, failed tool; score 0."""
        return tuple(row for row in self.rows if row.outcome == "failed")

    @property
    def usage(self) -> Usage:
        """What all rows used together, those restored from a ledger included."""
        return sum((row.usage for row in self.rows), Usage())

    @property
    def usage_by_predictor(self) -> dict[str, Usage]:
        """The same for each predictor of the program, by path, without the metric's calls and attempts that failed."""
        found: dict[str, Usage] = {}
        for row in self.rows:
            for path, usage in row.usage_by_predictor.items():
                found[path] = found.get(path, NOTHING) + usage
        return found

    @property
    def median_s(self) -> float:
        """Median seconds a row."""
        return median(row.seconds for row in self.rows) if self.rows else math.nan

    @property
    def p95_s(self) -> float:
        """Seconds that 95 % of the rows stayed below."""
        ordered = sorted(row.seconds for row in self.rows)
        return ordered[math.ceil(0.95 * len(ordered)) - 1] if ordered else math.nan

    def compare(self, other: Report[Any, Any]) -> Comparison:
        """Compare with another report row by row; rows are matched by content.

        Raises:
            UsageError: they have no scored row in common, or were scored by different metrics.
        """
        if self.run.metric_hash != other.run.metric_hash:
            raise UsageError(
                f"the reports were scored by different metrics ({self.run.metric} and {other.run.metric}): "
                "evaluate both with one metric"
            )
        return compared(self.rows, other.rows)

    def pass_at(self, k: int, *, threshold: float = 1.0) -> float:
        """Chance that at least one of `k` runs of a row scores `threshold` or more, the mean over the rows.

        The unbiased estimate (arXiv 2107.03374) from `evaluate(..., repeats=n)`, with `n` from `k`.

        Raises:
            UsageError: rows were run less often than that.
        """
        return self._passing(pass_at, k, threshold)

    def pass_all(self, k: int, *, threshold: float = 1.0) -> float:
        """Chance that all of `k` runs of a row score `threshold` or more (pass^k, arXiv 2406.12045); as `pass_at`."""
        return self._passing(pass_all, k, threshold)

    def _passing(self, estimate: Callable[[Rows, int, float], float], k: int, threshold: float) -> float:
        if not 1 <= k <= self.run.repeats:
            raise UsageError(
                f"k={k!r} must be from 1 to the {self.run.repeats} runs of a row; evaluate(..., repeats=...) runs more"
            )
        found = [estimate(results, k, threshold) for results in by_row(self.rows).values() if len(results) >= k]
        return math.fsum(found) / len(found) if found else math.nan

    def slices(self, by: str | Callable[[Any], Hashable]) -> dict[Hashable, Report[G_co, R_co]]:
        """A report for each part of the data, the largest first.

        Args:
            by: a field of the gold rows, or a function of a gold row.

        Raises:
            UsageError: the rows have no such field.
        """
        parts: dict[Hashable, list[RowResult[G_co, R_co]]] = {}
        for row in self.rows:
            parts.setdefault(field_of(row.gold, by) if isinstance(by, str) else by(row.gold), []).append(row)
        ordered = sorted(parts.items(), key=lambda part: -len(part[1]))
        return {key: Report(tuple(rows), replace(self.run, total=len(rows))) for key, rows in ordered}

    def to_pandas(self) -> pd.DataFrame:
        """One line per row: the gold row's fields, the output's, score, outcome, error, cost, seconds.

        Raises:
            MissingExtra: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingExtra("data", "pandas") from error
        frame: pd.DataFrame = pd.DataFrame([_flat(row) for row in self.rows])
        return frame

    def save(self, path: str | Path) -> None:
        """Write `.json`, which `Report.load` reads, or `.html`, a page that needs nothing else; atomically.

        Raises:
            UsageError: another suffix.
            StateError: the file can't be written.
        """
        target = Path(path)
        if target.suffix == ".json":
            rows = [_dump(row) for row in self.rows]
            content: dict[str, Any] = {"declm_report": LAYOUT, "run": _fields(self.run), "rows": rows}
            text = json.dumps({**content, "checksum": digest(content)}, ensure_ascii=False, indent=1) + "\n"
        elif target.suffix == ".html":
            text = html.page(self._view(limit=None))
        else:
            raise UsageError(f"can't save a report as {str(path)!r}: the name must end in .json or .html")
        try:
            write_atomic(target, text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            raise StateError(f"can't write {str(path)!r}: {error.strerror or error}") from error

    @classmethod
    def load(cls, path: str | Path) -> Report[Any, Any]:
        """Read a saved `.json` report; gold rows and outputs come back as JSON values.

        Raises:
            StateError: the file is missing, torn, changed or from a newer declm.
        """
        content = _read(Path(path))
        try:
            fields: dict[str, Any] = {**content["run"], "models": tuple(content["run"]["models"])}
            run = Run(**fields)
            return Report(tuple(_load(row) for row in content["rows"]), run)
        except (KeyError, TypeError) as error:
            raise StateError(f"{str(path)!r} lacks a part of a report: {error}") from error

    def __repr__(self) -> str:
        low, high = self.interval
        return f"Report(score={self.score:.3f} [{low:.3f}, {high:.3f}], {', '.join(self._counts())})"

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self._figures())
        lines = [f"{name:<{width}}  {value}" for name, value in self._figures()]
        kinds = Counter(type(row.error).__name__ for row in self.rows if row.error)
        lines += [f"{'':<{width}}  {count} x {kind}" for kind, count in kinds.most_common()]
        return "\n".join([f"{self.run.program}, scored by {self.run.metric}", *lines])

    def _repr_html_(self) -> str:
        return html.fragment(self._view(limit=20))

    def _counts(self) -> list[str]:
        found = [f"{len(self.rows)} {'runs' if self.run.repeats > 1 else 'rows'}"]
        if self.run.total > len(self.rows):
            found[0] += f" of {self.run.total}"
        found += [f"{n} {word}" for n, word in ((len(self.errors), "errors"), (len(self.failures), "failures")) if n]
        return [*found, _cost(self.usage)]

    def _figures(self) -> list[tuple[str, str]]:
        low, high = self.interval
        usage = self.usage
        unscored = sum(row.score is None for row in self.rows)
        restored = sum(row.restored for row in self.rows)
        rows = f"{len(self.rows)}" + (f" of {self.run.total} (stopped)" if self.run.total > len(self.rows) else "")
        details = [f"{unscored} unscored" if unscored else "", f"{restored} from the ledger" if restored else ""]
        shown = ", ".join(filter(None, details))
        parts = self.usage_by_predictor
        shares = [(f"- {path}", _spent(part)) for path, part in parts.items()] if len(parts) > 1 else []
        return [
            ("score", f"{self.score:.3f}  (95 % interval {low:.3f} to {high:.3f})"),
            ("runs" if self.run.repeats > 1 else "rows", rows + (f", {shown}" if shown else "")),
            ("errors", f"{len(self.errors)}, and {len(self.failures)} failures of the program (score 0)"),
            *([("repeats", self._repeated())] if self.run.repeats > 1 else []),
            ("calls", _spent(usage)),
            *shares,
            ("seconds", f"{self.run.seconds:.1f} in all; a row {self.median_s:.2f} (median), {self.p95_s:.2f} (95 %)"),
        ]

    def _repeated(self) -> str:
        k, rows = self.run.repeats, len({row.index for row in self.rows})
        shares = f"one of {k} right {self.pass_at(k):.3f}, all {k} right {self.pass_all(k):.3f}"
        return f"{k} runs of each of {rows} rows; {shares}"

    def _view(self, limit: int | None) -> dict[str, Any]:
        """What the page and the notebook show, as plain values; the worst rows first."""
        ordered = sorted(self.rows, key=lambda row: (row.score is not None, row.score or 0.0, row.index))
        shown = ordered if limit is None else ordered[:limit]
        return {
            "title": self.run.program,
            "run": _fields(self.run),
            "figures": self._figures(),
            "score": self.score,
            "interval": list(self.interval),
            "histogram": _histogram(self.scores),
            "kinds": Counter(type(row.error).__name__ for row in self.rows if row.error).most_common(),
            "rows": [_shown(row) for row in shown],
            "left_out": len(ordered) - len(shown),
        }


def _spent(usage: Usage) -> str:
    cached = f" ({usage.cached:,} more from the cache)" if usage.cached else ""
    tokens = f"{usage.input_tokens:,} + {usage.output_tokens:,} tokens"
    return f"{usage.calls:,}{cached}, {tokens}, {_cost(usage)}"


def _cost(usage: Usage) -> str:
    unpriced = f" + {usage.unpriced:,} calls of unknown price" if usage.unpriced else ""
    return f"${usage.usd:.4g}{unpriced}" if usage.usd or not unpriced else unpriced[3:]


def _histogram(scores: list[float], bins: int = 10) -> list[int]:
    counts = [0] * bins
    for score in scores:
        counts[min(int(score * bins), bins - 1)] += 1
    return counts


def _fields(run: Run) -> dict[str, Any]:
    return {name: getattr(run, name) for name in Run.__slots__}


def _dump(row: RowResult[Any, Any]) -> dict[str, Any]:
    shown = _shown(row)
    error = dump_error(row.error)
    if error is not None:
        error = scrubbed(error, row.gold, row.output)
    return {
        **{key: shown[key] for key in ("index", "gold", "output", "score", "feedback", "seconds")},
        "row_hash": row.row_hash,
        "error": error,
        "usage": dump_usage(row.usage),
        "predictors": dump_usages(row.usage_by_predictor),
        "restored": row.restored,
        "sample": row.sample,
    }


def _load(data: Mapping[str, Any]) -> RowResult[Any, Any]:
    plain = {k: data[k] for k in ("index", "row_hash", "gold", "output", "score", "feedback", "seconds", "restored")}
    parts = load_usages(data.get("predictors", {}))
    usage = load_usage(data["usage"])
    known: dict[str, Any] = {"usage": usage, "usage_by_predictor": parts, "sample": data.get("sample", 0)}
    return RowResult(**plain, error=load_error(data["error"]), **known)


def _shown(row: RowResult[Any, Any]) -> dict[str, Any]:
    return {
        "index": row.index,
        "outcome": row.outcome,
        "score": row.score,
        "gold": masked(row.gold),
        "output": masked(row.output),
        "feedback": scrubbed(row.feedback, row.gold, row.output),
        "error": type(row.error).__name__ if row.error else "",
        "seconds": row.seconds,
        "usd": row.usage.usd,
        "tokens": row.usage.tokens,
    }


def _flat(row: RowResult[Any, Any]) -> dict[str, Any]:
    shown = _shown(row)
    gold, output = shown.pop("gold"), shown.pop("output")
    got = {f"got.{key}" if key else "got": value for key, value in _named(output, "").items()}
    named = {f"gold.{key}" if key in shown else key: value for key, value in _named(gold, "gold").items()}
    return {**named, **got, **shown}


def _named(value: Any, name: str) -> dict[str, Any]:
    """The fields of a row, or a bare value under a name."""
    return value if is_object(value) else {name: value}


def _read(path: Path) -> dict[str, Any]:
    content: Any
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StateError(f"there is no file {str(path)!r}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise StateError(f"{str(path)!r} can't be read as a saved report: {clip(str(error), 200)}") from error
    saved = content if is_object(content) else {}
    if not isinstance(saved.get("declm_report"), int):
        raise StateError(f"{str(path)!r} is no saved report")
    if saved["declm_report"] > LAYOUT:
        raise StateError(f"{str(path)!r} was saved by a newer declm; upgrade declm")
    if saved.pop("checksum", None) != digest(saved):
        raise StateError(f"{str(path)!r} was damaged or edited after it was saved")
    return saved
