"""Fit a raw value to a shape: schema-aligned coercion, with a cost for everything that had to be bent.

Of several ways the cheapest wins, the first of those that cost the same. What cannot be known is
refused: a `Misfit` says where and why.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from declm.formats.parsing import lists, objects, scalars, singles
from declm.formats.parsing.fitting import COSTS, Fit, Misfit
from declm.formats.parsing.labels import SENTENCE
from declm.formats.parsing.nodes import Bare, Raw, Repair, is_list, is_object
from declm.formats.parsing.shapes import (
    OPAQUE,
    Choices,
    Either,
    Embedded,
    Guarded,
    Items,
    Pairs,
    Record,
    Scalar,
    Shape,
    bare,
)

_UNION_DEPTH = 60
"""Nesting of unions inside of unions that is tried."""


@dataclass(slots=True)
class Members:
    """The fields of an object that could be read, and what is wrong with the others, by key.

    A field that is missing stands in neither.
    """

    values: dict[str, Any]
    problems: dict[str, str]
    cost: float = 0.0
    repairs: tuple[Repair, ...] = ()


_PROBLEM = 20.0
"""Cost of a field that can't be read, so that a reading with more good fields wins."""

_MISSING = 10.0

Reader = Callable[[str], "Iterable[Raw]"]
"""Reads the values that a text may hold as JSON."""


