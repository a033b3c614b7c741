"""Measuring programs: `evaluate`, `Report`, and what searches build on (`Runner`, `Ledger`, `statistics`)."""

from declm.evaluation.comparison import Change, Comparison
from declm.evaluation.evaluator import aevaluate, evaluate
from declm.evaluation.ledger import Entry, Key, Ledger
from declm.evaluation.limits import ErrorLimit
from declm.evaluation.progress import Progress, progress
from declm.evaluation.report import Report
from declm.evaluation.results import RowResult
from declm.evaluation.runner import Runner
from declm.evaluation.scoring import Metric

__all__ = [
    "Change",
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
