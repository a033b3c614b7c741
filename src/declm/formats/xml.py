"""The `xml` format: each output between tags of its name, for LMs that were taught to write them.

A value must not be able to open or close a field: the tags of the signature's own outputs are
escaped wherever a prompt quotes a value (`declm.formats.tags`), and every other tag is text. Inside
an open field all tags but its own are content; a field that stands twice is refused.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping
from typing import Any

from declm.errors import ParseError
from declm.formats.base import Prompt, View, dumped
from declm.formats.marked import Change, over_texts, partial_parts, read_parts, write_part
from declm.formats.tags import guarded, is_closing, is_empty, name_of, tags, unguarded
from declm.messages import Fields, Request, Response

_HALF_TAG = re.compile(r"<[^<>\n]*\Z")


class XML:
    """Inputs as lines of text, outputs between tags: texts as they are, everything else as JSON."""

    name = "xml"

    def render(self, prompt: Prompt, inputs: Mapping[str, Any]) -> Request:
        """Write the request for inputs given as JSON values by key."""
        return prompt.request(self, inputs)

    def parse(self, prompt: Prompt, response: Response) -> Fields:
        """Read the outputs.

        Raises:
            ParseError: there are no tags and no object, or a field stands twice.
        """
        text = response.text
        found, _ = _split(text, prompt.keys)
        if not found and not _is_lone_text(prompt):
            return prompt.read_object(text)  # models that were taught JSON write it unasked
        return read_parts(prompt, found or dict.fromkeys(prompt.keys, text), _reader(prompt.keys))

    def partial(self, prompt: Prompt, text: str) -> dict[str, Any]:
        """The outputs so far; the last tag may not be complete yet."""
        whole = _HALF_TAG.sub("", text)
        try:
            found, growing = _split(whole, prompt.keys)
        except ParseError:  # a field that stands twice: the end will be refused
            return {}
        if not found and not _is_lone_text(prompt):
            return prompt.partial_object(text)
        if not found:
            found, growing = dict.fromkeys(prompt.keys, whole), prompt.keys[0]
        return partial_parts(prompt, found, growing, _reader(prompt.keys))

    def reask(self, prompt: Prompt, request: Request, response: Response, reason: str) -> Request:
        """Write the request that follows a reply which could not be accepted."""
        return prompt.reask(self, request, response, reason)

    def answer(self, prompt: Prompt, outputs: Mapping[str, Any]) -> str:
        """Write the reply that says these outputs, given as JSON values by key."""
        return prompt.answer(self, outputs)

    def guard(self, value: Any, keys: Collection[str]) -> Any:
        """The value with a backslash before every tag of these keys."""
        return over_texts(functools.partial(guarded, names=tuple(keys)), value)

    def write(self, field: View, value: Any) -> str:
        """A text as it is if it can be read back from that, everything else as JSON."""
        # A backslash at the end would guard the closing tag.
        return dumped(value) if isinstance(value, str) and value[-1:] == "\\" else write_part(field, value)


def _reader(keys: tuple[str, ...]) -> Change:
    return functools.partial(unguarded, names=keys)


def _is_lone_text(prompt: Prompt) -> bool:
    (first, *others) = prompt.outputs.values()
    return not others and bool(first["is_text"])


def _split(text: str, keys: tuple[str, ...]) -> tuple[dict[str, str], str | None]:
    """What stands between the tags, by key, and the key whose tag is still open at the end."""
    hits, at = tags(text, keys), 0
    found: dict[str, str] = {}
    growing = None
    while at < len(hits):
        opening = hits[at]
        at += 1
        if is_closing(opening):
            continue  # it closes nothing
        key = name_of(opening, keys)
        if key in found:
            raise ParseError(f"the tag <{key}> stands more than once", text=text)
        if is_empty(opening):
            found[key] = ""
            continue
        closed = (i for i in range(at, len(hits)) if is_closing(hits[i]) and name_of(hits[i], keys) == key)
        end = next(closed, None)
        if end is None:
            end = next((i for i in range(at, len(hits)) if not is_closing(hits[i])), len(hits))
            growing = key if end == len(hits) else None
        if any(name_of(hit, keys) == key for hit in hits[at:end] if not is_closing(hit)):
            raise ParseError(f"the tag <{key}> stands more than once", text=text)
        found[key] = text[opening.end() : hits[end].start() if end < len(hits) else len(text)]
        at = end
    return found, growing
