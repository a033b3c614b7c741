"""Quoted text: which marks open and close it, and what its escapes mean."""

from __future__ import annotations

import json
import re
import textwrap

CLOSERS = {'"': '"', "'": "'", "`": "`", "“": '”"', "”": '”"', "„": '”“"', "\u2018": "\u2019'", "«": "»"}
"""The marks that may close a text, by the mark that opens it."""

QUOTES = frozenset(CLOSERS)

UNTIL = {mark: re.compile(rf"(?:[^{re.escape(closing)}\\]+|\\.)*", re.DOTALL) for mark, closing in CLOSERS.items()}
"""A text up to the next mark that may close it, by its opening mark."""

BLOCKS = ('"""', "'''", "```")
"""Marks around a text of several lines."""

_MARKS = (QUOTES | frozenset("\u2019”»")) - {'"'}
_DECODER = json.JSONDecoder(strict=False)
_BYTE = re.compile(r"\\x(?=[0-9a-fA-F]{2})")
_UNKNOWN = re.compile(r"\\(?![/bfnrt]|u[0-9a-fA-F]{4})")
"""A backslash that begins no escape of JSON's."""

_LANGUAGE = re.compile(r"[\w+#.-]*[ \t]*\n")


def unescape(text: str) -> str:
    r"""Resolve escapes as JSON and Python have them; an unknown one keeps its backslash (`\d`)."""
    if "\\" not in text:
        return text
    try:
        return str(_DECODER.decode(f'"{text}"'))
    except ValueError:  # an escape that is not JSON's, or a quote inside
        return _mended(text)


def _mended(text: str) -> str:
    """The text with escapes that JSON does not have; all of it with functions in C, for long texts full of them."""
    unused = (chr(code) for code in range(0xE000, 0xF8FF) if chr(code) not in text)
    backslash, quote = next(unused, ""), next(unused, "")
    if not quote:
        return text  # it holds all characters that nobody uses
    text = text.replace("\\\\", backslash).replace('\\"', quote).replace('"', quote).replace("\\\n", "\n")
    for mark in _MARKS:
        text = text.replace(f"\\{mark}", mark)
    text = _UNKNOWN.sub(backslash, _BYTE.sub(r"\\u00", text))
    return str(_DECODER.decode(f'"{text}"')).replace(backslash, "\\").replace(quote, '"')


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