class Aligner:
    """Fits raw values to shapes; `inside` reads JSON out of a text.

    What was made of a value in brackets is kept, so that the options of unions inside of each other don't
    multiply: time stays linear. The values must live as long as the aligner does.
    """

    def __init__(self, inside: Reader) -> None:
        self._inside = inside
        self._depth = 0
        self._known: dict[tuple[int, int, str], Fit | Misfit] = {}
        self._held: list[Raw] = []

    def fit(self, raw: Raw, shape: Shape, path: str = "") -> Fit:
        """The cheapest way to read `raw` as `shape`.

        Raises:
            Misfit: there is none.
        """
        if isinstance(shape, Scalar):
            return self._scalar(as_raw(raw), shape, path)
        if not (is_object(raw) or is_list(raw)):
            return self._fit(as_raw(raw), shape, path)
        place = (id(raw), id(shape), path)
        found = self._known.get(place)
        if found is None:
            try:
                found = self._fit(raw, shape, path)
            except Misfit as misfit:
                found = misfit
            self._known[place] = found
            self._held.append(raw)
        if isinstance(found, Misfit):
            raise Misfit(found.reason, found.path)
        return found

    def inside(self, raw: str) -> Iterable[Raw]:
        """The values that a text may hold as JSON."""
        return self._inside(raw)

    def members(self, raw: Mapping[str, Raw], shape: Record) -> Members:
        """The fields of `shape` that `raw` holds, each fitted alone."""
        names = objects.matched(raw, shape)
        cost = 0.0
        values: dict[str, Any] = {}
        problems: dict[str, str] = {}
        repairs: list[Repair] = []
        for key, member in shape.members.items():
            if key not in names:
                cost += _MISSING if member.required else COSTS["default"]
                continue
            try:
                found = objects.fit_member(self, raw[names[key]], member, key)
            except Misfit as misfit:
                problems[key] = misfit.told
                cost += _PROBLEM
                continue
            if found is not None:
                values[key] = found.value
                cost += found.cost
                repairs += found.repairs
        return Members(values, problems, cost + COSTS["extra key"] * (len(raw) - len(names)), tuple(repairs))

    def _fit(self, raw: Raw, shape: Shape, path: str) -> Fit:
        if isinstance(shape, Record):
            return objects.record(self, raw, shape, path)
        if isinstance(shape, Items):
            return lists.items(self, raw, shape, path)
        if isinstance(shape, Either):
            return self._either(raw, shape, path)
        if isinstance(shape, Pairs):
            return objects.pairs(self, raw, shape, path)
        if isinstance(shape, Choices):
            return self._unwrapped(raw, shape, path) if is_container(raw) else singles.choice(raw, shape, path)
        if isinstance(shape, Embedded):
            return self._embedded(raw, shape, path)
        if isinstance(shape, Guarded):
            return self._guarded(raw, shape, path)
        return self._scalar(raw, shape, path)

    def _guarded(self, raw: Raw, shape: Guarded, path: str) -> Fit:
        """What a validator of the user's takes as it stands, where that would have to be bent."""
        if bare(shape) is OPAQUE:
            return self._opaque(raw, shape, path)
        found: Fit | Misfit
        try:
            found = self.fit(raw, shape.shape, path)
        except Misfit as misfit:
            found = misfit
        is_right = isinstance(found, Fit) and (is_container(raw) or not found.repairs)
        value = singles.plain(raw)
        if not is_right and shape.refusal(value) is None:
            return Fit(value, COSTS["unquoted"])
        if isinstance(found, Misfit):
            raise found
        return found

    def _opaque(self, raw: Raw, shape: Guarded, path: str) -> Fit:
        """A value of a type that is only known to Pydantic: as JSON, or as a text."""
        refusal = shape.refusal(value := singles.plain(raw))
        if refusal is None:
            return Fit(value)
        if isinstance(raw, Bare) and not scalars.is_null(raw) and shape.refusal(text := raw.strip()) is None:
            return Fit(text, COSTS["unquoted"])
        raise Misfit(f"{refusal} ({singles.shown(raw)})", path)

    # Unions

    def _either(self, raw: Raw, shape: Either, path: str) -> Fit:
        if self._depth > _UNION_DEPTH:
            raise Misfit("too many unions inside of each other", path)
        self._depth += 1
        try:
            return self._best_option(raw, shape, path)
        finally:
            self._depth -= 1

    def _best_option(self, raw: Raw, shape: Either, path: str) -> Fit:
        fits: list[Fit] = []
        misfits: list[Misfit] = []
        for option in shape.options:
            try:
                found = self.fit(raw, option, path)
            except Misfit as misfit:
                misfits.append(misfit)
                continue
            fits.append(found)
            if not found.cost:
                break
        if not fits:
            raise max(misfits, key=lambda misfit: len(misfit.path))
        best = min(fits, key=lambda fit: fit.cost)
        if best.repairs and best.repairs[0].kind == SENTENCE:
            rivals = [one for one in fits if one.cost == best.cost and one.value != best.value]
            if rivals:
                raise Misfit(f"a sentence that may mean {best.value!r} or {rivals[0].value!r}", path)
        return best

    # Single values

    def _scalar(self, raw: Raw, shape: Scalar, path: str) -> Fit:
        kind = shape.kind
        if kind == "any":
            return Fit(singles.plain(raw))
        if kind == "text":
            return singles.text(raw, path)
        if is_container(raw):
            return self._unwrapped(raw, shape, path)
        if kind == "null":
            return singles.null(raw, path)
        if kind in ("integer", "number", "decimal"):
            return singles.number(raw, shape, path)
        if kind == "boolean":
            return singles.found(scalars.boolean(raw), raw, "true or false", path)
        return singles.temporal(raw, shape, path)

    def _unwrapped(self, raw: dict[str, Raw] | list[Raw], shape: Scalar | Choices, path: str) -> Fit:
        """The only value of a list or object, where a single one is wanted."""
        if len(raw) == 1:
            (inner,) = raw.values() if is_object(raw) else raw
            kind = "object around a value" if is_object(raw) else "list of one for a value"
            if not is_container(inner):
                return self.fit(inner, shape, path).with_repair(kind, path)
        if is_object(raw) and isinstance(shape, Choices):
            return singles.choice_among(raw, shape, path)
        raise Misfit(f"{'an object' if is_object(raw) else 'a list'}, where {shape.name} is wanted", path)

    def _embedded(self, raw: Raw, shape: Embedded, path: str) -> Fit:
        if isinstance(raw, str):
            found = objects.from_text(self, raw, shape.shape, path)
        else:
            found = self.fit(raw, shape.shape, path)
        return Fit(json.dumps(found.value, ensure_ascii=False), found.cost, found.repairs)


def is_container(raw: Raw) -> bool:
    """Whether a raw value is an object or a list."""
    return is_object(raw) or is_list(raw)


def as_raw(raw: Raw) -> Raw:
    """A value as the scanner would have read it; the strict reader yields true, false and null as such."""
    return Bare(json.dumps(raw)) if raw is None or isinstance(raw, bool) else raw
