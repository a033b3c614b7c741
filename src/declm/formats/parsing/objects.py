"""Fit a raw value to an object: members by their names in any spelling, what stands around them, what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from declm.formats.parsing import scalars
from declm.formats.parsing.fitting import COSTS, Fit, Fitter, Misfit, cheapest
from declm.formats.parsing.nodes import Bare, Raw, Repair, is_list, is_object
from declm.formats.parsing.shapes import Items, Member, Pairs, Record, Scalar, Shape, bare
from declm.formats.parsing.singles import plain, shown

WRAPPERS = 3
"""Objects and lists of one around the wanted object that are taken away."""


def record(fitter: Fitter, raw: Raw, shape: Record, path: str) -> Fit:
    """An object with known members.

    Raises:
        Misfit: the value does not hold them.
    """
    if isinstance(raw, str):
        return from_text(fitter, raw, shape, path)
    if is_object(raw):
        return _object(fitter, raw, shape, path)
    if shape.positional and len(raw) == len(shape.members):
        return _object(fitter, dict(zip(shape.members, raw, strict=True)), shape, path)
    inner, repairs = unwrapped(raw)
    ways: list[Callable[[], Fit]] = []
    if is_object(inner):
        ways.append(lambda: _repaired(_object(fitter, inner, shape, path), repairs, path))
    if len(shape.members) == 1 or _lone(shape) is not None:
        ways.append(lambda: _lone_member(fitter, raw, shape, path))
    return cheapest(ways, None if ways else Misfit(f"a list, where an object is wanted ({shown(raw)})", path))


def unwrapped(raw: Raw) -> tuple[Raw, list[str]]:
    """The first value inside lists of one that is no such list, and what was taken away."""
    repairs: list[str] = []
    while is_list(raw) and len(raw) == 1 and len(repairs) < WRAPPERS:
        raw = raw[0]
        repairs.append("list of one for a value")
    return raw, repairs


def _repaired(fit: Fit, repairs: Iterable[str], path: str) -> Fit:
    for kind in repairs:
        fit = fit.with_repair(kind, path)
    return fit


def _object(fitter: Fitter, raw: dict[str, Raw], shape: Record, path: str, wrappers: int = WRAPPERS) -> Fit:
    names = matched(raw, shape)
    missing = next((key for key, member in shape.members.items() if member.required and key not in names), None)
    if missing is not None:
        return _inside(fitter, raw, shape, path, missing, wrappers)
    if not names and shape.members and raw:
        return _inside(fitter, raw, shape, path, "", wrappers)
    cost = 0.0
    values: dict[str, Any] = {}
    repairs: list[Repair] = []
    for key, member in shape.members.items():
        if key not in names:
            cost += COSTS["default"]
            continue
        name = names[key]
        if name == key and is_text(raw[name], member.shape):
            values[key] = raw[name]
            continue
        place = join(path, key)
        found = fit_member(fitter, raw[name], member, place)
        if found is None:
            continue
        if name not in (key, *member.spellings):
            found = found.with_repair("spelling of a key", place, name)
        values[key] = found.value
        cost += found.cost
        repairs += found.repairs
    more = [name for name in raw if name not in set(names.values())] if len(names) < len(raw) else []
    if shape.open:
        values |= {name: plain(raw[name]) for name in more}
        more = []
    repairs += [Repair("extra key", path, name[:80]) for name in more]
    return Fit(values, cost + COSTS["extra key"] * len(more), tuple(repairs))


def is_text(raw: Raw, shape: Shape) -> bool:
    """Whether a text stands in quotes where a text is wanted: most values do."""
    return type(raw) is str and isinstance(shape, Scalar) and shape.kind == "text"


def fit_member(fitter: Fitter, raw: Raw, member: Member, path: str) -> Fit | None:
    """The fit of a member's value; None for a default in place of "n/a" and the like."""
    try:
        return fitter.fit(raw, member.shape, path)
    except Misfit:
        if not member.required and (raw is None or (isinstance(raw, str) and scalars.says_nothing(raw))):
            return None
        raise


