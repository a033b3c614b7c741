"""`ErrorLimit`: when so many rows end in errors that going on is a waste."""

from __future__ import annotations

from collections import Counter
from typing import Any

from declm.errors import AuthError, DeclmError, QuotaExceeded, TooManyErrors, UnknownModel, UsageError
from declm.evaluation.results import RowResult
from declm.text import clip

HOPELESS = 10
"""Where the limit is a share: so many errors before any other row ends the run at once."""

_FATAL = (AuthError, UnknownModel, QuotaExceeded)


class ErrorLimit:
    """Counts rows that crashed or went unscored; failures of the program itself don't count.

    Args:
        max_errors: rows (an int) or share of rows (a float in [0, 1]) that are tolerated; None for all.
        total: rows of the whole run.

    Raises:
        UsageError: `max_errors` is negative or a share above 1.
    """

    def __init__(self, max_errors: float | None, total: int) -> None:
        highest = 1.0 if isinstance(max_errors, float) else float("inf")
        if type(max_errors) is bool or not 0 <= (max_errors or 0) <= highest:
            raise UsageError(f"max_errors={max_errors!r} must be a count of rows, a share from 0.0 to 1.0, or None")
        self._given = max_errors
        self._is_share = isinstance(max_errors, float)
        self._total = total
        self._kinds = Counter[str]()
        self._finished = 0

    def see(self, row: RowResult[Any, Any]) -> None:
        """Count one finished row.

        Raises:
            TooManyErrors: the limit is passed.
            AuthError: (and UnknownModel, QuotaExceeded) no row can succeed, and none has.
        """
        self._finished += 1
        if not row.is_error or row.error is None:
            return
        self._kinds[_line(row.error)] += 1
        if isinstance(row.error, _FATAL) and self._given is not None:
            if self.count == self._finished:
                raise row.error
            raise self.passed() from row.error
        if self._is_passed():
            raise self.passed() from row.error

    @property
    def count(self) -> int:
        """Rows that ended in errors so far."""
        return sum(self._kinds.values())

    def passed(self) -> TooManyErrors:
        """The error that says so, with the most frequent kinds."""
        kinds = "; ".join(f"{n} x {clip(line, 200)}" for line, n in self._kinds.most_common(3))
        return TooManyErrors(
            f"{self.count} of the {self._finished} rows that finished (of {self._total}) ended in errors, "
            f"with max_errors={self._given!r}: {kinds}"
        )

    def _is_passed(self) -> bool:
        if self._given is None:
            return False
        if self._is_share:
            hopeless = self.count == self._finished >= HOPELESS
            return hopeless or self.count > self._given * self._total
        return self.count > self._given


def _line(error: DeclmError) -> str:
    return f"{type(error).__name__}: {error.message}"
