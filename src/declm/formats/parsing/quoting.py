"""Quoted text: which marks open and close it, and what its escapes mean."""

from __future__ import annotations

import re
import textwrap

CLOSERS = {'"': '"', "'": "'", "`": "`", "“": '”"', "”": '”"', "„": '”“"', "\u2018": "\u2019'", "«": "»"}
"""The marks that may close a text, by the mark that opens it."""

QUOTES = frozenset(CLOSERS)

UNTIL = {mark: re.compile(rf"(?:[^{re.escape(closing)}\\]+|\\.)*", re.DOTALL) for mark, closing in CLOSERS.items()}
"""A text up to the next mark that may close it, by its opening mark."""

BLOCKS = ('"""', "'''", "```")
"""Marks around a text of several lines."""

_ESCAPE = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
    r"|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))",
    re.DOTALL,
)
_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "/": "/", "\\": "\\", "\n": "\n"}
_LANGUAGE = re.compile(r"[\w+#.-]*[ \t]*\n")


def unescape(text: str) -> str:
    r"""Resolve escapes as JSON and Python have them; an unknown one keeps its backslash (`\d`)."""
    return _ESCAPE.sub(_resolved, text) if "\\" in text else text


def _resolved(escape: re.Match[str]) -> str:
    high, low, code, byte, char = escape.groups()
    if high:
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + (int(low, 16) - 0xDC00))
    if code or byte:
        return chr(int(code or byte, 16))
    if char in QUOTES or char in "\u2019”»":
        return char
    return _SIMPLE.get(char, f"\\{char}")


def block_text(mark: str, text: str) -> str:
    """The text between block marks: without a language tag, the outer line breaks and common indentation."""
    if mark == "```" and (tag := _LANGUAGE.match(text)):
        text = text[tag.end() :]
    elif text.startswith("\n"):
        text = text[1:]
    return textwrap.dedent(text).rstrip() if "\n" in text else text


def without_fence(text: str) -> str:
    """The content of a code fence, if the text is one; else the text."""
    bare = text.strip()
    if not bare.startswith("```"):
        return text
    first = bare.find("\n")
    if first < 0 or "`" in bare[:first].lstrip("`"):
        return text
    return without_closing_fence(bare[first + 1 :])


def without_closing_fence(text: str) -> str:
    """The text without a fence at its end."""
    bare = text.rstrip()
    rest = bare.rstrip("`")
    return rest if len(bare) - len(rest) > 1 else text
