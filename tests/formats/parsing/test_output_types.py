"""Each type that Pydantic knows works as an input and as an output, in every format."""

from __future__ import annotations

import collections
import datetime
import ipaddress
import json
import re
import uuid
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypeVar

import pydantic
import pytest
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    AnyUrl,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Discriminator,
    Field,
    HttpUrl,
    Json,
    JsonValue,
    NaiveDatetime,
    PositiveInt,
    RootModel,
    SecretStr,
    StrictBool,
    StrictInt,
    StringConstraints,
    Tag,
    TypeAdapter,
    computed_field,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from typing_extensions import NotRequired, TypeAliasType, TypedDict

import declm as dm
from declm.formats import choose
from declm.formats.base import Prompt
from declm.messages import Capabilities, Request
from declm.specs import spec
from declm.testing import FunctionLM

FORMATS = ["json", "chat", "xml", "native", "two_step"]
T = TypeVar("T")


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


class Strict(BaseModel):
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


UserId = NewType("UserId", int)
Email = Annotated[str, StringConstraints(pattern=r"^[^@ ]+@[^@ ]+$", max_length=40)]
Pet = Annotated[Cat | Dog, Field(discriminator="kind")]
Animal = Annotated[Annotated[Bird, Tag("bird")] | Annotated[Ground, Tag("ground")], Discriminator(_size_of)]
Ints = TypeAliasType("Ints", "list[int]")
Tree = TypeAliasType("Tree", "dict[str, Tree] | int")
DAY = datetime.date(2024, 2, 29)
NOON = datetime.datetime(2024, 2, 29, 12, 30, 15)  # noqa: DTZ001  # replies have naive times

NONE = "no invalid value"
"""For types that take anything that JSON holds."""

