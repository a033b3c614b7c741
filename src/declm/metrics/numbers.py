"""Equality of numbers, also where they are written as text."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction

Number = str | int | float | Decimal | Fraction

# Thousands are grouped by threes, so that "1,2" is two numbers and "1,200" is one.
# A sign counts only where it can't be a dash, so that "3-4" ends with 4.
_NUMBER = re.compile(r"(?:(?<![\w.])[-+])?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?")


def number_match(gold: Number, got: Number, *, tolerance: float = 1e-9) -> float:
    """1.0 if both mean the same number, else 0.0.

    Texts may have thousands separators, currency and percent signs; of several numbers in a text the
    last one counts, as in a solution that ends with its result. A text without a number matches
    nothing.

    Args:
        gold: the expected number.
        got: the answer.
        tolerance: allowed difference, relative to the larger magnitude (absolute below 1).

    Example:
        >>> number_match("1,234", "The total is $1234.00."), number_match(0.5, "1/2"), number_match("3", "three")
        (1.0, 0.0, 0.0)
    """
    expected, answer = _value(gold), _value(got)
    if expected is None or answer is None:
        return 0.0
    return float(math.isclose(expected, answer, rel_tol=tolerance, abs_tol=tolerance))


def _value(number: Number) -> float | None:
    if isinstance(number, str):
        found = _NUMBER.findall(number.replace("\N{MINUS SIGN}", "-"))
        if not found:
            return None
        number = found[-1].replace(",", "")
    value = float(number)
    return value if math.isfinite(value) else None
