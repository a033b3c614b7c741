"""`split`: seeded parts of a data set, without leaks between them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import TypeVar

from pydantic import BaseModel

from declm.errors import UsageError
from declm.specs import spec
from declm.text import canonical, digest

S = TypeVar("S", bound=BaseModel)


def split(
    rows: Sequence[S],
    *sizes: float | EllipsisType,
    seed: int = 0,
    by: str | Callable[[S], object] | None = None,
) -> tuple[list[S], ...]:
    """Split rows at random into parts; the same seed gives the same parts on every machine.

    Rows with equal inputs stay together, so that no part holds the answer to a row of another. With
    such duplicates, sizes are met as closely as their groups allow.

    Args:
        rows: what to split.
        sizes: one per part: a count (int), a share of all rows (float), or `...` for the rest. Rows
            that no part asks for are left out.
        seed: another seed gives other parts.
        by: a field (by key) or a function of the row: every part gets its share of each value.

    Raises:
        UsageError: the sizes don't fit the rows, or there is no such field.

    Example:
        >>> from declm import Input, Signature
        >>> class Text(Signature):
        ...     text: str = Input()
        >>> train, val = split([Text(text=str(i)) for i in range(10)], 0.8, ...)
        >>> len(train), len(val)
        (8, 2)
    """
    counts = _counts(sizes, len(rows))
    wanted = [*counts, len(rows) - sum(counts)]  # the last part is what nobody asked for
    groups = list(_groups(rows).values())
    random.Random(seed).shuffle(groups)
    strata: dict[str, list[list[S]]] = {}
    for group in groups:
        strata.setdefault(_label(group[0], by), []).append(group)
    parts: list[list[S]] = [[] for _ in wanted]
    for stratum in strata.values():
        _deal(stratum, parts, wanted, len(rows))
    rng = random.Random(seed)
    for part in parts:
        rng.shuffle(part)  # dealing has left them ordered by stratum
    return tuple(parts[:-1])


def _counts(sizes: Sequence[float | EllipsisType], n: int) -> list[int]:
    if not sizes or sizes.count(...) > 1:
        raise UsageError("give one size per part, and `...` at most once: split(rows, 0.8, ...)")
    given: list[float] = [size for size in sizes if not isinstance(size, EllipsisType)]
    for size in given:
        if type(size) is bool or size <= 0 or (isinstance(size, float) and size > 1):
            raise UsageError(f"a part of size {size!r}: sizes are counts above 0, or shares above 0.0 and up to 1.0")
    whole = sum(size for size in given if not isinstance(size, float))
    shares = [size for size in given if isinstance(size, float)]
    if whole > n or sum(shares) > 1 + 1e-9 or whole + sum(shares) * n > n + 0.5:
        raise UsageError(f"{len(given)} parts of sizes {given} ask for more than the {n} rows")
    # Shares are rounded so that they add up: each takes what the rounded sum of those before it leaves.
    exact, used = 0.0, 0
    found: list[int] = []
    for part in sizes:
        if isinstance(part, float):
            exact += part * n
            found.append(round(exact + 1e-9) - used)
            used += found[-1]
        else:
            found.append(0 if isinstance(part, EllipsisType) else part)
    if ... in sizes:
        found[sizes.index(...)] = n - sum(found)
    if min(found) < 1:
        raise UsageError(f"split of {n} rows into {found}: a part would be empty")
    return found


def _groups(rows: Sequence[S]) -> dict[str, list[S]]:
    """Rows by the content of their inputs."""
    found: dict[str, list[S]] = {}
    for row in rows:
        found.setdefault(digest(spec(type(row)).dump(row)[0]), []).append(row)
    return found


def _label(row: S, by: str | Callable[[S], object] | None) -> str:
    if by is None:
        return ""
    if callable(by):
        return repr(by(row))
    values = row.model_dump(mode="json", by_alias=True)
    if by not in values:
        raise UsageError(f"by={by!r}: the row {row!r} has no such value")
    return canonical(values[by])


def _deal(groups: list[list[S]], parts: list[list[S]], wanted: Sequence[int], n: int) -> None:
    """Give each group of one stratum to the part that lacks most of its share; large groups first."""
    size = sum(len(group) for group in groups)
    lacking = [size * count / n for count in wanted]
    for group in sorted(groups, key=len, reverse=True):
        room = [count - len(part) for count, part in zip(wanted, parts, strict=True)]
        best = max(range(len(parts)), key=lambda i: (room[i] >= len(group), lacking[i] if room[i] > 0 else -n, room[i]))
        parts[best] += group
        lacking[best] -= len(group)
