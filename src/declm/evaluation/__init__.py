"""Measuring programs: `evaluate`, `Report`, and what searches build on (`Runner`, `Ledger`, `statistics`)."""

from declm.evaluation.evaluator import aevaluate, evaluate
from declm.evaluation.ledger import Entry, Key, Ledger
from declm.evaluation.limits import ErrorLimit
from declm.evaluation.progress import Progress, progress
from declm.evaluation.report import Comparison, Report
from declm.evaluation.results import RowResult
from declm.evaluation.runner import Runner
from declm.evaluation.scoring import Metric

__all__ = [
    "Comparison",
    "Entry",
    "ErrorLimit",
    "Key",
    "Ledger",
    "Metric",
    "Progress",
    "Report",
    "RowResult",
    "Runner",
    "aevaluate",
    "evaluate",
    "progress",
]
