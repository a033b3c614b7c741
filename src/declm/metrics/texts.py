"""Exact match and token F1 of short answers, as SQuAD scores them.

Source: Rajpurkar et al. (2016), arXiv 1606.05250, and the official script of SQuAD 1.1: lower case,
without ASCII punctuation and the articles a, an, the. Figures are comparable with published ones.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalized(text: str) -> str:
    """The text in lower case, without ASCII punctuation, articles and extra white space.

    Where nothing would be left (the choice `(A)`, the operator `+`), articles and then punctuation stay.

    Example:
        >>> normalized(" The  Mark-Masons' Hall. "), normalized("(A)"), normalized("+")
        ('markmasons hall', 'a', '+')
    """
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split()) or " ".join(bare.split()) or text.strip()


def exact(gold: str | Iterable[str], got: str) -> float:
    """1.0 if the normalized texts are equal, else 0.0; of several accepted answers any will do.

    Example:
        >>> exact("The Beatles", "beatles!"), exact(["NYC", "New York"], "new york"), exact("4", "44")
        (1.0, 1.0, 0.0)
    """
    answer = normalized(got)
    return float(any(normalized(accepted) == answer for accepted in _accepted(gold)))


def f1(gold: str | Iterable[str], got: str) -> float:
    """Harmonic mean of precision and recall over normalized words, in [0, 1].

    Of several accepted answers the one that fits best counts. If either text has no words left, the
    score is 1.0 if both have none.

    Example:
        >>> f1("Reggie Jackson", "the baseball player Reggie Jackson")
        0.6666666666666666
    """
    answer = normalized(got).split()
    return max((_overlap(normalized(accepted).split(), answer) for accepted in _accepted(gold)), default=0.0)


def _accepted(gold: str | Iterable[str]) -> Iterable[str]:
    return (gold,) if isinstance(gold, str) else gold


def _overlap(gold: list[str], got: list[str]) -> float:
    if not gold or not got:
        return float(gold == got)
    common = sum((Counter(gold) & Counter(got)).values())
    return 2.0 * common / (len(gold) + len(got))
