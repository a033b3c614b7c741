"""Ready-made comparisons for metrics; write your own as `def correct(gold: QA, got: QA) -> float`.

`exact`, `f1`, `number_match` and `set_f1` compare two values; `matches` and `accuracy` make whole
metrics out of field names.
"""

from declm.metrics.fields import accuracy, matches
from declm.metrics.numbers import number_match
from declm.metrics.sets import set_f1
from declm.metrics.texts import exact, f1, normalized

__all__ = ["accuracy", "exact", "f1", "matches", "normalized", "number_match", "set_f1"]
