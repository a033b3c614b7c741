"""What lenient reading yields: JSON values whose unquoted texts are still texts, and what had to be repaired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from typing_extensions import TypeIs

Raw = Any
"""A dict, a list, a `str` for what stood in quotes, or a `Bare`: no other scalars."""

DEPTH_LIMIT = 200
"""Nesting that a reply may have."""

TOO_DEEP = f"nested deeper than {DEPTH_LIMIT} levels"

TWICE = "a key that stands twice"


class Bare(str):
    """Text without quotes: a number, `true`, or words; the type wanted decides which."""

    __slots__ = ()


class Cut(str):
    """Quoted text that the reply broke off in."""

    __slots__ = ()


class CutBare(Bare):
    """Unquoted text at the very end of a reply, which may have been longer."""

    __slots__ = ()


class OpenDict(dict[str, Any]):
    """An object that the reply broke off in."""

    __slots__ = ()


class OpenList(list[Any]):
    """A list that the reply broke off in."""

    __slots__ = ()


class Lines(dict[str, Any]):
    """An object of lines `key: value`, which may have been meant as text.

    Attributes:
        text: the lines as they stood there.
    """

    __slots__ = ("text",)

    def __init__(self, members: Mapping[str, Any], text: str) -> None:
        super().__init__(members)
        self.text = text


def is_object(raw: Raw) -> TypeIs[dict[str, Raw]]:
    """Whether a raw value is an object."""
    return isinstance(raw, dict)


def is_list(raw: Raw) -> TypeIs[list[Raw]]:
    """Whether a raw value is a list."""
    return isinstance(raw, list)


@dataclass(frozen=True, slots=True)
class Repair:
    """One thing in a reply that was not as it should be.

    Attributes:
        kind: what was done, such as `missing quote` or `case`.
        path: the value concerned, such as `people[0].age`; empty for the reply as a whole.
        detail: the text in question, shortened; may be empty.
    """

    kind: str
    path: str = ""
    detail: str = ""

    def below(self, key: str) -> Repair:
        """The same, of a value that stands at `key`."""
        inside = self.path if self.path.startswith("[") or not self.path else f".{self.path}"
        return Repair(self.kind, f"{key}{inside}", self.detail)

    def __str__(self) -> str:
        place = f"{self.path}: " if self.path else ""
        return f"{place}{self.kind}{f' ({self.detail})' if self.detail else ''}"


class Unreadable(Exception):
    """The reply is nested too deep, or broken in too many places; `args[0]` says which."""

    @property
    def reason(self) -> str:
        """What is wrong, in words."""
        return str(self.args[0])