# name: (type, a value, JSON that must be refused)
TYPES: dict[str, tuple[Any, Any, Any]] = {
    "str": (str, 'odd "text"\nwith [[result]] and {{ x }}', NONE),
    "int": (int, 10**25, "many"),
    "float": (float, -0.1, "many"),
    "bool": (bool, True, "perhaps"),
    "None or int": (Optional[int], None, "many"),  # noqa: UP045  # as many write it
    "Decimal": (Decimal, Decimal("0.1000000000000000000000000000000000001"), "many"),
    "Decimal with places": (
        Annotated[Decimal, Field(max_digits=6, decimal_places=2)],
        Decimal("1234.50"),
        "1.234567",
    ),
    "date": (datetime.date, DAY, "soon"),
    "datetime": (datetime.datetime, NOON, "soon"),
    "aware datetime": (AwareDatetime, NOON.replace(tzinfo=datetime.timezone.utc), "2024-02-29T12:30:15"),
    "naive datetime": (NaiveDatetime, NOON, "2024-02-29T12:30:15Z"),
    "time": (datetime.time, datetime.time(1, 2, 3), "25:00"),
    "timedelta": (datetime.timedelta, datetime.timedelta(days=1, seconds=2, milliseconds=3), "a while"),
    "UUID": (uuid.UUID, uuid.UUID(int=7), "not-a-uuid"),
    "AnyUrl": (AnyUrl, AnyUrl("ftp://a.example/b"), "no url"),
    "HttpUrl": (HttpUrl, HttpUrl("https://a.example/b?c=d"), "ftp://a.example"),
    "bytes": (bytes, b"some bytes", NONE),
    "Path": (Path, Path("a/b.txt"), None),
    "PurePosixPath": (PurePosixPath, PurePosixPath("/a"), None),
    "IPv4Address": (ipaddress.IPv4Address, ipaddress.IPv4Address("127.0.0.1"), "300.0.0.1"),
    "IPv6Network": (ipaddress.IPv6Network, ipaddress.IPv6Network("2001:db8::/32"), "here"),
    "re.Pattern": (re.Pattern[str], re.compile("^a+$"), "(("),
    "ByteSize": (ByteSize, ByteSize(2048), "large"),
    "complex": (complex, 1 + 2j, "many"),
    "Enum": (Plain, Plain.TWO, "three"),
    "Enum of an integer": (Plain, Plain.ONE, "three"),
    "Enum of texts": (Shade, Shade.DARK, "grey"),
    "IntEnum": (Size, Size.LARGE, 7),
    "Literal of texts": (Literal["a", "b c"], "b c", "d"),
    "Literal of mixed types": (Literal["a", 1, True, None], 1, "d"),  # noqa: PYI061  # None as a label
    "Literal of None": (Literal["a", 1, None], None, "d"),  # noqa: PYI061  # as above
    "Literal of an Enum": (Literal[Shade.DARK], Shade.DARK, "light"),
    "union of scalars": (int | str, "1", None),
    "union of int and float": (int | float, 1.5, "many"),
    "union of a list and a text": (str | list[str], ["a"], None),
    "union of models": (Cat | Point, Point(x=1, y=2), {"z": 1}),
    "union with None": (Point | None, None, "point"),
    "list": (list[int], [1, 2, 3], ["a"]),
    "empty list": (list[int], [], ["a"]),
    "list of lists": (list[list[str]], [["a", "b"], []], [["a"], None]),
    "list of models": (list[Point], [Point(x=1), Point(x=2, y=3)], [{"y": 1}]),
    "constrained list": (Annotated[list[int], Field(min_length=2)], [1, 2], [1]),
    "set": (set[int], {1, 2}, ["a"]),
    "frozenset of labels": (frozenset[Literal["a", "b"]], frozenset({"a"}), ["c"]),
    "fixed tuple": (tuple[int, str], (1, "a"), [1]),
    "open tuple": (tuple[int, ...], (1, 2), ["a"]),
    "deque": (deque[int], deque([1, 2]), ["a"]),
    "Sequence": (Sequence[int], [1, 2], ["a"]),
    "dict": (dict[str, int], {"a": 1, "": 2, "[[result]]": 3}, {"a": "x"}),
    "dict of models": (dict[str, Point], {"a": Point(x=1)}, {"a": {"y": 1}}),
    "dict by integer": (dict[int, str], {1: "a"}, {"x": "a"}),
    "dict by Enum": (dict[Shade, int], {Shade.DARK: 1}, {"grey": 1}),
    "dict by date": (dict[datetime.date, int], {DAY: 1}, {"soon": 1}),
    "Mapping": (Mapping[str, int], {"a": 1}, {"a": "x"}),
    "defaultdict": (defaultdict[str, list[int]], defaultdict(list, a=[1]), {"a": ["x"]}),
    "OrderedDict": (collections.OrderedDict[str, int], collections.OrderedDict(a=1), {"a": "x"}),
    "Counter": (collections.Counter[str], collections.Counter("aab"), {"a": "x"}),
    "Any": (Any, {"a": [1, None, "x"]}, NONE),
    "JsonValue": (JsonValue, {"a": [1, None, "x"]}, NONE),
    "TypedDict": (Film, {"title": "a"}, {"year": 1}),
    "TypedDict with all keys": (Film, {"title": "a", "year": 1999}, {"title": "a", "year": "x"}),
    "TypedDict of optional keys": (Loose, {"b": "x"}, {"a": "x"}),
    "dataclass": (Address, Address("a", 2, ["b"]), {"number": 1}),
    "Pydantic dataclass": (Vector, Vector(1.5, 0.0), {"x": 1.0, "y": -1.0}),
    "NamedTuple": (Pair, Pair(1, "a"), ["a", "b"]),
    "model": (Point, Point(x=1, y=2), {"y": 2}),
    "nested generic": (Page[Page[int]], Page[Page[int]](items=[Page[int](items=[1], total=1)], total=1), {"total": 1}),
    "generic model": (Page[Point], Page[Point](items=[Point(x=1)], total=1), {"items": [{"y": 1}], "total": 1}),
    "recursive model": (Node, Node(name="a", children=[Node(name="b")]), {"children": []}),
    "mutually recursive models": (
        Husband,
        Husband(name="a", wife=Wife(name="b")),
        {"name": "a", "wife": {"husband": 1}},
    ),
    "RootModel of a list": (Numbers, Numbers([1, 2]), ["a"]),
    "RootModel of a dict": (Scores, Scores({"a": 0.5}), {"a": "x"}),
    "strict model": (
        Strict,
        Strict(day=DAY, shade=Shade.DARK, count=1, pair=(1, 2)),
        {"day": "soon", "shade": "dark", "count": 1, "pair": [1, 2]},
    ),
    "frozen model": (Frozen, Frozen(value=1), {"value": "x"}),
    "model that keeps extra keys": (Open, Open.model_validate({"value": 1, "more": ["a"]}), {"value": "x"}),
    "model that forbids extra keys": (Closed, Closed(value=1), {"value": "x"}),
    "model with generated aliases": (Camel, Camel(first_name="a", is_new=True), {"firstName": "a", "isNew": "x"}),
    "model with an alias": (Aliased, Aliased(theValue=1), {"theValue": "x"}),
    "model with several aliases": (Chosen, Chosen.model_validate({"v": 1}), {"val": "x"}),
    "model with a computed field": (Computed, Computed(width=2, height=3), {"width": 2}),
    "closed model with a computed field": (ClosedComputed, ClosedComputed(width=2, height=3), {"width": 2}),
    "model with validators": (Checked, Checked(low=1, high=2), {"low": 3, "high": 2}),
    "model with a validator before": (Before, Before(value=1), {"value": "x"}),
    "discriminated union": (Pet, Dog(tricks=["sit"]), {"kind": "cat", "tricks": []}),
    "list of discriminated unions": (list[Pet], [Cat(lives=9), Dog(tricks=[])], [{"kind": "bird"}]),
    "union told apart by a function": (Animal, Bird(wings=2), {"arms": 1}),
    "constrained integer": (Annotated[int, Field(ge=1, le=5)], 5, 6),
    "constrained text": (Annotated[str, Field(min_length=2, max_length=3)], "ab", "abcd"),
    "text of a pattern": (Email, "a@b.c", "a at b"),
    "multiple": (Annotated[int, Field(multiple_of=5)], 10, 11),
    "PositiveInt": (PositiveInt, 1, 0),
    "StrictInt": (StrictInt, 1, "many"),
    "StrictBool": (StrictBool, False, "perhaps"),
    "validator after": (Annotated[int, AfterValidator(_even)], 4, 5),
    "validator before": (Annotated[int, BeforeValidator(lambda v: v)], 4, "many"),
    "NewType": (UserId, UserId(5), "many"),
    "type alias": (Ints, [1, 2], ["a"]),
    "recursive type alias": (Tree, {"a": {"b": 1}, "c": 2}, {"a": "x"}),
}

