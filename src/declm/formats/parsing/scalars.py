"""Read single values from words: numbers, truth values, dates, members of closed sets.

Each function takes text and returns the value with the name of the repair that it took (empty for
none), or None where the text does not say, or says several things.
"""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeVar

T = TypeVar("T")

Found = tuple[T, str] | None

SENTENCE = "found in a sentence"
_LONGEST = 2_000
"""Characters of a sentence in which a value is looked for."""

_PLAIN = re.compile(r"[-+]?(?:\d+(?:_\d+)*)?(?:\.(?:\d+(?:_\d+)*)?)?(?:[eE][-+]?\d{0,5})?")
_NUMBER = re.compile(
    r"(?<![\w.,/])(?P<sign>[-+\u2212]?)\s?[^\w\s.,:;!?()\[\]{}'\"/\\*#@&=<>|~`+-]?\s?(?P<sign2>[-+\u2212]?)"
    r"(?P<digits>\d+(?:[.,'\u2019_\u00a0\u202f ]\d+)*(?:\.(?!\w))?|\.\d+)(?P<exponent>[eE][-+]?\d{1,5}(?!\d))?"
    r"(?:\s?/\s?(?P<below>\d+(?:\.\d+)?)(?![\w/]))?"
)
_BEHIND = re.compile(r"\s?(?P<percent>%)|\s?(?P<scale>thousand|million|billion|trillion|mn|bn|k)\b", re.IGNORECASE)
_UNIT = re.compile(r"\s?[^\W\d_][\w/^²³°]*|\s?[%$€£¥°]", re.IGNORECASE)
_MIXED = re.compile(r"([-+]?\d+)\s+(\d+)\s?/\s?(\d+)")
_SCALES = {"k": 3, "thousand": 3, "million": 6, "mn": 6, "billion": 9, "bn": 9, "trillion": 12}
_TRUE = frozenset({"true", "yes", "y", "on", "1", "1.0", "t", "correct", "✓", "✔", "✅"})
_FALSE = frozenset({"false", "no", "n", "off", "0", "0.0", "f", "incorrect", "✗", "✘", "❌"})
_SAID = re.compile(r"(yes|no)\s*(?:[.,:;!\n(\u2013\u2014]|-\s).*|.*\b(?:is|be|:|=)\s+[^\w\s]*(yes|no)", re.DOTALL)
_NEGATION = re.compile(
    r"(?:\b(?:not|never|neither|nor|without|cannot)|n['\u2019]t|\bisnt)\s+(?:\w+\s+){0,2}\Z", re.IGNORECASE
)
_SAID_FIRST = re.compile(r"\s*(?:[:.,;!\n\u2013\u2014(]|-\s|\Z)")
_DECORATION = " \t\r\n\"'`*_“”\u2018\u2019«»()[]{}<>.,;:!#"
_WORDS = re.compile(r"[^\W_]+")
_NULLS = frozenset({"null", "none", "nil", "n/a", "na", "nan", "undefined", "-", "unknown", ""})
_STRICT_NULLS = frozenset({"null", "none", "nil", "undefined"})
_DAYS = ("%d %B %Y", "%d %b %Y", "%B %d %Y", "%b %d %Y", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%Y%m%d")
_TIMES = ("%I:%M %p", "%I %p", "%I:%M%p", "%I%p", "%H:%M", "%H:%M:%S")
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b|,|\b(?:of|the)\b", re.IGNORECASE)
_WEEKDAY = re.compile(r"\b(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?\b\.?", re.IGNORECASE)
_SLASHED = re.compile(r"(\d{1,2})[/-](\d{1,2})[/-](\d{4})")
_ISO = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[-+]\d{2}:?\d{2})?)?(?!\d)")


def fold(text: str) -> str:
    """The text without case, accents and everything that is neither letter nor digit."""
    if text.isascii():
        return "".join(c for c in text.lower() if c.isalnum())
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in plain if c.isalnum())


def is_null(text: str) -> bool:
    """Whether the text says that there is no value, as programming languages do."""
    return text.strip().casefold() in _STRICT_NULLS


def says_nothing(text: str) -> bool:
    """Whether the text says in words that there is no value."""
    return text.strip().casefold() in _NULLS


