"""`Input`, `Output` and `Note`: what a signature's fields are for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from pydantic import Field, TypeAdapter
from pydantic_core import PydanticUndefined
from typing_extensions import Unpack

from declm.types import Sketch, sketch

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

Role = Literal["input", "output", "note"]


@dataclass(frozen=True, slots=True)
class Mark:
    """What `Input`, `Output` and `Note` leave in a Pydantic field's metadata."""

    role: Role
    sensitive: bool = False


class Constraints(TypedDict, total=False):
    """Pydantic's constraints, which render in the prompt and are enforced on replies."""

    gt: float
    ge: float
    lt: float
    le: float
    multiple_of: float
    min_length: int
    max_length: int
    pattern: str
    strict: bool
    max_digits: int
    decimal_places: int
    discriminator: str
    examples: list[Any]


def _field(
    mark: Mark,
    description: str,
    alias: str | None,
    default: Any,
    default_factory: Callable[[], Any] | None,
    constraints: Constraints,
) -> Any:
    extra: dict[str, Any] = dict(constraints)
    if default_factory is not None:
        extra["default_factory"] = default_factory
    elif default is not PydanticUndefined:
        extra["default"] = default
    info: FieldInfo = Field(description=description or None, alias=alias, **extra)
    info.metadata.append(mark)
    return info


def Input(  # noqa: N802  # reads as a type in a class body
    description: str = "",
    *,
    default: Any = PydanticUndefined,
    default_factory: Callable[[], Any] | None = None,
    alias: str | None = None,
    sensitive: bool = False,
    **constraints: Unpack[Constraints],
) -> Any:
    """Declare an input field; a bare annotation is an input too.

    Args:
        description: what the field holds, for the prompt.
        default: value when the caller gives none; without one the field is required.
        default_factory: makes the default anew for each row.
        alias: keyword and prompt name, for names that Pydantic reserves (`schema`, `json`, ...).
        sensitive: masked in traces, logs and reports; a call that carries it is not cached.
        constraints: `ge`, `max_length`, `pattern` and so on, as in `pydantic.Field`.
    """
    return _field(Mark("input", sensitive), description, alias, default, default_factory, constraints)


def Output(  # noqa: N802
    description: str = "",
    *,
    default: Any = PydanticUndefined,
    default_factory: Callable[[], Any] | None = None,
    alias: str | None = None,
    sensitive: bool = False,
    **constraints: Unpack[Constraints],
) -> Any:
    """Declare an output field, which the LM fills in.

    An output is optional in the constructor (a row without outputs is a request) and unset until
    predicted: reading it then raises `OutputNotSet`. `default` is taken when a reply leaves the
    field out. Arguments are those of `Input`.
    """
    return _field(Mark("output", sensitive), description, alias, default, default_factory, constraints)


def Note(  # noqa: N802
    description: str = "",
    *,
    default: Any = PydanticUndefined,
    default_factory: Callable[[], Any] | None = None,
    alias: str | None = None,
    sensitive: bool = False,
    **constraints: Unpack[Constraints],
) -> Any:
    """Declare a field that travels with a gold row for metrics and is never shown to the LM."""
    return _field(Mark("note", sensitive), description, alias, default, default_factory, constraints)


@dataclass(frozen=True)
class FieldSpec:
    """One field of a signature as prompts, parsers and optimizers see it.

    `name` is the Python attribute; `key` is the name in calls, prompts and replies (the alias, if
    there is one).
    """

    name: str
    key: str
    role: Role
    info: FieldInfo
    sensitive: bool = False

    @property
    def description(self) -> str:
        """The field's description, or an empty text."""
        return self.info.description or ""

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.info.is_required()

    @property
    def default(self) -> Any:
        """The default value, made anew if it comes from a factory."""
        return self.info.get_default(call_default_factory=True, validated_data={})

    def redeclared(self, **changes: Any) -> Any:
        """An annotation that declares the field once more, with some of Pydantic's attributes changed."""
        parts = self.info.asdict()
        attributes: dict[str, Any] = {**parts["attributes"], **changes}
        return annotated(parts["annotation"], *parts["metadata"], Field(**attributes))

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """Validator and serializer of the field alone, constraints included."""
        # `typing` hands out an equal type that it has built before, and takes Literal["a", "b"] for equal to
        # Literal["b", "a"]; a Pydantic field can't be hashed, which keeps the type, and its order, apart.
        own = Field(discriminator=self.info.discriminator)
        return TypeAdapter(annotated(self.info.annotation, *self.info.metadata, own))

    @cached_property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the field alone, without title, description and default."""
        found = dict(self.adapter.json_schema())
        for word in ("title", "description", "default", "examples"):
            found.pop(word, None)
        return found

    @cached_property
    def sketch(self) -> Sketch:
        """The field's type as a compact expression."""
        return sketch(self.schema)


def annotated(annotation: Any, *notes: Any) -> Any:
    """`Annotated[annotation, *notes]`, for parts that are known at run time only."""
    special: Any = Annotated  # type checkers take no variables inside its brackets
    parts = (annotation, *notes)
    return special[parts]


def read_field(name: str, info: FieldInfo) -> FieldSpec:
    """Describe one Pydantic field; without a mark it is an input."""
    mark = next((m for m in info.metadata if isinstance(m, Mark)), Mark("input"))
    return FieldSpec(name, info.alias or name, mark.role, info, mark.sensitive)
