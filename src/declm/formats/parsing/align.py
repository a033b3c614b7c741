"""Fit a raw value to a shape: schema-aligned coercion, with a cost for everything that had to be bent.

Of several ways the cheapest wins, the first of those that cost the same. What cannot be known is
refused: a `Misfit` says where and why.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from declm.formats.parsing import scalars, singles
from declm.formats.parsing.nodes import Bare, Raw, Repair, is_list, is_object
from declm.formats.parsing.shapes import Choices, Either, Embedded, Items, Member, Pairs, Record, Scalar, Shape
from declm.formats.parsing.singles import COSTS, Fit, Misfit, plain, shown

_UNION_DEPTH = 60
"""Nesting of unions inside of unions that is tried."""


@dataclass(frozen=True, slots=True)
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
    """Fits raw values to shapes; `inside` reads JSON out of a text."""

    def __init__(self, inside: Reader) -> None:
        self._inside = inside
        self._depth = 0

    def fit(self, raw: Raw, shape: Shape, path: str = "") -> Fit:
        """The cheapest way to read `raw` as `shape`.

        Raises:
            Misfit: there is none.
        """
        if raw is None or isinstance(raw, bool):  # from a strict reader
            raw = Bare(json.dumps(raw))
        if isinstance(shape, Record):
            return self._record(raw, shape, path)
        if isinstance(shape, Scalar):
            return self._scalar(raw, shape, path)
        if isinstance(shape, Items):
            return self._items(raw, shape, path)
        if isinstance(shape, Either):
            return self._either(raw, shape, path)
        if isinstance(shape, Choices):
            return self._choices(raw, shape, path)
        if isinstance(shape, Pairs):
            return self._pairs(raw, shape, path)
        return self._embedded(raw, shape, path)

    def members(self, raw: Mapping[str, Raw], shape: Record) -> Members:
        """The fields of `shape` that `raw` holds, each fitted alone."""
        names = matched(raw, shape)
        values, problems, cost, repairs = dict[str, Any](), dict[str, str](), 0.0, list[Repair]()
        for key, member in shape.members.items():
            if key not in names:
                cost += _MISSING if member.required else COSTS["default"]
                continue
            try:
                found = self._member(raw[names[key]], member, key)
            except Misfit as misfit:
                problems[key] = misfit.told
                cost += _PROBLEM
                continue
            if found is not None:
                values[key] = found.value
                cost += found.cost
                repairs += found.repairs
        return Members(values, problems, cost + COSTS["extra key"] * (len(raw) - len(names)), tuple(repairs))

    # Objects

    def _record(self, raw: Raw, shape: Record, path: str) -> Fit:
        if is_object(raw):
            return self._object(raw, shape, path)
        if isinstance(raw, str):
            return self._from_text(raw, shape, path)
        if shape.positional and len(raw) == len(shape.members):
            return self._object(dict(zip(shape.members, raw, strict=True)), shape, path)
        if len(raw) == 1 and is_object(raw[0]):
            return self.fit(raw[0], shape, path).with_repair("list of one for a value", path)
        if len(shape.members) == 1:
            return self._lone_member(raw, shape, path)
        raise Misfit(f"a list, where an object is wanted ({shown(raw)})", path)

    def _object(self, raw: dict[str, Raw], shape: Record, path: str) -> Fit:
        names = matched(raw, shape)
        values, cost, repairs = dict[str, Any](), 0.0, list[Repair]()
        for key, member in shape.members.items():
            if key not in names:
                if member.required:
                    return self._wrapped(raw, shape, path, key)
                cost += COSTS["default"]
                continue
            name = names[key]
            place = _join(path, key)
            found = self._member(raw[name], member, place)
            if found is None:
                continue
            if name not in (key, *member.spellings):
                found = found.with_repair("spelling of a key", place, name)
            values[key] = found.value
            cost += found.cost
            repairs += found.repairs
        taken = set(names.values())
        for name, value in raw.items():
            if name not in taken:
                if shape.open:
                    values[name] = plain(value)
                    continue
                cost += COSTS["extra key"]
                repairs.append(Repair("extra key", path, name[:80]))
        if not names and shape.members and raw:
            raise Misfit(f"none of the keys {_listed(shape.members)}", path)
        return Fit(values, cost, tuple(repairs))

    def _member(self, raw: Raw, member: Member, path: str) -> Fit | None:
        """The fit of a member's value; None for a default in place of "n/a" and the like."""
        try:
            return self.fit(raw, member.shape, path)
        except Misfit:
            if not member.required and (raw is None or (isinstance(raw, str) and scalars.says_nothing(raw))):
                return None
            raise

    def _wrapped(self, raw: dict[str, Raw], shape: Record, path: str, missing: str) -> Fit:
        """The fit of the only value of an object that holds the wanted one."""
        if not raw:
            raise Misfit("missing", _join(path, missing))
        if len(raw) == 1:
            (inner,) = raw.values()
            if is_object(inner):
                try:
                    return self._object(inner, shape, path).with_repair("object around a value", path, next(iter(raw)))
                except Misfit:
                    pass
        if len(shape.members) == 1 and not isinstance(shape.members[missing].shape, Scalar):
            return self._lone_member(raw, shape, path)
        raise Misfit("missing", _join(path, missing))

    def _lone_member(self, raw: Raw, shape: Record, path: str) -> Fit:
        (member,) = shape.members.values()
        if isinstance(member.shape, Record):
            raise Misfit(f"no object ({shown(raw)})", path)
        found = self.fit(raw, member.shape, _join(path, member.key))
        return Fit({member.key: found.value}, found.cost, found.repairs).with_repair("field without its object", path)

    def _from_text(self, raw: str, shape: Shape, path: str) -> Fit:
        """What the JSON inside a text fits as."""
        best: Fit | None = None
        for value in self._inside(raw):
            try:
                found = self.fit(value, shape, path)
            except Misfit:
                continue
            best = found if best is None or found.cost < best.cost else best
        if best is None:
            wanted = "JSON" if isinstance(shape, Either | Embedded) else shape.name
            raise Misfit(f"text, where {wanted} is wanted ({shown(raw)})", path)
        return best.with_repair("JSON inside a text", path)

    def _pairs(self, raw: Raw, shape: Pairs, path: str) -> Fit:
        if isinstance(raw, str):
            return self._from_text(raw, shape, path)
        if not is_object(raw):
            if len(raw) == 1 and is_object(raw[0]):
                return self.fit(raw[0], shape, path).with_repair("list of one for a value", path)
            raise Misfit(f"a list, where an object is wanted ({shown(raw)})", path)
        values, cost, repairs = dict[str, Any](), 0.0, list[Repair]()
        for name, value in raw.items():
            place = _join(path, name)
            key, found = self._key(name, shape.key, place), self.fit(value, shape.value, place)
            values[name if isinstance(shape.key, Scalar) else str(key.value)] = found.value
            cost += found.cost + key.cost
            repairs += [*(r for r in key.repairs if r.kind != "unquoted"), *found.repairs]
        return Fit(values, cost, tuple(repairs))

    def _key(self, name: str, shape: Shape, path: str) -> Fit:
        """What a key says: keys stand in quotes whatever their type, so that `"1"` may be a number, and `"null"` a text."""
        try:
            return self.fit(Bare(name), shape, path)
        except Misfit:
            return self.fit(name, shape, path)

    # Lists

    def _items(self, raw: Raw, shape: Items, path: str) -> Fit:
        if is_list(raw):
            return self._listed(raw, shape, path)
        if isinstance(raw, str):
            return self._items_from_text(raw, shape, path)
        ways: list[Callable[[], Fit]] = [lambda: self._single(raw, shape, path)]
        if len(raw) == 1:
            (inner,) = raw.values()
            if is_list(inner):
                ways.insert(0, lambda: self._listed(inner, shape, path).with_repair("object around a value", path))
        return _cheapest(ways)

    def _listed(self, raw: list[Raw], shape: Items, path: str) -> Fit:
        if shape.fixed and (len(raw) < len(shape.fixed) or (shape.item is None and len(raw) > len(shape.fixed))):
            raise Misfit(f"{len(raw)} values, where {len(shape.fixed)} are wanted", path)
        if shape.item is None and not shape.fixed and raw:
            raise Misfit("values, where none are wanted", path)
        values, cost, repairs = list[Any](), 0.0, list[Repair]()
        for at, item in enumerate(raw):
            wanted = shape.fixed[at] if at < len(shape.fixed) else cast("Shape", shape.item)
            found = self.fit(item, wanted, f"{path}[{at}]")
            values.append(found.value)
            cost += found.cost
            repairs += found.repairs
        return Fit(values, cost, tuple(repairs))

    def _items_from_text(self, raw: str, shape: Items, path: str) -> Fit:
        entries = scalars.listed(raw)
        if entries is not None:
            return self._listed([Bare(one) for one in entries], shape, path).with_repair("list in words", path)
        ways: list[Callable[[], Fit]] = []
        if raw.lstrip()[:1] in ("[", "{", "(", "`", '"'):
            ways.append(lambda: self._list_inside(raw, shape, path))
        ways.append(lambda: self._single(raw, shape, path))
        return _cheapest(ways)

    def _list_inside(self, raw: str, shape: Items, path: str) -> Fit:
        for value in self._inside(raw):
            if is_list(value):
                return self._listed(value, shape, path).with_repair("JSON inside a text", path)
        raise Misfit(f"no list ({shown(raw)})", path)

    def _single(self, raw: Raw, shape: Items, path: str) -> Fit:
        if shape.fixed or shape.item is None or (isinstance(raw, Bare) and scalars.is_null(raw)):
            raise Misfit(f"no {shape.name} ({shown(raw)})", path)
        if isinstance(raw, str) and not raw.strip():
            raise Misfit("an empty text, where a list is wanted", path)
        if isinstance(raw, Bare) and not path and isinstance(shape.item, Scalar) and shape.item.kind in ("text", "any"):
            raise Misfit(f"words, where a list is wanted ({shown(raw)})", path)
        found = self.fit(raw, shape.item, path)
        return Fit([found.value], found.cost, found.repairs).with_repair("single value for a list", path)

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
        best: Fit | None = None
        misfits = list[Misfit]()
        for option in shape.options:
            try:
                found = self.fit(raw, option, path)
            except Misfit as misfit:
                misfits.append(misfit)
                continue
            if best is None or found.cost < best.cost:
                best = found
            if not best.cost:
                break
        if best is None:
            raise max(misfits, key=lambda misfit: len(misfit.path))
        return best

    # Single values

    def _scalar(self, raw: Raw, shape: Scalar, path: str) -> Fit:
        kind = shape.kind
        if kind == "any":
            return Fit(plain(raw))
        if kind == "text":
            return singles.text(raw, path)
        if kind == "opaque":
            return singles.left_to_pydantic(raw)
        if is_object(raw) or is_list(raw):
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
            if not (is_object(inner) or is_list(inner)):
                return self.fit(inner, shape, path).with_repair(kind, path)
        raise Misfit(f"{'an object' if is_object(raw) else 'a list'}, where {shape.name} is wanted", path)

    def _choices(self, raw: Raw, shape: Choices, path: str) -> Fit:
        if is_object(raw) or is_list(raw):
            return self._unwrapped(raw, shape, path)
        value = scalars.literal(raw) if isinstance(raw, Bare) else str(raw)
        for known in shape.values:
            if type(known) is type(value) and known == value:
                return Fit(known)
        found = scalars.chosen(raw, shape.names)
        if found is None:
            wanted = ", ".join(json.dumps(one, ensure_ascii=False, default=str) for one in shape.values)
            raise Misfit(f"must be one of {wanted} ({shown(raw)})", path)
        kind = found[1]
        if not kind:
            return Fit(found[0], COSTS["unquoted"])
        return Fit(found[0]).with_repair(kind, path, raw)

    def _embedded(self, raw: Raw, shape: Embedded, path: str) -> Fit:
        found = self._from_text(raw, shape.shape, path) if isinstance(raw, str) else self.fit(raw, shape.shape, path)
        return Fit(json.dumps(found.value, ensure_ascii=False), found.cost, found.repairs)


def matched(raw: Mapping[str, Raw], shape: Record) -> dict[str, str]:
    """The names of a reply by the key that they mean: exact names first."""
    names = dict[str, str]()
    for key, member in shape.members.items():
        for name in (key, *member.spellings):
            if name in raw:
                names[key] = name
                break
    if len(names) == len(raw):
        return names
    taken = set(names.values())
    for name in raw:
        meant = shape.folded.get(scalars.fold(name))
        if name not in taken and meant is not None and meant not in names:
            names[meant] = name
    return names


def _cheapest(ways: Iterable[Callable[[], Fit]]) -> Fit:
    best: Fit | None = None
    refused: Misfit | None = None
    for way in ways:
        try:
            found = way()
        except Misfit as misfit:
            refused = refused or misfit
            continue
        best = found if best is None or found.cost < best.cost else best
    if best is None:
        raise refused or Misfit("nothing fits", "")
    return best


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(f"`{key}`" for key in keys)
