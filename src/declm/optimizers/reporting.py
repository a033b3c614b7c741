"""`SearchReport`: what a search tried, what it found, and whether that is more than luck."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from declm.errors import StateError
from declm.evaluation.statistics import told
from declm.files import write_atomic
from declm.optimizers.acceptance import Verdict
from declm.optimizers.trials import Trial
from declm.reports.html import search_fragment, search_page
from declm.usage import Usage

INTERRUPTED = "Ctrl-C"
"""Stands in `SearchReport.stopped` where the user ended the search."""


@dataclass(frozen=True)
class SearchReport:
    """The story of one `optimize()`; prints as a table and displays in notebooks.

    Args:
        program: class name of the program.
        trials: the baseline as number 0, then every candidate in order.
        baseline: the given program's mean score on val.
        best: the best candidate's mean score on val.
        best_number: number of the best trial.
        rows: rows of val.
        accepted: whether the best candidate was returned.
        verdict: the test behind that; None if nothing scored above the baseline.
        stopped: what ended the search early, if anything did: a limit of the budget, or `Ctrl-C`.
        troubles: what the search had to do without, such as trials lost to the provider, in words.
        differences: what the best candidate changes, one line each.
        usage: everything that was spent.
    """

    program: str
    trials: tuple[Trial, ...]
    baseline: float
    best: float
    best_number: int
    rows: int
    accepted: bool
    verdict: Verdict | None
    stopped: str | None
    troubles: tuple[str, ...]
    differences: tuple[str, ...]
    usage: Usage

    @property
    def conclusion(self) -> str:
        """One sentence: what was returned, and why."""
        if self.verdict is None:
            return "No candidate scored above the given program, which is returned unchanged."
        test = f"{told(self.verdict.p_value)}, corrected for {len(self.trials) - 1} candidates"
        if self.verdict.confirm_rows:
            test += f" and confirmed on {self.verdict.confirm_rows} further rows"
        if self.accepted:
            return f"Accepted: {self.baseline:.3f} -> {self.best:.3f} on {self.rows} rows ({test})."
        return (
            f"No significant gain: {self.baseline:.3f} -> {self.best:.3f} on {self.rows} rows ({test}); "
            "the given program is returned unchanged. More val rows, or accept='best', would change that."
        )

    def __str__(self) -> str:
        lines = [f"{'trial':>5}  {'score':>6}  {'rows':>5}  {'':9}  what"]
        lines += [self._line(trial) for trial in self.trials if trial.fate != "repeated"]
        lines += ["", self.conclusion, *(f"  {line}" for line in self.differences)]
        if self.stopped:
            lines.append(f"{self._end} ended the search.")
        lines += [f"Trouble: {trouble}" for trouble in self.troubles]
        lines.append(f"Spent {_spent(self.usage)}.")
        return "\n".join(lines)

    @property
    def _end(self) -> str | None:
        if self.stopped is None or self.stopped == INTERRUPTED:
            return self.stopped
        return f"The budget's limit on {self.stopped}"

    def _line(self, trial: Trial) -> str:
        mark = "<- best" if trial.number == self.best_number else ""
        score = "-" if math.isnan(trial.score) else f"{trial.score:.3f}"
        return f"{trial.number:>5}  {score:>6}  {trial.rows:>5}  {trial.fate:9}  {_what(trial)} {mark}".rstrip()

    def _repr_html_(self) -> str:
        return search_fragment(self._context())

    def save(self, path: str | Path) -> None:
        """Write one self-contained HTML page.

        Raises:
            StateError: the file can't be written.
        """
        try:
            write_atomic(path, search_page(self._context()))
        except OSError as error:
            raise StateError(f"can't write {str(path)!r}: {error.strerror or error}") from error

    def _context(self) -> dict[str, Any]:
        return {
            "program": self.program,
            "conclusion": self.conclusion,
            "spent": _spent(self.usage),
            "differences": list(self.differences),
            "troubles": list(self.troubles),
            "stopped": self._end,
            "best_number": self.best_number,
            "baseline": self.baseline,
            "trials": [
                {
                    "number": t.number,
                    "score": t.score,
                    "rows": 0 if math.isnan(t.score) else t.rows,  # nothing to draw
                    "fate": t.fate,
                    "what": _what(t),
                }
                for t in self.trials
            ],
        }


def _what(trial: Trial) -> str:
    """What stands for a trial in a line."""
    if trial.fate == "baseline":
        return "the program as given"
    made = [trial.origin + ("" if trial.parent is None else f" from {trial.parent}")] if trial.origin else []
    return ", ".join([*made, *(f"{name} {value}" for name, value in describe(trial).items())])


def describe(trial: Trial) -> dict[str, str]:
    """What a trial's state shows per predictor: demos, a new instruction, calibration."""
    shown: dict[str, str] = {}
    for path, state in trial.state.predictors.items():
        prefix = "" if path == "self" else f"{path}."
        near = f" ({state.nearest} nearest)" if state.nearest else ""
        shown[f"{prefix}demos"] = f"{len(state.demos)}{near}"
        variant = trial.choices.get(f"{path}:instructions", 0)
        if variant:
            shown[f"{prefix}instruction"] = f"#{variant}"
        if trial.choices.get(f"{path}:calibrate"):
            shown[f"{prefix}calibrated"] = "on train inputs"
    return shown


def _spent(usage: Usage) -> str:
    cost = f", ${usage.usd:.4f}" if usage.usd else ""
    hits = f" ({usage.cached} more from the cache)" if usage.cached else ""
    return f"{usage.calls} calls{hits}, {usage.tokens:,} tokens{cost}"
