"""Read the values that a model was asked for from what it wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from declm.errors import ParseError
from declm.formats.parsing.lenient import DEPTH_LIMIT, container, objects

__all__ = ["DEPTH_LIMIT", "SIZE_LIMIT", "parse_object", "parse_value"]

SIZE_LIMIT = 16_000_000
"""Characters that a reply may have."""

_FENCE = re.compile(r"```[\w-]*\n(.*?)\n?```", re.DOTALL)
_SEPARATORS = re.compile(r"[\s_\-]+")
_TOKENS = re.compile(r'\\.|["\[\]{}]', re.DOTALL)


class _NotJSON(Exception):
    """The text is no JSON as it stands."""


def parse_object(text: str, keys: Collection[str]) -> dict[str, Any]:
    """Read one JSON object with some of `keys`; time linear in the length of `text`.

    Keys are compared without case, spaces, underscores and hyphens; unknown ones are dropped.

    Raises:
        ParseError: the text is too long or too deep, or holds no such object.
    """
    _check_size(text)
    try:
        found = _strict(text)
    except _NotJSON:
        found = None
    if isinstance(found, dict):
        return _matching(found, keys)  # pyright: ignore[reportUnknownArgumentType]  # members are any JSON
    for candidate in objects(text):
        matching = _matching(candidate, keys)
        if matching:
            return matching
    raise ParseError(f"the reply holds no JSON object with {_listed(keys)}", text=text)


def parse_value(text: str) -> Any:
    """Read any JSON value, a fence around it allowed; what is none is returned as the text it is.

    Raises:
        ParseError: the text is too long or too deep.
    """
    _check_size(text)
    fenced = _FENCE.fullmatch(text)
    bare = fenced.group(1) if fenced else text
    try:
        return _strict(bare)
    except _NotJSON:
        found = container(bare)
        return text if found is None else found


def _strict(text: str) -> Any:
    _check_depth(text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, or an integer of thousands of digits
        raise _NotJSON from error


def _check_size(text: str) -> None:
    if len(text) > SIZE_LIMIT:
        raise ParseError(f"the reply has {len(text):,} characters; the limit is {SIZE_LIMIT:,}", text=text[:300])


def _check_depth(text: str) -> None:
    """Refuse deep nesting before a recursive reader meets it."""
    if text.count("{") + text.count("[") <= DEPTH_LIMIT:
        return
    depth, quoted = 0, False
    for token in _TOKENS.findall(text):
        if token == '"':
            quoted = not quoted
        elif not quoted and token in "{[":
            depth += 1
            if depth > DEPTH_LIMIT:
                raise ParseError(f"the reply is nested deeper than {DEPTH_LIMIT} levels", text=text[:300])
        elif not quoted and token in "}]":
            depth -= 1


def _matching(found: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """The values of `keys`, exact names first, in the order of `keys`."""
    if found.keys() <= set(keys):
        return {key: found[key] for key in keys if key in found}
    folded = dict[str, Any]()
    for name, value in found.items():
        folded.setdefault(_fold(name), value)
    matching = dict[str, Any]()
    for key in keys:
        if key in found:
            matching[key] = found[key]
        elif _fold(key) in folded:
            matching[key] = folded[_fold(key)]
    return matching


def _fold(name: str) -> str:
    return _SEPARATORS.sub("", name).casefold()


def _listed(keys: Collection[str]) -> str:
    return ", ".join(f"`{key}`" for key in keys)