def number(text: str, *, unit: bool = False) -> Found[Decimal]:
    """The number that a text is, or the only one that it holds; `unit`: percentages are shares."""
    plain = text.strip()
    if plain and (match := _PLAIN.fullmatch(plain)) and any(c.isdigit() for c in plain):
        exact = match.group().replace("_", "").rstrip("eE+-") if plain[-1] in "eE+-" else plain.replace("_", "")
        return Decimal(exact), "" if exact == plain else "number"
    if mixed := _MIXED.fullmatch(plain):
        whole, above, below = (int(part) for part in mixed.groups())
        return (
            (_decimal(Fraction(above, below) + abs(whole)) * (-1 if plain[0] == "-" else 1), "number")
            if below
            else None
        )
    if len(plain) > _LONGEST:
        return None
    return _only_number(plain, unit)


def _only_number(text: str, unit: bool) -> Found[Decimal]:
    values, alone, end = set[Decimal](), True, 0
    for hit in _NUMBER.finditer(text):
        value, end = _number_value(hit, text, unit)
        if value is None:
            return None
        values.add(value)
        rest = text[end:]
        measured = _UNIT.fullmatch(rest.strip(_DECORATION)) or not rest.strip(_DECORATION)
        alone = alone and not text[: hit.start()].strip(_DECORATION + "~≈$€£¥") and bool(measured)
    if len(values) != 1:
        return None
    return values.pop(), "number" if alone else SENTENCE


def _number_value(hit: re.Match[str], text: str, unit: bool) -> tuple[Decimal | None, int]:
    end = hit.end()
    following = text[end : end + 1]
    if following == "-" and text[end + 1 : end + 2].isdigit():
        return None, end  # a range or a date
    digits = _digits(hit["digits"])
    if digits is None:
        return None, end
    value = Decimal(digits + (hit["exponent"] or ""))
    if hit["below"]:
        below = Decimal(hit["below"])
        if not below:
            return None, end
        value = _decimal(Fraction(value) / Fraction(below))
    behind = _BEHIND.match(text, end)
    if behind is not None:
        end = behind.end()
        if behind["percent"] and unit:
            value /= 100
        elif behind["scale"]:
            value *= 10 ** _SCALES[behind["scale"].lower()]
    elif following.isalpha() and following.isupper() and not text[end + 1 : end + 2].isalpha():
        return None, end  # 5M, 3B: a million, a metre or a grade?
    negative = (hit["sign"] or hit["sign2"]) in ("-", "\u2212") and (hit["sign"] or hit["sign2"]) != ""
    return (-value if negative else value), end


def _digits(text: str) -> str | None:
    """Digits with one decimal point, from digits with separators; None where they can't be told apart."""
    plain = re.sub(r"[_'\u2019\u00a0\u202f]", "", text)
    if " " in plain:
        if not re.fullmatch(r"\d{1,3}(?: \d{3})+(?:[.,]\d+)?", plain):
            return None
        plain = plain.replace(" ", "")
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


def boolean(text: str) -> Found[bool]:
    """The truth value that a text is, begins with, or is the only one to name."""
    plain = text.strip(_DECORATION).casefold() if len(text) <= _LONGEST else ""
    if plain in ("true", "false"):
        return plain == "true", "" if text.strip().casefold() == plain else "truth value"
    if plain in _TRUE or plain in _FALSE:
        return plain in _TRUE, "truth value"
    if said := _SAID.fullmatch(plain):
        return (said[1] or said[2]) == "yes", SENTENCE
    return chosen(text, {"true": True, "false": False})


def chosen(text: str, names: Mapping[str, T]) -> Found[T]:
    """The value whose name the text is (but for case, accents and signs), begins with, or is the only one to hold."""
    if text in names:
        return names[text], ""
    if len(text) > _LONGEST:
        return None
    bare = text.strip(_DECORATION)
    if bare in names:
        return names[bare], "decoration"
    by_fold = _by_fold(names)
    folded = fold(text)
    if folded and folded in by_fold:
        found = by_fold[folded]
        return None if len(found) > 1 else (found[0], "spelling")
    return _in_sentence(text, names)


def _by_fold(names: Mapping[str, T]) -> dict[str, list[T]]:
    found = dict[str, list[T]]()
    for name, value in names.items():
        values = found.setdefault(fold(name), [])
        if not any(value is other or value == other for other in values):
            values.append(value)
    return found


