"""Small text functions: clipping, secret redaction, content hashes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

_RUN = re.compile(r"[A-Za-z0-9_\-]{18}")
_BEGINNINGS = ("sk", "pk", "rk", "gsk", "hf", "xai", "ghp", "gho", "glpat", "aiza")
"""What every key has, and few other texts: looking for these first makes long texts cheap."""

_KEYS = re.compile(rf"(?i)\b(?:{'|'.join(_BEGINNINGS)})[-_]?[A-Za-z0-9_\-]{{16,}}")
_NAMED: Mapping[str, re.Pattern[str]] = {
    "bearer": re.compile(r"(?i)(?<=bearer\s)[A-Za-z0-9._~+/\-]{8,}=*"),
    "api": re.compile(r"""(?i)(?<=api[-_]key['"=:])\s*['"]?[A-Za-z0-9._\-]{8,}"""),
    "://": re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"),
    "password=": re.compile(r"(?i)(?<=[?&]password=)[^&\s'\"]+"),
}
"""Other secrets by a word that stands before them: authorization headers, `api_key=...`, user:password@host, and a
password among the parameters of an address."""


_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def redact(text: str) -> str:
    """Replace what looks like a key, a bearer token or a password by `***`."""
    lowered = text.lower()
    if any(beginning in lowered for beginning in _BEGINNINGS) and _RUN.search(text):
        text = _KEYS.sub("***", text)
    for word, pattern in _NAMED.items():
        if word in lowered:
            text = pattern.sub("***", text)
    return text


class Url(str):
    """An address that may hold a password, which its `repr` masks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(redact(str(self)))


def clip(text: str, limit: int) -> str:
    """Shorten to `limit` characters, saying how many were left out."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}... ({len(text) - limit} more characters)"


def closest(name: str, names: list[str]) -> str | None:
    """The one of `names` that `name` was probably meant to be, or None."""
    import difflib

    found = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return found[0] if found else None


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: one text per value, for hashing."""
    return _CANONICAL.encode(value)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`, as 32 hexadecimal digits."""
    # surrogatepass: a lone surrogate in a user's text must not make it unhashable.
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()[:32]
