"""The types of `cases.jsonl`, made for what small models are asked for: classes, labels, receipts, tool calls."""

from __future__ import annotations

import datetime
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import NotRequired, TypedDict


class Mood(Enum):
    HAPPY = "happy"
    SAD = "sad"
    ANGRY = "angry"


class Category(Enum):
    REFUND = "refund"
    CANCEL = "cancel order"
    TECH = "technical support"
    ACCOUNT = "account issue"
    QUESTION = "question"


class Priority(IntEnum):
    LOW = 1
    MEDIUM = 2
    HIGH = 3


class Drink(Enum):
    CAFE = "Café au lait"
    THE = "Thé"
    NAIVE = "naïve"


class Status(str, Enum):
    NEW = "new"
    IN_PROGRESS = "in-progress"
    DONE = "done"
    WONT_FIX = "won't fix"


class Planet(Enum):
    MERCURY = "Mercury"
    VENUS = "Venus"
    EARTH = "Earth"


class Grade(Enum):
    A_PLUS = "A+"
    A = "A"
    A_MINUS = "A-"
    B = "B"
    F = "F"


Sentiment = Literal["positive", "negative", "neutral"]
Size = Literal["small", "medium", "large", "extra large"]
YesNo = Literal["yes", "no"]
YesNoMaybe = Literal["yes", "no", "maybe"]
Part = Literal["ui", "backend", "infra"]
Share = Annotated[float, Field(ge=0, le=1)]


class Address(BaseModel):
    street: str
    city: str
    zip: str | None = None


class Person(BaseModel):
    name: str
    age: int


class Contact(BaseModel):
    name: str
    email: str | None = None
    phones: list[str] = []
    address: Address | None = None


class Item(BaseModel):
    name: str
    price: float
    qty: int = 1


class Receipt(BaseModel):
    store: str
    items: list[Item]
    total: float
    currency: str | None = None


class Ticket(BaseModel):
    title: str
    category: Category
    priority: Priority
    tags: list[str] = []


class Review(BaseModel):
    summary: str
    sentiment: Sentiment
    score: float


class Code(BaseModel):
    language: str
    code: str


class Snippet(BaseModel):
    code: str


class Tree(BaseModel):
    value: int
    left: Tree | None = None
    right: Tree | None = None


class Folder(BaseModel):
    name: str
    children: list[Folder] = []


class Chain(BaseModel):
    data: int
    next: Chain | None = None


class Search(BaseModel):
    query: str
    limit: int = 10


class Email(BaseModel):
    to: list[str]
    subject: str
    body: str


class Calculation(BaseModel):
    expression: str


class SearchCall(BaseModel):
    tool: Literal["search"]
    query: str


class CalculationCall(BaseModel):
    tool: Literal["calc"]
    expression: str


class FinishCall(BaseModel):
    tool: Literal["finish"]
    answer: str


ToolCall = SearchCall | CalculationCall | FinishCall
TaggedCall = Annotated[ToolCall, Field(discriminator="tool")]


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    first: str = Field(alias="first-name")
    last: str = Field(alias="last_name_of_person")
    n: int = Field(0, alias="number of things")


class Moods(BaseModel):
    moods: list[Mood]


class Matrix(BaseModel):
    rows: list[list[int]]


class Inventory(BaseModel):
    stock: dict[str, int]


class Labels(BaseModel):
    status: Literal["open", "closed"]
    code: Literal[200, 404, 500] = 200
    flag: Literal[True, False, "unknown"] = "unknown"


class Plan(BaseModel):
    thoughts: str
    steps: list[str]
    done: bool


class Answer(BaseModel):
    answer: str


class Value(BaseModel):
    value: float


class Optionals(BaseModel):
    a: int | None = None
    b: str | None = None
    c: float | None = None
    d: list[int] | None = None
    e: bool | None = None


class Nullables(BaseModel):
    a: int | None
    b: str | None


class Mixed(BaseModel):
    value: int | str | bool | float | list[str]


class Event(BaseModel):
    title: str
    date: datetime.date
    at: datetime.time | None = None


class Point(TypedDict):
    x: int
    y: NotRequired[str]


class Bug(BaseModel):
    id: int
    status: Status
    assignee: str | None = None
    labels: list[Part] = []


class Movie(BaseModel):
    title: str
    year: int
    rating: float | None = None
    genres: list[str] = []
    director: str | None = None


class Ingredient(BaseModel):
    item: str
    amount: str
    optional: bool = False


class Recipe(BaseModel):
    name: str
    ingredients: list[Ingredient]
    steps: list[str]
    minutes: int


class Money(BaseModel):
    amount: float
    currency: Literal["USD", "EUR", "GBP"]


class Invoice(BaseModel):
    number: str
    total: Money
    paid: bool
    due: datetime.date | None = None


class Step(BaseModel):
    action: Literal["search", "click", "type", "finish"]
    target: str | None = None
    text: str | None = None


class Agent(BaseModel):
    thought: str
    step: Step


class Rated(BaseModel):
    question: str
    answer: str
    confidence: float = Field(ge=0, le=1)


class Weather(BaseModel):
    city: str
    temp_c: float
    humidity: int
    conditions: list[Literal["sunny", "cloudy", "rainy"]]


class Move(BaseModel):
    move: str
    eval: float


class Employee(BaseModel):
    name: str
    manager: Employee | None = None
    reports: list[Employee] = []


class Expression(BaseModel):
    op: Literal["+", "-", "*", "/"]
    left: Expression | float
    right: Expression | float


class Book(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    title: str = Field(alias="Book Title")
    isbn: str = Field(alias="ISBN-13")
    pages: int = Field(alias="number_of_pages")


class Circle(BaseModel):
    type: Literal["circle"]
    r: float


class Rectangle(BaseModel):
    type: Literal["rect"]
    w: float
    h: float


Shape = Annotated[Circle | Rectangle, Field(discriminator="type")]


class Canvas(BaseModel):
    shapes: list[Shape]
    background: Literal["white", "black"] = "white"


class Commit(BaseModel):
    type: Literal["feat", "fix", "docs"]
    scope: str | None = None
    message: str
    breaking: bool = False


class Sql(BaseModel):
    sql: str
    explanation: str


class Patch(BaseModel):
    file: str
    diff: str


_NAMES: dict[str, Any] = {**globals(), "Decimal": Decimal}


def resolve(expression: str) -> Any:
    """The type that an expression means."""
    return eval(expression, _NAMES)
