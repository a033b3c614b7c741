"""The `chat` format: marked text, for LMs that write prose better than JSON.

A reply holds each output behind its mark, `[[key]]` at the start of a line; a signature with one
text output is answered by that text alone. A value must not be able to open a field: where a line
of a value begins like a mark, a backslash is put before it in the prompt, an echo of the value
carries it along, and reading takes it away again. A mark that stands twice is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from declm.errors import ParseError
from declm.formats.base import Prompt, View, dumped
from declm.formats.parsing import parse_object, parse_value
from declm.messages import Request, Response

# Everything that a model may take for the end of a line, though only \n ends one for the parser.
_START = r"(\A|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])([ \t]*)"
_MARKLIKE = re.compile(_START + r"(\\*\[\[)")
_GUARDED = re.compile(_START + r"\\(\\*\[\[)")


class Chat:
    """Inputs as lines of text, outputs behind marks."""

    name = "chat"

    def render(self, prompt: Prompt, inputs: Mapping[str, Any]) -> Request:
        """Write the request for inputs given as JSON values by key."""
        return prompt.request(self, inputs)

    def parse(self, prompt: Prompt, response: Response) -> dict[str, Any]:
        """Read the output values by key.

        Raises:
            ParseError: there are no marks, or one stands twice.
        """
        text, views = response.text, prompt.outputs
        found = _split(text, prompt.keys)
        if not found and len(views) > 1:
            return parse_object(text, prompt.keys)  # models that were taught JSON write it unasked
        if not found:
            found = dict.fromkeys(views, text)
        return {key: _unguard(_read(views[key], part.strip())) for key, part in found.items()}

    def reask(self, prompt: Prompt, request: Request, response: Response, reason: str) -> Request:
        """Write the request that follows a reply which could not be accepted."""
        return prompt.reask(self, request, response, reason)

    def guard(self, value: Any) -> Any:
        """The value with a backslash before every text line that begins like a mark."""
        if isinstance(value, str):
            return _MARKLIKE.sub(r"\1\2\\\3", value)
        return _over_texts(self.guard, value)

    def write(self, field: View, value: Any) -> str:
        """A text as it is if it can be read back from that, everything else as JSON."""
        safe = self.guard(value)
        if not isinstance(safe, str) or not safe or safe != safe.strip():
            return dumped(safe)
        # A colon would be taken for one that a model put behind the mark.
        return safe if safe[0] != ":" and _read(field, safe) == safe else dumped(safe)


# ASCII: without it, case-insensitive matching pairs letters that `casefold` keeps apart.
_MARK_FLAGS = re.MULTILINE | re.IGNORECASE | re.ASCII


@lru_cache(maxsize=256)
def _marks(keys: tuple[str, ...]) -> re.Pattern[str]:
    names = "|".join(re.escape(key) for key in keys)
    return re.compile(rf"^[ \t]*\[\[[ \t]*({names})[ \t]*\]\][ \t]*:?", _MARK_FLAGS)


def _split(text: str, keys: tuple[str, ...]) -> dict[str, str]:
    """What stands behind each mark, by key."""
    by_name = {key.casefold(): key for key in keys}
    found, hits = dict[str, str](), list(_marks(keys).finditer(text))
    ends = [*(hit.start() for hit in hits[1:]), len(text)]
    for hit, end in zip(hits, ends, strict=False):
        key = hit.group(1) if hit.group(1) in keys else by_name[hit.group(1).casefold()]
        if key in found:
            raise ParseError(f"the mark [[{key}]] stands more than once", text=text)
        found[key] = text[hit.end() : end]
    return found


def _read(field: View, text: str) -> Any:
    """A value as it was written: text fields may be quoted, others are JSON where they can be."""
    if not field["is_text"]:
        return parse_value(text)
    if len(text) > 1 and text[0] == text[-1] == '"':
        found = parse_value(text)
        return found if isinstance(found, str) else text
    return text


def _unguard(value: Any) -> Any:
    if isinstance(value, str):
        return _GUARDED.sub(r"\1\2\3", value)
    return _over_texts(_unguard, value)


def _over_texts(change: Callable[[Any], Any], value: Any) -> Any:
    """Apply `change` to all members of a JSON value, keys included."""
    if isinstance(value, list):
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]  # items are any JSON
        return [change(item) for item in items]
    if isinstance(value, dict):
        members: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]  # members are any JSON
        return {change(key): change(member) for key, member in members.items()}
    return value
