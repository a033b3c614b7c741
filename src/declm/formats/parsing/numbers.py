"""Read the number that a text is or holds: separators, fractions, percentages, currencies and units."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from fractions import Fraction

from declm.formats.parsing.labels import LONGEST, SENTENCE, Found
from declm.formats.parsing.sentences import DECORATION, conclusion, is_denied, words

_PLAIN = re.compile(
    r"[-+]?(?:\d+(?:_\d+)*(?:\.(?:\d+(?:_\d+)*)?)?|\.\d+(?:_\d+)*)(?:[eE][-+]?\d{0,5})?|[-+]?(?:NaN|Infinity)"
)
_BASED = re.compile(r"[-+]?0(?:[xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)")
_NUMBER = re.compile(
    r"(?<!\w)(?<!\w[.,/])(?P<sign>[-+\u2212\u2013]?)(?P<apart>\s?)"
    r"(?:[^\w\s.,:;!?()\[\]{}'\"/\\*#@&=<>|~`+-]\s?(?P<sign2>[-+\u2212]?))?"
    r"(?:(?P<whole>\d+)\s+(?=\d+\s?/\s?\d))?"
    r"(?P<digits>\d+(?:[.,'\u2019_\u00a0\u202f ]\d+)*|(?<!\.)\.\d+)(?P<exponent>[eE][-+]?\d{1,5}(?!\d))?"
    r"(?:\s?/\s?(?P<below>\d+(?:\.\d+)?)(?![\w/]))?"
)
_BEHIND = re.compile(
    r"\s?(?P<percent>%|per\s?cent\b|pct\b)|\s?(?P<scale>thousand|million|billion|trillion|mn|bn|k)s?\b", re.IGNORECASE
)
_UNIT = re.compile(r"\s?[^\W\d_][\w/^²³°]*|\s?[%$€£¥°]", re.IGNORECASE)
_CODE = re.compile(r"\b(?:USD|EUR|GBP|CHF|JPY|CNY|CAD|AUD|INR|US|Rs\.?)(?=[$€£¥]?\d)")
_CLOCK = re.compile(r"\s?[ap]\.?m\b", re.IGNORECASE)
_GAP = re.compile(r"['\u2019\u00a0\u202f ]")
_GROUPED = re.compile(r"\d{1,3}(?:['\u2019\u00a0\u202f ]\d{3})+(?:[.,]\d+)?")
_SCALES = {"k": 3, "thousand": 3, "million": 6, "mn": 6, "billion": 9, "bn": 9, "trillion": 12}
_PARTS = re.compile(r"[\u00bc-\u00be\u2150-\u215e]")
"""Fractions that are one character, such as a half."""


def number(text: str, *, unit: bool = False, whole: bool = False) -> Found[Decimal]:
    """The number that a text is, or the only one that it holds.

    `unit`: percentages are shares; `whole`: fractions are refused (`4/5` may be a score of 4 out of 5).
    """
    plain = text.strip()
    if _PLAIN.fullmatch(plain):
        exact = plain.replace("_", "")
        exact = exact.rstrip("eE+-") if exact[-1] in "eE+-" else exact
        return Decimal(exact), "" if exact == plain else "number"
    if _BASED.fullmatch(plain):
        return Decimal(int(plain, 0)), "number"
    if len(plain) > LONGEST:
        return None
    plain = _CODE.sub(" ", _PARTS.sub(_spelled, plain)).strip()
    found = _only_number(plain, unit, whole)
    if found is None and (rest := conclusion(plain)) is not None:
        last = _only_number(rest, unit, whole)
        return None if last is None else (last[0], SENTENCE)
    return found


def _spelled(part: re.Match[str]) -> str:
    return f" {unicodedata.normalize('NFKC', part.group()).replace(chr(0x2044), '/')}"


def _only_number(text: str, unit: bool, whole: bool) -> Found[Decimal]:
    alone = True
    values: set[Decimal] = set()
    for hit in _NUMBER.finditer(text):
        value, end = _value(hit, text, unit, whole)
        if value is None:
            return None
        values.add(value)
        if len(values) > 1:
            return None
        rest = text[end:].strip(DECORATION)
        before = text[: hit.start()].strip(DECORATION + "~≈$€£¥")
        alone = alone and not before and (not rest or _UNIT.fullmatch(rest) is not None)
    if not values or (not alone and _is_denied(text)):
        return None
    return values.pop(), "number" if alone else SENTENCE


def _is_denied(text: str) -> bool:
    found = words(text)
    return any(word.key[-1:].isdigit() and is_denied(text, found, at, at) for at, word in enumerate(found))


def _value(hit: re.Match[str], text: str, unit: bool, whole: bool) -> tuple[Decimal | None, int]:
    """The value of a hit, None for what is no number or may be several things, and its end."""
    end = hit.end()
    sign = hit["sign"] or hit["sign2"] or ""
    digits = _digits(hit["digits"])
    is_bullet = hit["sign"] in ("-", "\u2013") and hit["apart"] and not text[: hit.start()].strip()
    is_range = text[end : end + 1] in ("-", "\u2013", "/") and text[end + 1 : end + 2].isdigit()  # or a date
    if digits is None or is_bullet or is_range or (whole and hit["below"]):
        return None, end
    value = Decimal(digits + (hit["exponent"] or ""))
    if hit["below"]:
        below = Decimal(hit["below"])
        if not below:
            return None, end
        value = int(hit["whole"] or 0) + _decimal(Fraction(value) / Fraction(below))
    scaled = _scaled(value, text, end, unit)
    if scaled is None:
        return None, end
    value, end = scaled
    return (value if sign in ("", "+") else value.copy_negate()), end


def _scaled(value: Decimal, text: str, end: int, unit: bool) -> tuple[Decimal, int] | None:
    """The value with what stands behind it: a percent sign, "million"; None where that can't be told."""
    behind = _BEHIND.match(text, end)
    if behind is not None:
        if behind["percent"]:
            return (value / 100 if unit else value), behind.end()
        return value * 10 ** _SCALES[behind["scale"].lower()], behind.end()
    following = text[end : end + 1]
    if _CLOCK.match(text, end):
        return None
    if following.isalpha():
        if following.isupper() and not text[end + 1 : end + 2].isalpha():
            return None  # 5M, 3B: a million, a metre or a grade?
        if re.match(r"[^\W\d_]+\d", text[end:]) or (text[end : end + 2].strip(",.") == "s" and text[end - 1] == "0"):
            return None  # 2h30m, 1970s
    return value, end


def _digits(text: str) -> str | None:
    """Digits with one decimal point, from digits with separators; None where they can't be told apart."""
    plain = text.replace("_", "")
    if _GAP.search(plain):
        if not _GROUPED.fullmatch(plain):
            return None
        plain = _GAP.sub("", plain)
    commas, dots = plain.count(","), plain.count(".")
    if commas and dots:
        point = max(plain.rfind(","), plain.rfind("."))
        whole, part = plain[:point], plain[point + 1 :]
        if plain[point] in whole:
            return None
        return f"{re.sub('[.,]', '', whole)}.{part}"
    if commas:
        if re.fullmatch(r"\d{1,3}(?:,\d{3})+", plain) and not plain.startswith("0,"):
            return plain.replace(",", "")
        if re.fullmatch(r"\d{1,2}(?:,\d{2})*,\d{3}", plain) and commas > 1:  # as in India
            return plain.replace(",", "")
        return plain.replace(",", ".") if commas == 1 else None
    if dots > 1:
        return plain.replace(".", "") if re.fullmatch(r"\d{1,3}(?:\.\d{3})+", plain) else None
    return plain


def _decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)
