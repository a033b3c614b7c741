"""The classes and aliases of `parsing_types`."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from enum import Enum, IntEnum, IntFlag
from typing import Annotated, Any, ClassVar, Generic, Literal, NamedTuple, NewType, TypeVar

import pydantic
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PrivateAttr,
    RootModel,
    StringConstraints,
    Tag,
    ValidationInfo,
    computed_field,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import core_schema
from typing_extensions import NotRequired, Required, TypeAliasType, TypedDict

T = TypeVar("T")
P = TypeVar("P", bound="Point")


class Shade(str, Enum):
    DARK = "dark"
    LIGHT = "light"


class Plain(Enum):
    ONE = 1
    TWO = "two"


class Size(IntEnum):
    SMALL = 1
    LARGE = 10


class Point(BaseModel):
    x: int
    y: int = 0


class Node(BaseModel):
    name: str
    children: list[Node] = []


class Husband(BaseModel):
    name: str
    wife: Wife | None = None


class Wife(BaseModel):
    name: str
    husband: Husband | None = None


class Page(BaseModel, Generic[T]):
    items: list[T]
    total: int


class Numbers(RootModel[list[int]]): ...


class Scores(RootModel[dict[str, float]]): ...


class Sharp(BaseModel):
    model_config = ConfigDict(strict=True)

    day: datetime.date
    shade: Shade
    count: int
    pair: tuple[int, int]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)

    value: int


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    value: int


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    value: int


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)

    first_name: str
    is_new: bool


class Aliased(BaseModel):
    value: int = Field(alias="theValue")


class Chosen(BaseModel):
    value: int = Field(validation_alias=AliasChoices("val", "v", AliasPath("deep", "v")), serialization_alias="val")


class Computed(BaseModel):
    width: int
    height: int

    @computed_field
    @property
    def area(self) -> int:
        return self.width * self.height


class ClosedComputed(Computed):
    model_config = ConfigDict(extra="forbid")


class Checked(BaseModel):
    low: int
    high: int

    @field_validator("low", mode="before")
    @classmethod
    def _stripped(cls, value: Any) -> Any:
        return value.strip("<>") if isinstance(value, str) else value

    @field_validator("high")
    @classmethod
    def _positive(cls, value: int) -> int:
        if value < 0:
            raise ValueError("must not be negative")
        return value

    @model_validator(mode="after")
    def _in_order(self) -> Checked:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


class Before(BaseModel):
    value: int

    @model_validator(mode="before")
    @classmethod
    def _unpacked(cls, data: Any) -> Any:
        return {"value": data["old"]} if isinstance(data, dict) and "old" in data else data


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: list[str]


class Film(TypedDict):
    title: str
    year: NotRequired[int]


class Loose(TypedDict, total=False):
    a: int
    b: str


@dataclass
class Address:
    street: str
    number: int = 1
    tags: list[str] = dataclass_field(default_factory=list)


@pydantic.dataclasses.dataclass(frozen=True)
class Vector:
    x: float
    y: Annotated[float, Field(ge=0)]


class Pair(NamedTuple):
    first: int
    second: str = "none"


def _size_of(value: Any) -> str:
    wings = value.get("wings") if isinstance(value, dict) else getattr(value, "wings", None)
    return "ground" if wings is None else "bird"


class Bird(BaseModel):
    wings: int


class Ground(BaseModel):
    legs: int


def _even(value: int) -> int:
    if value % 2:
        raise ValueError("must be even")
    return value


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class Word(str, Enum):
    """As `enum.StrEnum`, which Python 3.10 lacks."""

    ONE = "one"
    TWO = "number two"


class Access(IntFlag):
    EXECUTE = 1
    WRITE = 2
    READ = 4


class Share(Enum):
    HALF = 0.5
    WHOLE = 1.0


class Called(Enum):
    """An enum that knows other names of its members."""

    ALPHA = "a"
    BETA = "b"

    @classmethod
    def _missing_(cls, value: object) -> Called | None:
        return cls.ALPHA if value == "alpha" else None


class Person(BaseModel):
    name: str
    deputies: dict[str, Person] = {}


class Sum(BaseModel):
    sign: Literal["+"]
    of: list[int | Sum]


class Box(BaseModel, Generic[P]):
    item: P


class Maybe(BaseModel, Generic[T]):
    value: T | None = None
    rest: list[T] = []


class Either(RootModel[int | str]): ...


class Wrapped(RootModel[Point]): ...


class Hidden(BaseModel):
    _cached: int = PrivateAttr(1)

    kind: ClassVar[str] = "hidden"
    value: int


class Made(BaseModel):
    value: int
    tags: list[int] = Field(default_factory=lambda: [1])


class Encoded(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    data: bytes


class Waiting(BaseModel):
    model_config = ConfigDict(ser_json_timedelta="float")

    time: datetime.timedelta


class Trimmed(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True, str_to_lower=True)

    value: str


class ByValue(BaseModel):
    model_config = ConfigDict(use_enum_values=True)

    shade: Shade


class Number(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    value: str


class Reserved(BaseModel):
    model_config = ConfigDict(extra="forbid")

    from_: str = Field(alias="from")
    class_: int = Field(1, alias="class")


class Celsius(BaseModel):
    """A model that is written as a text."""

    degrees: float

    @model_serializer
    def _written(self) -> str:
        return f"{self.degrees}C"

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: Any) -> Any:
        return {"degrees": float(data[:-1])} if isinstance(data, str) and data.endswith("C") else data


class Around(BaseModel):
    value: int

    @model_validator(mode="wrap")
    @classmethod
    def _passed_on(cls, data: Any, handler: Any) -> Any:
        return handler(data)


class Above(BaseModel):
    """A model of which one validator looks at another field."""

    low: int
    high: int

    @field_validator("high")
    @classmethod
    def _above(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data["low"]:
            raise ValueError("must not be below low")
        return value


class Written(BaseModel):
    value: Annotated[int, PlainSerializer(str)]


class Left(BaseModel):
    value: int
    left: str = ""


class Right(BaseModel):
    value: int
    right: str = ""


class Zoo(BaseModel):
    pets: dict[str, list[Pet]]
    count: int = Field(0, alias="how many")


class Needed(TypedDict, total=False):
    a: Required[int]
    b: str


class Nested(TypedDict):
    point: Point
    more: NotRequired[list[Needed]]


@dataclass(frozen=True)
class Frost:
    a: int
    b: str = "x"


@dataclass
class Outer:
    inner: list[Frost]
    made: int = dataclass_field(init=False, default=3)


class Row(NamedTuple):
    point: Point
    tags: tuple[str, ...] = ()


class Shout(str):
    """A text with a core schema of its own."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(
            lambda text: cls(text.upper()), core_schema.str_schema(), serialization=core_schema.to_string_ser_schema()
        )


def _integer(value: Any) -> int:
    if not isinstance(value, int):
        raise ValueError("must be an integer")  # noqa: TRY004  # as Pydantic wants validators to refuse
    return value


UserId = NewType("UserId", int)
Place = NewType("Place", Point)
Email = Annotated[str, StringConstraints(pattern=r"^[^@ ]+@[^@ ]+$", max_length=40)]
Animal = Annotated[Annotated[Bird, Tag("bird")] | Annotated[Ground, Tag("ground")], Discriminator(_size_of)]
Ints = TypeAliasType("Ints", "list[int]")
Named = TypeAliasType("Named", list[tuple[str, T]], type_params=(T,))
Tree = TypeAliasType("Tree", "dict[str, Tree] | int")
DAY = datetime.date(2024, 2, 29)
NOON = datetime.datetime(2024, 2, 29, 12, 30, 15)  # noqa: DTZ001  # replies have naive times

NONE = "no invalid value"
"""For types that take anything that JSON holds."""
