"""The `chat` format: marked text, for LMs that write prose better than JSON.

A reply holds each output behind its mark, `[[key]]` at the start of a line; a signature with one
text output is answered by that text alone. A value must not be able to open a field: where a line
of a value begins like a mark, a backslash is put before it in the prompt, an echo of the value
carries it along, and reading takes it away again. A mark that stands twice is refused.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from declm.errors import ParseError
from declm.formats.base import Prompt, View, dumped
from declm.formats.marked import over_texts, partial_parts, read_parts, write_part
from declm.messages import Fields, Request, Response

# Everything that a model may take for the end of a line, though only \n ends one for the parser.
_START = r"(\A|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])([ \t]*)"
_MARKLIKE = re.compile(_START + r"(\\*\[\[)")
_GUARDED = re.compile(_START + r"\\(\\*\[\[)")
_HALF_MARK = re.compile(r"(?:\A|\n)[ \t]*\[(?:\[[^\]\n]*\]?)?\Z")


class Chat:
    """Inputs as lines of text, outputs behind marks."""

    name = "chat"

    def render(self, prompt: Prompt, inputs: Mapping[str, Any]) -> Request:
        """Write the request for inputs given as JSON values by key."""
        return prompt.request(self, inputs)

    def parse(self, prompt: Prompt, response: Response) -> Fields:
        """Read the outputs.

        Raises:
            ParseError: there are no marks and no object, or a mark stands twice.
        """
        text, views = response.text, prompt.outputs
        found = _split(text, prompt.keys)
        if not found and len(views) > 1:
            return prompt.read_object(text)  # models that were taught JSON write it unasked
        if not found:
            found = dict.fromkeys(views, text)
        return read_parts(prompt, found, _unguard)

    def partial(self, prompt: Prompt, text: str) -> dict[str, Any]:
        """The outputs so far; the last mark may not be complete yet."""
        whole = _HALF_MARK.sub("", text)
        try:
            found = _split(whole, prompt.keys)
        except ParseError:  # a mark that stands twice: the end will be refused
            return {}
        if not found and len(prompt.outputs) > 1:
            return prompt.partial_object(text)
        if not found:
            found = dict.fromkeys(prompt.outputs, whole)
        return partial_parts(prompt, found, list(found)[-1], _unguard)

    def reask(self, prompt: Prompt, request: Request, response: Response, reason: str) -> Request:
        """Write the request that follows a reply which could not be accepted."""
        return prompt.reask(self, request, response, reason)

    def answer(self, prompt: Prompt, outputs: Mapping[str, Any]) -> str:
        """Write the reply that says these outputs, given as JSON values by key."""
        return prompt.answer(self, outputs)

    def guard(self, value: Any, keys: Collection[str]) -> Any:
        """The value with a backslash before every text line that begins like a mark."""
        return over_texts(_guard, value)

    def write(self, field: View, value: Any) -> str:
        """A text as it is if it can be read back from that, everything else as JSON."""
        # A colon would be taken for one that a model put behind the mark.
        return dumped(value) if isinstance(value, str) and value[:1] == ":" else write_part(field, value)


# ASCII: without it, case-insensitive matching pairs letters that `casefold` keeps apart.
_MARK_FLAGS = re.MULTILINE | re.IGNORECASE | re.ASCII


@lru_cache(maxsize=256)
def _marks(keys: tuple[str, ...]) -> re.Pattern[str]:
    names = "|".join(re.escape(key) for key in keys)
    return re.compile(rf"^[ \t]*\[\[[ \t]*({names})[ \t]*\]\][ \t]*:?", _MARK_FLAGS)


def _split(text: str, keys: tuple[str, ...]) -> dict[str, str]:
    """What stands behind each mark, by key."""
    by_name = {key.casefold(): key for key in keys}
    hits = list(_marks(keys).finditer(text))
    found: dict[str, str] = {}
    ends = [*(hit.start() for hit in hits[1:]), len(text)]
    for hit, end in zip(hits, ends, strict=False):
        key = hit.group(1) if hit.group(1) in keys else by_name[hit.group(1).casefold()]
        if key in found:
            raise ParseError(f"the mark [[{key}]] stands more than once", text=text)
        found[key] = text[hit.end() : end]
    return found


def _guard(text: str) -> str:
    return _MARKLIKE.sub(r"\1\2\\\3", text)


def _unguard(text: str) -> str:
    return _GUARDED.sub(r"\1\2\3", text)