def _inside(fitter: Fitter, raw: dict[str, Raw], shape: Record, path: str, missing: str, wrappers: int) -> Fit:
    """The fit of the only value of an object that holds the wanted one."""
    refused = Misfit("missing", join(path, missing)) if missing else Misfit(f"none of the keys {_told(shape)}", path)
    if len(raw) == 1:
        ((name, value),) = raw.items()
        inner, repairs = unwrapped(value)
        if is_object(inner) and wrappers:
            try:
                found = _object(fitter, inner, shape, path, wrappers - 1)
            except Misfit:
                pass
            else:
                return _repaired(found, repairs, path).with_repair("object around a value", path, name)
    if raw and missing and len(shape.members) == 1 and not isinstance(bare(shape.members[missing].shape), Scalar):
        return _lone_member(fitter, raw, shape, path)
    raise refused


def _lone(shape: Record) -> Member | None:
    """The only member that is required, if it is a list."""
    required = [member for member in shape.members.values() if member.required]
    return required[0] if len(required) == 1 and isinstance(bare(required[0].shape), Items) else None


def _lone_member(fitter: Fitter, raw: Raw, shape: Record, path: str) -> Fit:
    member = _lone(shape) or next(iter(shape.members.values()))
    if isinstance(bare(member.shape), Record):
        raise Misfit(f"no object ({shown(raw)})", path)
    found = fitter.fit(raw, member.shape, join(path, member.key))
    return Fit({member.key: found.value}, found.cost, found.repairs).with_repair("field without its object", path)


def from_text(fitter: Fitter, raw: str, shape: Shape, path: str) -> Fit:
    """What the JSON inside a text fits as.

    Raises:
        Misfit: there is none that fits.
    """
    refused = Misfit(f"text, where {shape.name} is wanted ({shown(raw)})", path)
    ways = [partial(fitter.fit, value, shape, path) for value in fitter.inside(raw)]
    return cheapest(ways, refused).with_repair("JSON inside a text", path)


def pairs(fitter: Fitter, raw: Raw, shape: Pairs, path: str) -> Fit:
    """A mapping from any keys to values.

    Raises:
        Misfit: the value is none.
    """
    if isinstance(raw, str):
        return from_text(fitter, raw, shape, path)
    inner, repairs = unwrapped(raw)
    if not is_object(inner):
        raise Misfit(f"a list, where an object is wanted ({shown(raw)})", path)
    ways = [lambda: _mapping(fitter, inner, shape, path)]
    ((name, value),) = inner.items() if len(inner) == 1 else (("", None),)
    if is_object(value) and not path:
        ways.insert(0, lambda: _mapping(fitter, value, shape, path).with_repair("object around a value", path, name))
    return _repaired(cheapest(ways), repairs, path)


def _mapping(fitter: Fitter, raw: dict[str, Raw], shape: Pairs, path: str) -> Fit:
    cost = 0.0
    values: dict[str, Any] = {}
    repairs: list[Repair] = []
    for name, value in raw.items():
        place = join(path, name)
        key, found = fit_key(fitter, name, shape.key, place), fitter.fit(value, shape.value, place)
        values[name if isinstance(shape.key, Scalar) else str(key.value)] = found.value
        cost += found.cost + key.cost
        repairs += [*(one for one in key.repairs if one.kind != "unquoted"), *found.repairs]
    return Fit(values, cost, tuple(repairs))


def fit_key(fitter: Fitter, name: str, shape: Shape, path: str) -> Fit:
    """What a key says: keys stand in quotes whatever their type, so that `"1"` may be a number, and `"null"` a text."""
    try:
        return fitter.fit(Bare(name), shape, path)
    except Misfit:
        return fitter.fit(name, shape, path)


def matched(raw: Mapping[str, Raw], shape: Record) -> dict[str, str]:
    """The names of a reply by the key that they mean: exact names first."""
    names: dict[str, str] = {}
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


def join(path: str, key: str) -> str:
    """The path of a member."""
    return f"{path}.{key}" if path else key


def _told(shape: Record) -> str:
    return ", ".join(f"`{key}`" for key in shape.members)
