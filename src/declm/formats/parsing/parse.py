"""`parse`: the value that a reply means, of any type that Pydantic validates."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Generic, Literal, TypeVar, overload

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from declm.errors import ParseError
from declm.formats.parsing.align import Aligner
from declm.formats.parsing.fitting import Fit, Misfit
from declm.formats.parsing.nodes import TOO_DEEP, Bare, Raw, Repair, Unreadable, is_object
from declm.formats.parsing.reading import (
    LINES,
    Reading,
    answer_part,
    read_brackets,
    read_escaped,
    read_without_brackets,
    whole,
)
from declm.formats.parsing.scanner import Scanner
from declm.formats.parsing.schemas import shape_of
from declm.formats.parsing.shapes import (
    OPAQUE,
    Choices,
    Either,
    Items,
    Pairs,
    Scalar,
    Shape,
    bare,
    holds_decimals,
    known_names,
)

T = TypeVar("T")

SIZE_LIMIT = 16_000_000
"""Characters that a reply may have."""

_QUOTED_LIST = re.compile(r"(\"[^\"\n]*\"|'[^'\n]*')\s*,\s*[\"']")
"""A list in quotes, without its brackets."""

_REPAIR_COST = 0.5
_LINES_COST = 3.0


@dataclass(frozen=True)
class Parsed(Generic[T]):
    """A value, and what had to be repaired in order to read it."""

    value: T
    repairs: tuple[Repair, ...] = ()


@dataclass(eq=False)
class Target:
    """A type to parse for, prepared once."""

    adapter: TypeAdapter[Any]

    @cached_property
    def shape(self) -> Shape:
        """What the parser needs to know of the type."""
        return shape_of(self.adapter)

    @cached_property
    def names(self) -> frozenset[str]:
        """All names of fields."""
        return known_names(self.shape)


@overload
def parse(text: str, type: type[T], *, report: Literal[False] = False, strict: bool = False) -> T: ...
@overload
def parse(text: str, type: type[T], *, report: Literal[True], strict: bool = False) -> Parsed[T]: ...
@overload
def parse(text: str, type: Any, *, report: Literal[False] = False, strict: bool = False) -> Any: ...
@overload
def parse(text: str, type: Any, *, report: Literal[True], strict: bool = False) -> Parsed[Any]: ...
def parse(text: str, type: Any, *, report: bool = False, strict: bool = False) -> Any:
    """Read the value of a type from what a model wrote, in time linear in the length of the text.

    Valid JSON is validated as it stands. Else the text is read leniently (prose and fences around,
    broken quotes and brackets, Python literals, YAML) and fitted to the type (spelling of keys and
    labels, numbers with units, a single value for a list ...). What is ambiguous is refused.

    Args:
        text: the reply.
        type: a class or any other annotation that Pydantic validates.
        report: return a `Parsed` with the value and all repairs.
        strict: refuse a reply that would have to be repaired.

    Raises:
        ParseError: the text does not say such a value, or is longer than `SIZE_LIMIT` or nested
            deeper than `DEPTH_LIMIT`.
    """
    target = target_of(type)
    parsed = parse_for(target, text)
    if strict and parsed.repairs:
        raise ParseError(f"the reply is no valid JSON of that type: {'; '.join(map(str, parsed.repairs))}", text=text)
    return parsed if report else parsed.value


def target_of(type: Any) -> Target:
    """A type to parse for; prepared once where the type can be hashed."""
    try:
        return _target(type)
    except TypeError:
        return Target(TypeAdapter(type))


@lru_cache(maxsize=512)
def _target(type: Any) -> Target:
    return Target(TypeAdapter(type))


def parse_for(target: Target, text: str) -> Parsed[Any]:
    """The value and the repairs that reading it took."""
    check_size(text)
    shape = target.shape
    if isinstance(shape, Scalar) and shape.kind == "text":
        return Parsed(_text(target, text))
    if not holds_decimals(shape):
        try:
            return Parsed(target.adapter.validate_json(text, extra="forbid"))
        except ValueError:  # no JSON, or other JSON
            pass
    problems: list[ValidationError] = []
    for fit in fits(shape, target.names, text):
        value, problem = _validated(target, fit)
        if problem is None:
            return Parsed(value, fit.repairs)
        problems.append(problem)
    raise ParseError(complaint(problems[0]), text=text) from problems[0]


def check_size(text: str) -> None:
    """Refuse what is too long to be read."""
    if len(text) > SIZE_LIMIT:
        raise ParseError(f"the reply has {len(text):,} characters; the limit is {SIZE_LIMIT:,}", text=text[:300])


def fits(shape: Shape, names: Collection[str], text: str) -> Sequence[Fit]:
    """All ways to read a reply, the best first.

    Raises:
        ParseError: there is none.
    """
    search = _Search(shape, names)
    try:
        search.run(answer_part(text))
    except Unreadable as error:
        raise ParseError(f"the reply is {error.reason}", text=text[:300]) from None
    except RecursionError:
        raise ParseError(f"the reply is {TOO_DEEP}", text=text[:300]) from None
    if not search.found:
        raise ParseError(search.reason(), text=text)
    return sorted(search.found, key=lambda fit: fit.cost)


class _Search:
    """Collects what fits from all readings of one reply."""

    def __init__(self, shape: Shape, names: Collection[str]) -> None:
        self._shape, self._names = shape, names
        self._aligner = Aligner(values_inside)
        self._accepted: list[Raw] = []
        """Values that make up a list of which each is one."""
        self._misfits: list[Misfit] = []
        self.found: list[Fit] = []

    def run(self, text: str) -> None:
        shape, names = bare(self._shape), self._names
        structured = _holds_brackets(shape)
        words = whole(text)
        if isinstance(words, Bare) and not words:
            return
        is_bracket = words[:1] in ("{", "[") and shape is not OPAQUE
        if not isinstance(words, Bare) or (_may_be_words(shape) and not is_bracket):
            self._offer(Reading(words), cost=2.0 if structured and "{" in text else 0.0)
            if self.found and not isinstance(words, Bare):
                return
        if self.found and not structured:
            return
        if read_escaped(text, names, self._accept):
            return
        any_key = isinstance(shape, Pairs)
        if not read_brackets(text, names, self._accept) and (names or any_key):
            read_without_brackets(text, names, self._accept, any_key=any_key)
        if isinstance(shape, Items) and len(self._accepted) > 1:
            self._offer(Reading(self._accepted, ("several values for a list",)))

    def reason(self) -> str:
        """What is wrong, of the reading that came furthest."""
        if not self._misfits:
            return "the reply holds no value of that type"
        misfit = max(self._misfits, key=lambda one: len(one.path))
        return misfit.told if misfit.path else f"the reply can't be read: {misfit.reason}"

    def _accept(self, reading: Reading) -> bool:
        if reading.value in ({}, []) and reading.repairs:
            return False if reading.around else self._offer(reading)
        accepted = self._offer(reading)
        shape = bare(self._shape)
        item = bare(shape.item) if isinstance(shape, Items) else None
        if accepted and (is_object(reading.value) or isinstance(item, Items)):
            self._accepted.append(reading.value)
        return accepted

    def _offer(self, reading: Reading, cost: float = 0.0) -> bool:
        try:
            fit = self._aligner.fit(reading.value, self._shape)
        except Misfit as misfit:
            self._misfits.append(misfit)
            return False
        repairs = reading_repairs(reading)
        cost += _REPAIR_COST * len(repairs) + 0.01 * len(self.found) + (_LINES_COST if LINES in reading.repairs else 0)
        self.found.append(Fit(fit.value, fit.cost + cost, (*repairs, *fit.repairs)))
        return True


def reading_repairs(reading: Reading) -> list[Repair]:
    """What reading a value took."""
    return [Repair(kind) for kind in (*(["text around"] if reading.around else ()), *reading.repairs)]


def values_inside(text: str) -> list[Raw]:
    """The values that a text may hold as JSON."""
    found: list[Raw] = []

    def keep(reading: Reading) -> bool:
        found.append(reading.value)
        return True

    bare = text.strip()
    if bare[:1] in ("{", "[", "(", "`", '"'):
        read_brackets(bare, (), keep)
    if not found and _QUOTED_LIST.match(bare):
        found.append(Scanner(bare).read(0, "[")[0])
    return found


def _may_be_words(shape: Shape) -> bool:
    """Whether a reply without brackets may be the value."""
    shape = bare(shape)
    if isinstance(shape, Either):
        return any(_may_be_words(option) for option in shape.options)
    if isinstance(shape, Items):
        return True
    return isinstance(shape, Scalar | Choices)


def _holds_brackets(shape: Shape) -> bool:
    shape = bare(shape)
    if isinstance(shape, Either):
        return any(_holds_brackets(option) for option in shape.options)
    return not isinstance(shape, Scalar | Choices) or (isinstance(shape, Scalar) and shape.kind == "any")


def _text(target: Target, text: str) -> Any:
    """A text alone, kept as it is."""
    value, problem = _validated(target, Fit(text))
    if problem is not None:
        raise ParseError(complaint(problem), text=text) from problem
    return value


def _validated(target: Target, fit: Fit) -> tuple[Any, ValidationError | None]:
    try:
        return validate(target.adapter, fit.value), None
    except ValidationError as error:
        return None, error


def validate(adapter: TypeAdapter[Any], value: Any) -> Any:
    """Validate a value by the rules of JSON, so that strict types take dates and enums."""
    try:
        data = to_json(value)
    except (PydanticSerializationError, ValueError):  # half a surrogate pair, which no JSON carries
        return adapter.validate_python(value)
    return adapter.validate_json(data)


def complaint(error: ValidationError) -> str:
    """What Pydantic found wrong, one line, with places."""
    told = [
        f"{'.'.join(str(part) for part in one['loc']) or 'the value'}: {one['msg']}"
        for one in error.errors(include_url=False)
    ]
    return "; ".join(dict.fromkeys(told))
