"""Types as shapes: what the parser needs to know of a type in order to fit a reply to it.

`declm.formats.parsing.schemas` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal, overload

from pydantic_core import SchemaValidator, ValidationError, to_json
from pydantic_core.core_schema import definitions_schema

from declm.formats.parsing.labels import Labels
from declm.formats.parsing.scalars import fold

Node = Mapping[str, Any]

ScalarKind = Literal["text", "integer", "number", "decimal", "boolean", "null", "temporal", "opaque", "any"]


@dataclass(eq=False)
class Source:
    """Where in a type a shape comes from, for validating a value of it alone."""

    node: Node
    definitions: Mapping[str, Node]

    @cached_property
    def _validator(self) -> SchemaValidator:
        node: Any = dict(self.node)
        if not self.definitions:
            return SchemaValidator(node)
        known: list[Any] = list(self.definitions.values())
        return SchemaValidator(definitions_schema(node, known))

    def validate(self, value: Any) -> Any:
        """The value by the rules of JSON.

        Raises:
            ValueError: it does not fit, or a validator needs the object around it.
        """
        try:
            return self._validator.validate_json(to_json(value))
        except ValueError:  # a ValidationError is one too
            raise
        except Exception as error:  # whatever a user's validator raises that looks at other fields
            raise ValueError(f"can't be validated alone: {error!r}") from error


@dataclass(eq=False)
class Scalar:
    """One value: `kind` tells how texts are read.

    Attributes:
        unit: whether the number lies between 0 and 1, so that `85 %` is 0.85.
        name: of the kind, for messages.
    """

    kind: ScalarKind
    name: str
    unit: bool = False


@dataclass(eq=False)
class Choices:
    """One of a closed set; `names` leads from every spelling to the JSON value.

    Attributes:
        flags: whether several of them make up a value, as the sum of their numbers.
    """

    values: tuple[Any, ...]
    names: Mapping[str, Any]
    name: str = "one of the values"
    flags: bool = False

    @cached_property
    def labels(self) -> Labels[Any]:
        """The names, ready to be looked for in text."""
        return Labels(self.names)


@dataclass(eq=False)
class Items:
    """A list, set or tuple; `fixed` are the shapes of a tuple's members, `item` that of all others."""

    item: Shape | None = None
    fixed: tuple[Shape, ...] = ()
    name: str = "list"
    source: Source | None = None
    """Of `item`."""
    sources: tuple[Source, ...] = ()
    """Of `fixed`."""


@dataclass(eq=False)
class Pairs:
    """A mapping from any keys to values."""

    key: Shape
    value: Shape
    name: str = "object"
    source: Source | None = None
    """Of `value`."""
    key_source: Source | None = None
    """Of `key`; None for texts."""


@dataclass(frozen=True)
class Member:
    """A field of an object.

    Attributes:
        key: what Pydantic wants to be given.
        required: whether there is no default.
        spellings: what a reply may call it.
        name: of the attribute.
        source: for validating it alone.
    """

    key: str
    shape: Shape
    required: bool
    spellings: tuple[str, ...] = ()
    name: str = ""
    source: Source | None = None


@dataclass(eq=False)
class Record:
    """An object with known fields.

    Attributes:
        folded: keys by spelling without case, accents and separators.
        open: whether other keys are kept.
        positional: whether a list of the values in order will do (named tuples).
        cls: the class of its instances; None for plain dictionaries.
    """

    name: str = "object"
    cls: type[Any] | None = None
    members: dict[str, Member] = field(default_factory=dict[str, Member])
    folded: dict[str, str] = field(default_factory=dict[str, str])
    open: bool = False
    positional: bool = False

    def fill(self, members: Mapping[str, Member]) -> None:
        """Set the members; a spelling that two of them share belongs to the first."""
        self.members.update(members)
        for member in members.values():
            for spelling in (member.key, *member.spellings):
                self.folded.setdefault(fold(spelling), member.key)


@dataclass(eq=False)
class Either:
    """A union: the option that fits best."""

    options: list[Shape]
    sources: tuple[Source, ...] = ()
    name: str = "one of several types"


@dataclass(eq=False)
class Embedded:
    """JSON inside of a text, which Pydantic parses itself."""

    shape: Shape
    name: str = "JSON"


@dataclass(eq=False)
class Guarded:
    """A value that a validator of the user's takes first, which may know other forms of it."""

    shape: Shape
    source: Source
    name: str = "value"

    def refusal(self, value: Any) -> str | None:
        """Why the validator does not take a value as it stands; None if it does."""
        try:
            self.source.validate(value)
        except ValidationError as error:
            return error.errors(include_url=False)[0]["msg"]
        except ValueError as error:
            return str(error)
        return None


Shape = Scalar | Choices | Items | Pairs | Record | Either | Embedded | Guarded

ANY = Scalar("any", "value")
TEXT = Scalar("text", "text")
NULL = Scalar("null", "null")
OPAQUE = Scalar("opaque", "value")


@lru_cache(maxsize=1024)
def known_names(shape: Shape) -> frozenset[str]:
    """The names of all fields at any depth."""
    members = (member for one in _parts(shape) if isinstance(one, Record) for member in one.members.values())
    return frozenset(name for member in members for name in (member.key, *member.spellings) if name)


@lru_cache(maxsize=1024)
def holds_decimals(shape: Shape) -> bool:
    """Whether a decimal stands anywhere, whose digits no float can carry."""
    return any(isinstance(one, Scalar) and one.kind == "decimal" for one in _parts(shape))


@overload
def bare(shape: Shape) -> Shape: ...
@overload
def bare(shape: Shape | None) -> Shape | None: ...
def bare(shape: Shape | None) -> Shape | None:
    """The shape without the validators around it."""
    while isinstance(shape, Guarded):
        shape = shape.shape
    return shape


def _parts(shape: Shape) -> list[Shape]:
    """The shape and everything in it, once each."""
    todo = [shape]
    found: list[Shape] = []
    seen: set[int] = set()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        found.append(one)
        if isinstance(one, Record):
            todo += [member.shape for member in one.members.values()]
        elif isinstance(one, Either):
            todo += one.options
        elif isinstance(one, Items):
            todo += [*one.fixed, *([one.item] if one.item else [])]
        elif isinstance(one, Pairs):
            todo += [one.key, one.value]
        elif isinstance(one, Embedded | Guarded):
            todo.append(one.shape)
    return found