CASES = [pytest.param(*case, id=name) for name, case in TYPES.items()]


def _signature(type: Any) -> Any:
    return create_model(
        "Echo",
        __base__=dm.Signature,
        given=(type, dm.Input()),
        result=(type, dm.Output()),
        remark=(str, dm.Output()),
    )


def _as_json(type: Any, value: Any) -> Any:
    return TypeAdapter(type).dump_python(value, mode="json", by_alias=True, round_trip=True)


def _predictor(signature: Any, format: str, outputs: dict[str, Any]) -> tuple[Any, FunctionLM]:
    """A predictor whose LM says these outputs, in the form that the format asks for."""
    reply = choose(format, Capabilities()).answer(Prompt(spec(signature)), outputs)
    lm = FunctionLM(lambda request: reply)
    return dm.Predict(signature, lm=lm, format=format, retries=0), lm


def test_there_are_many_types() -> None:
    assert len(TYPES) >= 60


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("type", "value", "invalid"), CASES)
def test_a_value_goes_in_and_comes_out_and_in_again(type: Any, value: Any, invalid: Any, format: str) -> None:
    signature = _signature(type)
    outputs = {"result": _as_json(type, value), "remark": "fine"}
    predict, lm = _predictor(signature, format, outputs)
    row = predict(given=value)
    assert row.given == value
    assert row.result == value
    assert row.result.__class__ is value.__class__
    again = predict(given=row.result)
    assert again == row
    first, second = (request.messages[-1].content for request in lm.requests if request.role == "task")
    assert first == second
    assert first.startswith("given:")
    assert spec(signature).dump(row)[1] == spec(signature).dump(again)[1]


@pytest.mark.parametrize("format", ["json", "chat"])  # the others read values as these do
@pytest.mark.parametrize(("type", "value", "invalid"), CASES)
def test_an_invalid_value_is_refused(type: Any, value: Any, invalid: Any, format: str) -> None:
    outputs = {"result": invalid, "remark": "fine"}
    if invalid == NONE:
        del outputs["result"]
    predict, _ = _predictor(_signature(type), format, outputs)
    with pytest.raises(dm.ParseError, match="result"):
        predict(given=value)


@pytest.mark.parametrize("format", ["json", "chat"])
@pytest.mark.parametrize(("type", "value", "invalid"), CASES)
def test_an_output_alone_is_read(type: Any, value: Any, invalid: Any, format: str) -> None:
    signature = create_model("Lone", __base__=dm.Signature, given=(str, ""), result=(type, dm.Output()))
    predict, _ = _predictor(signature, format, {"result": _as_json(type, value)})
    assert predict(given="x").result == value


@pytest.mark.parametrize(("type", "value", "invalid"), CASES)
def test_the_type_is_told_in_the_prompt(type: Any, value: Any, invalid: Any) -> None:
    lm = FunctionLM(lambda request: "")
    messages = dm.Predict(_signature(type), lm=lm).render(given=value)
    assert "result" in "".join(message.content for message in messages)


def test_a_secret_goes_in_hidden_and_comes_out() -> None:
    signature = _signature(SecretStr)
    predict, lm = _predictor(signature, "json", {"result": "open sesame", "remark": "fine"})
    row = predict(given=SecretStr("hush"))
    assert row.result == SecretStr("open sesame")
    assert "hush" not in json.dumps([message.content for message in lm.requests[0].messages])


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("type", "written", "value"),
    [(Json[list[int]], "[1, 2]", [1, 2]), (Base64Bytes, "YWJj", b"abc")],
    ids=["Json", "Base64Bytes"],
)
def test_what_is_decoded_goes_in_encoded(type: Any, written: str, value: Any, format: str) -> None:
    signature = _signature(type)
    predict, lm = _predictor(signature, format, {"result": written, "remark": "fine"})
    row = predict(given=written)
    assert (row.given, row.result) == (value, value)
    assert lm.requests[0].messages[-1].content.startswith("given:")
    predict, _ = _predictor(signature, format, {"result": "YWJ", "remark": "fine"})
    with pytest.raises(dm.ParseError, match="result"):
        predict(given=written)


def _missing(request: Request) -> str:
    return '{"remark": "fine"}'


@pytest.mark.parametrize(("type", "value", "invalid"), CASES)
def test_an_output_that_is_missing_is_named(type: Any, value: Any, invalid: Any) -> None:
    predict = dm.Predict(_signature(type), lm=FunctionLM(_missing), format="json", retries=0)
    with pytest.raises(dm.ParseError) as caught:
        predict(given=value)
    assert caught.value.reason == "result: missing"
