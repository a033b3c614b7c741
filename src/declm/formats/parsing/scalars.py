"""Read single values from words: truth values, nothing at all, lists in bullets, literals of programming languages."""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import Any

from declm.formats.parsing.labels import Found, Labels
from declm.formats.parsing.sentences import DECORATION

_TRUE = frozenset({"true", "yes", "y", "on", "1", "1.0", "t", "correct", "✓", "✔", "✅"})
_FALSE = frozenset({"false", "no", "n", "off", "0", "0.0", "f", "incorrect", "✗", "✘", "❌"})
_TRUTH = Labels({"true": True, "false": False, "yes": True, "no": False})
_NULLS = frozenset({"null", "none", "nil", "n/a", "na", "nan", "undefined", "-", "unknown", ""})
_STRICT_NULLS = frozenset({"null", "none", "nil", "undefined"})
_INTEGER = re.compile(r"[-+]?\d+(?:_\d+)*")
_BASED = re.compile(r"[-+]?0(?:[xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)")
_FLOAT = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_DIGITS = 4_000
"""Of a whole number that Python reads; it refuses longer ones."""


def fold(text: str) -> str:
    """The text without case, accents and everything that is neither letter nor digit."""
    return _fold_name(text) if len(text) <= _NAME else _fold(text)


def _fold(text: str) -> str:
    if text.isascii():
        return "".join(c for c in text.lower() if c.isalnum())
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in plain if c.isalnum())


_NAME = 64
"""Characters; shorter texts are mostly keys and labels, which come again in every reply."""

_fold_name = functools.lru_cache(maxsize=4096)(_fold)


def is_null(text: str) -> bool:
    """Whether the text says that there is no value, as programming languages do."""
    return text.strip().casefold() in _STRICT_NULLS


def says_nothing(text: str) -> bool:
    """Whether the text says in words that there is no value."""
    return text.strip().casefold() in _NULLS


def boolean(text: str) -> Found[bool]:
    """The truth value that a text is, begins with, or is the only one to name."""
    plain = text.strip(DECORATION).casefold() if len(text) < 20 and "?" not in text else ""
    if plain in ("true", "false"):
        return plain == "true", "" if text.strip().casefold() == plain else "truth value"
    if plain in _TRUE or plain in _FALSE:
        return plain in _TRUE, "truth value"
    return _TRUTH.find(text)


def literal(text: str) -> Any:
    """Unquoted text as JSON, Python or JavaScript would read it; words stay words."""
    folded = text.casefold()
    if folded in ("true", "false"):
        return folded == "true"
    if folded in _STRICT_NULLS:
        return None
    if _INTEGER.fullmatch(text) and len(text) < _DIGITS:
        return int(text.replace("_", ""))
    if _BASED.fullmatch(text):
        return int(text, 0)
    return float(text) if _FLOAT.fullmatch(text) else str(text)
