"""Read dates, times of day and durations in the ways in which people write them.

What may be the day or the month first (`03/04/2024`) is refused.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping, Sequence

from declm.formats.parsing.labels import LONGEST, SENTENCE, Found
from declm.formats.parsing.sentences import DECORATION, is_denied, words

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)"
)
_NTH = r"(\d{1,2})(?:st|nd|rd|th)?"
_DAYS: Sequence[tuple[re.Pattern[str], Callable[[Sequence[str]], str | None]]] = (
    (
        re.compile(
            r"(?<![\d./-])(\d{4})(?:-(\d{1,2})-|/(\d{1,2})/|\.\s?(\d{1,2})\.\s?|年(\d{1,2})月)(\d{1,2})日?(?!\d)"
        ),
        lambda parts: _iso(parts[0], parts[1] or parts[2] or parts[3] or parts[4], parts[5]),
    ),
    (re.compile(r"(?<!\d)(\d{4})(\d{2})(\d{2})(?!\d)"), lambda parts: _iso(*parts)),
    (re.compile(r"(?<![\d.])(\d{1,2})\.\s?(\d{1,2})\.\s?(\d{4})(?!\d)"), lambda parts: _dotted(*parts)),
    (re.compile(r"(?<![\d/-])(\d{1,2})[/-](\d{1,2})[/-](\d{4})(?!\d)"), lambda parts: _slashed(*parts)),
    (
        re.compile(
            rf"(?<![\d.]){_NTH}(?:\s+of\s+|[\s.-]{{1,3}})({_MONTH})(?:,\s?|[\s.-]{{1,3}})(\d{{4}})(?!\d)", re.IGNORECASE
        ),
        lambda parts: _iso(parts[2], _month(parts[1]), parts[0]),
    ),
    (
        re.compile(rf"\b({_MONTH})\.?\s+(?:the\s+)?{_NTH}(?:,\s?|\s+)(\d{{4}})(?!\d)", re.IGNORECASE),
        lambda parts: _iso(parts[2], _month(parts[0]), parts[1]),
    ),
)
"""Ways of writing a day, with what makes it of them; None for no day, or one that can't be known."""

_EXACT: Mapping[str, re.Pattern[str]] = {
    "date": re.compile(r"\d{4}-\d{2}-\d{2}"),
    "datetime": re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[-+]\d{2}:?\d{2})?"),
    "timedelta": re.compile(r"[-+]?P[\dTYMWDHS.,]+|(?:-?\d+ days?, )?\d{1,2}:\d{2}:\d{2}(?:\.\d+)?"),
    "time": re.compile(r"\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[-+]\d{2}:?\d{2})?"),
}
"""What Pydantic reads as it is."""

_WEEKDAY = re.compile(r"\b(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?\b[.,]?", re.IGNORECASE)
_CLOCK = re.compile(
    r"(?<![\d:.])(?:T\s?)?(?P<hour>\d{1,2})(?:(?P<sharp>:(?P<minute>\d{2})(?::(?P<second>\d{2})(?P<part>\.\d{1,6})?\d*)?))?"
    r"(?:\s?(?P<half>[ap])\.?m\b\.?)?(?:\s?(?P<zone>Z|UTC|GMT|[-+]\d{2}:?\d{2})(?![\w:]))?(?![\d:])",
    re.IGNORECASE,
)
_LENGTH = re.compile(
    r"(\d+(?:\.\d+)?)\s?(weeks?|w|days?|d|hours?|hrs?|h|minutes?|mins?|m|seconds?|secs?|s|milliseconds?|ms)(?![a-z])",
    re.IGNORECASE,
)
_UNITS: Mapping[str, float] = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}


