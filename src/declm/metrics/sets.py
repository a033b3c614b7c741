"""F1 of two collections, order aside."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pydantic_core import to_jsonable_python

from declm.text import canonical

T = TypeVar("T")


def set_f1(gold: Iterable[T], got: Iterable[T], *, key: Callable[[T], Any] | None = None) -> float:
    """Harmonic mean of precision and recall over distinct items, in [0, 1]; 1.0 if both are empty.

    Items are compared by content: texts, numbers, lists, dicts and Pydantic objects all work. The
    mean over rows is not the micro F1 of a corpus, which weights rows by their items.

    Args:
        gold: the expected items.
        got: the items that were found.
        key: what to compare of an item, for instance `str.lower`; None compares the whole.

    Example:
        >>> set_f1(["a", "b"], ["b", "c"])
        0.5
    """
    expected, found = _contents(gold, key), _contents(got, key)
    if not expected and not found:
        return 1.0
    return 2.0 * len(expected & found) / (len(expected) + len(found))


def _contents(items: Iterable[T], key: Callable[[T], Any] | None) -> set[str]:
    return {canonical(to_jsonable_python(item if key is None else key(item))) for item in items}