def _in_sentence(text: str, names: Mapping[str, T]) -> Found[T]:
    words = [(hit.start(), hit.end(), fold(hit.group())) for hit in _WORDS.finditer(text)]
    spelled = {tuple(fold(word) for word in _WORDS.findall(name)): value for name, value in names.items()}
    spelled.pop((), None)
    longest = max((len(name) for name in spelled), default=0)
    found, at = list[tuple[int, int, T]](), 0
    while at < len(words):
        for length in range(min(longest, len(words) - at), 0, -1):
            name = tuple(word for *_, word in words[at : at + length])
            if name in spelled:
                start = words[at][0]
                if _NEGATION.search(text[max(0, start - 40) : start]):
                    return None
                found.append((start, words[at + length - 1][1], spelled[name]))
                at += length - 1
                break
        at += 1
    if not found:
        return None
    first = found[0]
    if all(value == first[2] for *_, value in found):
        return first[2], SENTENCE
    begins = not text[: first[0]].strip(_DECORATION + "-\u2013")
    return (
        (first[2], SENTENCE)
        if begins and _SAID_FIRST.match(text, first[1]) and "\n" not in text[: first[0]] and _sets_apart(text, first[1])
        else None
    )


def _sets_apart(text: str, end: int) -> bool:
    """Whether what stands at the beginning is an answer with an explanation behind it, not a list of candidates."""
    return bool(re.match(r"[\"'`*_)\]]*\s*(?:[.:!\n\u2013\u2014]|-\s)", text[end:]))


def temporal(text: str, kind: str) -> Found[str]:
    """A date, time or both in the form that Pydantic reads, from the other common ways of writing them."""
    if len(text) > _LONGEST:
        return None
    plain = " ".join(_WEEKDAY.sub("", text.strip(" \t\n\"'`*.")).split()).lstrip(", ")
    if kind == "time":
        return _time(plain)
    if kind == "timedelta":
        return None
    day = _day(plain)
    if day is not None:
        return (day if kind == "date" else f"{day}T00:00:00"), "date"
    if kind == "datetime" and " " in plain:
        for at in (hit.start() for hit in re.finditer(r"[ ,T]", plain)):
            day, clock = _day(plain[:at]), _time(re.sub(r"^(?:at|,)\s+", "", plain[at:].strip(", ")))
            if day is not None and clock is not None:
                return f"{day}T{clock[0]}", "date"
    dates = set(_ISO.findall(text))
    if len(dates) == 1:
        found = dates.pop()
        return (found[:10] if kind == "date" else found), SENTENCE
    return None


def _day(text: str) -> str | None:
    plain = " ".join(_ORDINAL.sub(" ", text).split())
    if slashed := _SLASHED.fullmatch(plain):
        first, second, year = (int(part) for part in slashed.groups())
        if first <= 12 and second <= 12 and first != second:
            return None  # day or month first? Both are usual.
        day, month = (first, second) if first > 12 or first == second else (second, first)
        return _iso(year, month, day)
    if not 6 <= len(plain) <= 30:
        return None
    read = next((found for form in _DAYS if (found := _strptime(plain, form))), None)
    return read.date().isoformat() if read else None


def _iso(year: int, month: int, day: int) -> str | None:
    try:
        return datetime.date(year, month, day).isoformat()
    except ValueError:
        return None


def _strptime(text: str, form: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.strptime(text, form)  # noqa: DTZ007  # the text names no time zone
    except ValueError:
        return None


def _time(text: str) -> Found[str]:
    plain = text.replace(".", "").upper() if re.search(r"[ap]\.?m\.?$", text, re.IGNORECASE) else text
    read = next((found for form in _TIMES if (found := _strptime(plain, form))), None)
    return (read.time().isoformat(), "time") if read else None


def listed(text: str) -> list[str] | None:
    """The entries of a list that is written with bullets or numbers, one to a line; None if it is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    entries = [re.match(r"(?:[-*•‣\u2013]|\d{1,3}[.)])\s+(.*)", line) for line in lines]
    if len(lines) < 2 or not all(entries):
        return None
    return [entry.group(1).strip() for entry in entries if entry]


def literal(text: str) -> Any:
    """Unquoted text as JSON, Python or JavaScript would read it; words stay words."""
    folded = text.casefold()
    if folded in ("true", "false"):
        return folded == "true"
    if folded in _STRICT_NULLS:
        return None
    if re.fullmatch(r"[-+]?\d+(?:_\d+)*", text) and len(text) < 4_000:
        return int(text.replace("_", ""))
    if re.fullmatch(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", text):
        return float(text)
    return str(text)