def temporal(text: str, kind: str) -> Found[str]:
    """A date, time, both, or a duration in the form that Pydantic reads."""
    if len(text) > LONGEST:
        return None
    if (exact := _EXACT.get(kind)) and exact.fullmatch(text):
        return text, ""
    if kind == "timedelta":
        return _duration(text)
    found = _clock(text) if kind == "time" else _date(text, with_time=kind == "datetime")
    if found is None:
        return None
    value, rest = found
    kind = "time" if kind == "time" else "date"
    if not _WEEKDAY.sub("", rest).strip(DECORATION + "\u2013-"):
        return value, kind
    return None if _is_denied(text) else (value, SENTENCE)


def _is_denied(text: str) -> bool:
    found = words(text)
    return any(word.key[:1].isdigit() and is_denied(text, found, at, at) for at, word in enumerate(found))


def _date(text: str, *, with_time: bool) -> tuple[str, str] | None:
    """The only day that a text names, with its time of day if that is wanted, and what else it says."""
    rest = text
    days: set[str | None] = set()
    for pattern, made in _DAYS:
        days |= {made(hit.groups()) for hit in pattern.finditer(rest)}
        rest = pattern.sub(" ", rest)
    if len(days) != 1 or (day := days.pop()) is None:
        return None
    clock = _clock(rest)
    if clock is None:
        return (f"{day}T00:00:00" if with_time else day), rest
    return (f"{day}T{clock[0]}" if with_time else day), re.sub(r"\b(?:at|T)\b", "", clock[1])


def _iso(year: str, month: str | int, day: str) -> str | None:
    try:
        return datetime.date(int(year), int(month), int(day)).isoformat()
    except ValueError:
        return None


def _month(name: str) -> int:
    return _MONTHS.index(name[:3].casefold()) + 1


def _dotted(first: str, second: str, year: str) -> str | None:
    """Day first, as where dots are usual; but for what can't be a month."""
    return _iso(year, first, second) if int(second) > 12 else _iso(year, second, first)


def _slashed(first: str, second: str, year: str) -> str | None:
    if int(first) <= 12 and int(second) <= 12 and first != second:
        return None  # day or month first? Both are usual.
    return _iso(year, second, first) if int(first) > 12 else _iso(year, first, second)


def _clock(text: str) -> tuple[str, str] | None:
    """The only time of day that a text names, and what else it says."""
    hits = [hit for hit in _CLOCK.finditer(text) if hit["sharp"] or hit["half"]]
    times = {_time(hit) for hit in hits}
    if len(times) != 1 or (time := times.pop()) is None:
        return None
    return time, text[: hits[0].start()] + " " + text[hits[-1].end() :]


def _time(hit: re.Match[str]) -> str | None:
    hour, half = int(hit["hour"]), (hit["half"] or "").casefold()
    if half and not 1 <= hour <= 12:
        return None
    hour = hour % 12 + 12 * (half == "p") if half else hour
    zone = (hit["zone"] or "").upper()
    zone = "+00:00" if zone in ("Z", "UTC", "GMT") else zone
    told = f"{hour:02}:{hit['minute'] or '00'}:{hit['second'] or '00'}{hit['part'] or ''}{zone}"
    try:
        datetime.time.fromisoformat(told[:8])
    except ValueError:
        return None
    return told


def _duration(text: str) -> Found[str]:
    """The sum of numbers with units, such as "1 hour 30 minutes"."""
    hits = list(_LENGTH.finditer(text))
    rest = _LENGTH.sub(" ", text).casefold()
    units = ["ms" if hit[2].casefold().startswith(("ms", "mil")) else hit[2][0].casefold() for hit in hits]
    if not hits or "-" in rest or len(set(units)) < len(units) or re.search(r"\d", rest):
        return None
    seconds = sum(float(hit[1]) * _UNITS.get(unit, 0.001) for hit, unit in zip(hits, units, strict=True))
    alone = not re.sub(r"\band\b", "", rest).strip(DECORATION)
    if not alone and _is_denied(text):
        return None
    return f"PT{seconds:f}S", "duration" if alone else SENTENCE
