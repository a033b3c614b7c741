"""What models write for each kind of value: read where it is clear, refused where it is not.

Values are compared after validation, each with its type: `1` is no `True` and no `1.0` here.
"""

from __future__ import annotations

import datetime
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from typing_extensions import NotRequired, TypedDict

from declm.errors import ParseError
from declm.formats.parsing import parse

FENCE = "`" * 3


class Colour(Enum):
    RED = "red"
    DARK_BLUE = "dark blue"
    CAFE = "café"


class Level(IntEnum):
    LOW = 1
    HIGH = 5


class Person(BaseModel):
    name: str
    age: int


class Task(BaseModel):
    title: str
    done: bool = False
    note: str | None = None


class Tags(BaseModel):
    tags: list[str]


class Wanted(BaseModel):
    score: float = Field(ge=0, le=1)


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    first_name: str = Field(alias="firstName")
    zip_code: str = Field(default="", alias="zipCode")


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str]


class Circle(BaseModel):
    radius: float


class Square(BaseModel):
    side: float


class Owner(BaseModel):
    name: str
    pet: Cat | Dog


class Code(BaseModel):
    language: str
    code: str


class Blob(BaseModel):
    data: bytes


class Tree(BaseModel):
    label: str
    children: list[Tree] = []


class Route(BaseModel):
    team: Literal["billing", "bugs"]
    urgent: bool
    reason: str


class Film(TypedDict):
    title: str
    year: NotRequired[int]


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]
Sentiment = Literal["positive", "negative", "neutral"]
Topic = Literal["sports", "science", "local news", "C++", "C#"]
Share = Annotated[float, Field(ge=0, le=1)]

ANN = Person(name="Ann", age=30)


def same(found: Any, wanted: Any, type: Any) -> bool:
    """Equality that tells apart 1, 1.0 and True."""
    adapter = TypeAdapter(type)
    return found == wanted and adapter.dump_json(found) == adapter.dump_json(wanted)


def reads(text: str, type: Any, wanted: Any) -> None:
    found = parse(text, type)
    assert same(found, wanted, type), f"{found!r} instead of {wanted!r}"


def refuses(text: str, type: Any) -> None:
    try:
        found = parse(text, type)
    except ParseError:
        return
    pytest.fail(f"read as {found!r}")


LABELS: list[tuple[str, Any, Any]] = [
    # case, signs and decoration
    ("positive", Sentiment, "positive"),
    ("Positive", Sentiment, "positive"),
    ("POSITIVE.", Sentiment, "positive"),
    ('"positive"', Sentiment, "positive"),
    ("'Positive'", Sentiment, "positive"),
    ("**positive**", Sentiment, "positive"),
    ("`positive`", Sentiment, "positive"),
    ("_Positive_", Sentiment, "positive"),
    ("(positive)", Sentiment, "positive"),
    ("\n\n positive \n", Sentiment, "positive"),
    (f"{FENCE}\npositive\n{FENCE}", Sentiment, "positive"),
    (f'{FENCE}json\n"positive"\n{FENCE}', Sentiment, "positive"),
    ('["positive"]', Sentiment, "positive"),
    ('{"sentiment": "positive"}', Sentiment, "positive"),
    ("“positive”", Sentiment, "positive"),
    # names, values and accents of enums
    ("red", Colour, Colour.RED),
    ("RED", Colour, Colour.RED),
    ("Dark Blue", Colour, Colour.DARK_BLUE),
    ("DARK_BLUE", Colour, Colour.DARK_BLUE),
    ("dark-blue", Colour, Colour.DARK_BLUE),
    ("Colour: dark blue", Colour, Colour.DARK_BLUE),
    ("cafe", Colour, Colour.CAFE),
    ("CAFÉ", Colour, Colour.CAFE),
    ("cafe\u0301", Colour, Colour.CAFE),
    ("5", Level, Level.HIGH),
    ("HIGH", Level, Level.HIGH),
    ('"5"', Level, Level.HIGH),
    ("Level: low", Level, Level.LOW),
    # in a sentence
    ("The sentiment is positive.", Sentiment, "positive"),
    ("Answer: **Neutral**", Sentiment, "neutral"),
    ("Positive: the author likes it.", Sentiment, "positive"),
    ("Negative. The food was cold and I had to wait.", Sentiment, "negative"),
    ("I would classify this as local news", Topic, "local news"),
    ("Local-News", Topic, "local news"),
    ("positive\n\nThe words `great` and `love` show it.", Sentiment, "positive"),
    # labels of signs, numbers and truth values
    ("C++", Topic, "C++"),
    ("C#", Topic, "C#"),
    ("2", Literal[1, 2, "many"], 2),
    ("many", Literal[1, 2, "many"], "many"),
    ('"2"', Literal["1", "2"], "2"),
    ("2", Literal["1", "2"], "2"),
    ("True", Literal[True, "unsure"], True),
    ("<answer>neutral</answer>", Sentiment, "neutral"),
    ('{"team": "Bugs", "urgent": true, "reason": "x"}', Route, Route(team="bugs", urgent=True, reason="x")),
    ('{"team": "the bugs team", "urgent": true, "reason": "x"}', Route, Route(team="bugs", urgent=True, reason="x")),
]


@pytest.mark.parametrize(("text", "type", "wanted"), LABELS)
def test_a_label_is_known_by_case_accents_signs_and_in_a_sentence(text: str, type: Any, wanted: Any) -> None:
    reads(text, type, wanted)


NO_LABELS: list[tuple[str, Any]] = [
    ("", Sentiment),
    ("   \n", Sentiment),
    ("good", Sentiment),
    ("positive or negative", Sentiment),
    ("positive, negative", Sentiment),
    ("It could be positive, but also neutral.", Sentiment),
    ("not positive", Sentiment),
    ("It is not really positive.", Sentiment),
    ("This isn't positive", Sentiment),
    ("neither positive nor negative", Sentiment),
    ("positively", Sentiment),
    ("unpositive", Sentiment),
    ("posit", Sentiment),
    ("I cannot answer that.", Sentiment),
    ("C", Topic),
    ("green", Colour),
    ("blue", Colour),
    ("3", Level),
    ("medium", Level),
    ('{"team": "sales", "urgent": true, "reason": "x"}', Route),
    ('{"team": ["bugs", "billing"], "urgent": true, "reason": "x"}', Route),
    ("[]", Sentiment),
    ("{}", Sentiment),
    ("null", Sentiment),
    ("12", Literal[1, 2]),
    ("21", Literal["1", "2"]),
]


@pytest.mark.parametrize(("text", "type"), NO_LABELS)
def test_a_label_that_is_ambiguous_negated_or_absent_is_refused(text: str, type: Any) -> None:
    refuses(text, type)


NUMBERS: list[tuple[str, Any, Any]] = [
    ("42", int, 42),
    ("-7", int, -7),
    ("+7", int, 7),
    ('"42"', int, 42),
    ("42.0", int, 42),
    ("**42**", int, 42),
    ("42.", int, 42),
    ("1,234", int, 1234),
    ("1,234,567", int, 1234567),
    ("1 234 567", int, 1234567),
    ("1_000", int, 1000),
    ("1'234'567", int, 1234567),
    ("1.234.567", int, 1234567),
    ("12,34,567", int, 1234567),
    ("1e3", int, 1000),
    ("The answer is 42.", int, 42),
    ("There are 3 apples in the basket", int, 3),
    ("42 apples", int, 42),
    ("Answer: 42", int, 42),
    ("= 42", int, 42),
    ('{"answer": 42}', int, 42),
    ("[42]", int, 42),
    (f"{FENCE}\n42\n{FENCE}", int, 42),
    ("\u22125", int, -5),
    ("3.14", float, 3.14),
    (".5", float, 0.5),
    ("5.", float, 5.0),
    ("1,234.5", float, 1234.5),
    ("1.234,5", float, 1234.5),
    ("3,14", float, 3.14),
    ("1.5e-3", float, 0.0015),
    ("1/2", float, 0.5),
    ("3/4", float, 0.75),
    ("1 1/2", float, 1.5),
    ("$12.50", float, 12.5),
    ("12.50 €", float, 12.5),
    ("€1,200", float, 1200.0),
    ("£3", float, 3.0),
    ("USD 12.50", float, 12.5),
    ("12.50 USD", float, 12.5),
    ("-$5", float, -5.0),
    ("5 kg", float, 5.0),
    ("5kg", float, 5.0),
    ("180 km/h", float, 180.0),
    ("37.5°C", float, 37.5),
    ("about 5 kg", float, 5.0),
    ("85%", float, 85.0),
    ("85%", Share, 0.85),
    ("85 %", Share, 0.85),
    ("0.85", Share, 0.85),
    ("2 million", int, 2_000_000),
    ("1.5 million", int, 1_500_000),
    ("3.2 billion", float, 3.2e9),
    ("10 thousand", int, 10_000),
    ("5k", int, 5_000),
    ("$2 million", float, 2e6),
    ("19.99", Decimal, Decimal("19.99")),
    ("$1,234.50", Decimal, Decimal("1234.50")),
    ("0.1000000000000000000000000000001", Decimal, Decimal("0.1000000000000000000000000000001")),
    ("12345678901234567890123", int, 12345678901234567890123),
    ('{"score": "85%"}', Wanted, Wanted(score=0.85)),
    ('{"score": 1}', Wanted, Wanted(score=1.0)),
    ('{"name": "Ann", "age": "30"}', Person, ANN),
    ('{"name": "Ann", "age": "30 years"}', Person, ANN),
    ('{"name": "Ann", "age": 30.0}', Person, ANN),
]


@pytest.mark.parametrize(("text", "type", "wanted"), NUMBERS)
def test_a_number_is_read_from_the_ways_of_writing_it(text: str, type: Any, wanted: Any) -> None:
    reads(text, type, wanted)


NO_NUMBERS: list[tuple[str, Any]] = [
    ("", int),
    ("many", int),
    ("null", int),
    ("1.5", int),
    ("3 or 4", int),
    ("between 3 and 5", int),
    ("3-5", int),
    ("3 to 5", float),
    ("1/0", float),
    ("1.2.3", float),
    ("2024-01-05", int),
    ("10:30", int),
    ("[1, 2]", int),
    ('{"a": 1, "b": 2}', int),
    ("I have no answer", float),
    ("five-ish", float),
    ("abc123", int),
    ('{"name": "Ann", "age": "thirty-ish"}', Person),
    ('{"name": "Ann", "age": null}', Person),
    ('{"score": 1.5}', Wanted),
]


@pytest.mark.parametrize(("text", "type"), NO_NUMBERS)
def test_what_is_no_number_or_several_is_refused(text: str, type: Any) -> None:
    refuses(text, type)


BOOLEANS: list[tuple[str, bool]] = [
    ("true", True),
    ("True", True),
    ("TRUE", True),
    ('"true"', True),
    ("yes", True),
    ("Yes.", True),
    ("**Yes**", True),
    ("Yes, it does.", True),
    ("Yes, because it does.", True),
    ("The answer is yes", True),
    ("The statement is true.", True),
    ("1", True),
    ("false", False),
    ("False", False),
    ("no", False),
    ("No.", False),
    ("No, it does not.", False),
    ("NO!", False),
    ("0", False),
    ("The answer is: false", False),
    ('{"answer": "no"}', False),
    (f"{FENCE}json\nfalse\n{FENCE}", False),
]


@pytest.mark.parametrize(("text", "wanted"), BOOLEANS)
def test_a_truth_value_is_read_from_words(text: str, wanted: bool) -> None:
    reads(text, bool, wanted)


@pytest.mark.parametrize(
    "text", ["", "maybe", "yes and no", "true or false?", "not true", "It isn't true", "2", "null"]
)
def test_what_is_no_clear_truth_value_is_refused(text: str) -> None:
    refuses(text, bool)


DAY = datetime.date(2024, 3, 15)
NOON = datetime.datetime(2024, 3, 15, 12, 30)  # noqa: DTZ001  # replies have naive times

DATES: list[tuple[str, Any, Any]] = [
    ("2024-03-15", datetime.date, DAY),
    ('"2024-03-15"', datetime.date, DAY),
    ("2024/03/15", datetime.date, DAY),
    ("2024.03.15", datetime.date, DAY),
    ("15.03.2024", datetime.date, DAY),
    ("15.3.2024", datetime.date, DAY),
    ("15/03/2024", datetime.date, DAY),
    ("03/15/2024", datetime.date, DAY),
    ("March 15, 2024", datetime.date, DAY),
    ("Mar 15, 2024", datetime.date, DAY),
    ("15 March 2024", datetime.date, DAY),
    ("March 15th, 2024", datetime.date, DAY),
    ("15th of March 2024", datetime.date, DAY),
    ("the 15th of March, 2024", datetime.date, DAY),
    ("Friday, March 15, 2024", datetime.date, DAY),
    ("20240315", datetime.date, DAY),
    ("It was on 2024-03-15.", datetime.date, DAY),
    ("2024-03-15T00:00:00", datetime.date, DAY),
    ("2024-03-15T12:30:00", datetime.datetime, NOON),
    ("2024-03-15 12:30", datetime.datetime, NOON),
    ("March 15, 2024 12:30", datetime.datetime, NOON),
    ("March 15, 2024 at 12:30 PM", datetime.datetime, NOON),
    ("2024-03-15", datetime.datetime, NOON.replace(hour=0, minute=0)),
    ("2024-03-15T12:30:00Z", datetime.datetime, NOON.replace(tzinfo=datetime.timezone.utc)),
    ("12:30", datetime.time, datetime.time(12, 30)),
    ("12:30:15", datetime.time, datetime.time(12, 30, 15)),
    ("2:30 pm", datetime.time, datetime.time(14, 30)),
    ("2 p.m.", datetime.time, datetime.time(14)),
    ("PT1H30M", datetime.timedelta, datetime.timedelta(hours=1.5)),
    ("01:30:00", datetime.timedelta, datetime.timedelta(hours=1.5)),
]


@pytest.mark.parametrize(("text", "type", "wanted"), DATES)
def test_a_date_is_read_in_many_forms(text: str, type: Any, wanted: Any) -> None:
    reads(text, type, wanted)


NO_DATES: list[tuple[str, Any]] = [
    ("03/04/2024", datetime.date),
    ("3/4/2024", datetime.date),
    ("04-05-2024", datetime.date),
    ("2024-02-30", datetime.date),
    ("2024-13-01", datetime.date),
    ("31/31/2024", datetime.date),
    ("yesterday", datetime.date),
    ("March", datetime.date),
    ("2024", datetime.date),
    ("7", datetime.date),
    ("from 2024-01-01 to 2024-02-01", datetime.date),
    ("25:00", datetime.time),
    ("soon", datetime.datetime),
    ("a while", datetime.timedelta),
    ("", datetime.date),
]


@pytest.mark.parametrize(("text", "type"), NO_DATES)
def test_a_date_that_is_ambiguous_or_none_is_refused(text: str, type: Any) -> None:
    refuses(text, type)


SHAPES: list[tuple[str, Any, Any]] = [
    # a single value and a list
    ('"a"', list[str], ["a"]),
    ("7", list[int], [7]),
    ('{"tags": "a"}', Tags, Tags(tags=["a"])),
    ('{"name": "Ann", "age": 30}', list[Person], [ANN]),
    ('[{"name": "Ann", "age": 30}]', Person, ANN),
    ('{"name": ["Ann"], "age": [30]}', Person, ANN),
    ('["a", "b"]', Tags, Tags(tags=["a", "b"])),
    ("[]", list[int], []),
    ('{"name": "Ann", "age": 30}\n{"name": "Bob", "age": 4}', list[Person], [ANN, Person(name="Bob", age=4)]),
    # one field around the value
    ('{"person": {"name": "Ann", "age": 30}}', Person, ANN),
    ('{"people": [{"name": "Ann", "age": 30}]}', list[Person], [ANN]),
    ('{"result": [1, 2]}', list[int], [1, 2]),
    ('{"value": 3.5}', float, 3.5),
    # unions by best fit
    ('{"radius": 2}', Circle | Square, Circle(radius=2.0)),
    ('{"side": 2}', Circle | Square, Square(side=2.0)),
    ('{"Side": "2 cm"}', Circle | Square, Square(side=2.0)),
    ('[{"side": 1}, {"radius": 2}]', list[Circle | Square], [Square(side=1), Circle(radius=2)]),
    ("3", int | str, 3),
    ('"3"', int | str, "3"),
    ("3.5", int | float, 3.5),
    ("three", int | str, "three"),
    ("true", bool | str, True),
    ("null", int | None, None),
    ("None", int | None, None),
    ("[1, 2]", int | list[int], [1, 2]),
    ('{"name": "Ann", "age": 30}', Person | list[Person], ANN),
    ('{"name": "Ann", "age": 30}', Task | Person, ANN),
    ('{"name": "Ann", "age": 30}', Person | None, ANN),
    # discriminated unions
    ('{"kind": "cat", "lives": 9}', Pet, Cat(kind="cat", lives=9)),
    ('{"kind": "Dog", "tricks": ["sit"]}', Pet, Dog(kind="dog", tricks=["sit"])),
    ("{kind: 'dog', tricks: sit}", Pet, Dog(kind="dog", tricks=["sit"])),
    (
        '{"name": "Ann", "pet": {"kind": "DOG", "tricks": []}}',
        Owner,
        Owner(name="Ann", pet=Dog(kind="dog", tricks=[])),
    ),
    # aliases, other spellings of keys, defaults, extra keys
    ('{"firstName": "Ann"}', Aliased, Aliased(firstName="Ann")),
    ('{"first_name": "Ann"}', Aliased, Aliased(firstName="Ann")),
    ('{"First Name": "Ann", "ZIP-code": "1"}', Aliased, Aliased(firstName="Ann", zipCode="1")),
    ('{"Name": "Ann", "AGE": 30}', Person, ANN),
    ('{"name ": "Ann", " age": 30}', Person, ANN),
    ('{"title": "x"}', Task, Task(title="x")),
    ('{"title": "x", "done": null}', Task, Task(title="x")),
    ('{"title": "x", "note": null}', Task, Task(title="x")),
    ('{"title": "x", "note": "n/a"}', Task, Task(title="x", note="n/a")),
    ('{"name": "Ann", "age": 30, "city": "Rome"}', Person, ANN),
    ('{"title": "x"}', Film, {"title": "x"}),
    ('{"title": "x", "year": "1999"}', Film, {"title": "x", "year": 1999}),
    (
        '{"label": "a", "children": [{"label": "b"}, {"label": "c", "children": []}]}',
        Tree,
        Tree(label="a", children=[Tree(label="b"), Tree(label="c")]),
    ),
    ('Here:\n```json\n{"NULL": 0, "true": 1}\n```', dict[str, int], {"NULL": 0, "true": 1}),
    ('Here: {"amount": 0.0}', dict[str, Decimal | float], {"amount": 0.0}),
    ("Here: {'3': 1, 'none': 2}", dict[int | str, int], {"3": 1, "none": 2}),
]


@pytest.mark.parametrize(("text", "type", "wanted"), SHAPES)
def test_values_are_fitted_to_the_shape_of_the_type(text: str, type: Any, wanted: Any) -> None:
    reads(text, type, wanted)


WRITINGS: list[tuple[str, Any, Any]] = [
    # around
    ('Sure! Here it is:\n{"name": "Ann", "age": 30}\nLet me know!', Person, ANN),
    (f'{FENCE}json\n{{"name": "Ann", "age": 30}}\n{FENCE}', Person, ANN),
    (f'{FENCE}\n{{"name": "Ann", "age": 30}}\n{FENCE}\nAnything else?', Person, ANN),
    (f'{FENCE}json\n{{"name": "Ann", "age": 30}}', Person, ANN),
    (f'Note {{this}}:\n{FENCE}JSON\n{{"name": "Ann", "age": 30}}\n{FENCE}', Person, ANN),
    ('<think>{"name": "Bob", "age": 1}? No.</think>{"name": "Ann", "age": 30}', Person, ANN),
    ('<thinking>\nHm, [1].\n</thinking>\n\n{"name": "Ann", "age": 30}', Person, ANN),
    ('The object {"x": 1} is no person, {"name": "Ann", "age": 30} is.', Person, ANN),
    ('{"steps": ["a"]}\n\n{"name": "Ann", "age": 30}', Person, ANN),
    ('\ufeff{"name": "Ann", "age": 30}', Person, ANN),
    # quotes, commas, brackets
    ("{'name': 'Ann', 'age': 30}", Person, ANN),
    ("{name: 'Ann', age: 30}", Person, ANN),
    ("{name: Ann, age: 30}", Person, ANN),
    ('{"name": "Ann", "age": 30,}', Person, ANN),
    ('{"name": "Ann" "age": 30}', Person, ANN),
    ('{"name": "Ann"\n"age": 30}', Person, ANN),
    ('{"name": "Ann, "age": 30}', Person, ANN),
    ('{"name: "Ann", "age": 30}', Person, ANN),
    ('{name": "Ann", "age": 30}', Person, ANN),
    ('{"name": Ann", "age": 30}', Person, ANN),
    ('{""name"": ""Ann"", ""age"": 30}', Person, ANN),
    ('{{"name": "Ann", "age": 30}}', Person, ANN),
    ("{“name”: “Ann”, “age”: 30}", Person, ANN),
    ("{«name»: «Ann», «age»: 30}", Person, ANN),
    ('{"name"= "Ann", "age" = 30}', Person, ANN),
    ('{"name" => "Ann", "age" => 30}', Person, ANN),
    ('{"name": "Ann"; "age": 30}', Person, ANN),
    ('[{"name": "Ann", "age": 30}, ]', list[Person], [ANN]),
    ('["a" "b", "c",]', list[str], ["a", "b", "c"]),
    ("[a, b c, d]", list[str], ["a", "b c", "d"]),
    ("[1, 2, 3", list[int], [1, 2, 3]),
    ("[1 2 3]", list[int], [1, 2, 3]),
    ('{"tags": ["a", "b"}', Tags, Tags(tags=["a", "b"])),
    ('{"tags": ["a", "b"]', Tags, Tags(tags=["a", "b"])),
    ('{"tags": ["a", "b', Tags, Tags(tags=["a", "b"])),
    ('{"title": "he said "hi" to her", "done": true}', Task, Task(title='he said "hi" to her', done=True)),
    ("{'title': 'it's here', 'done': true}", Task, Task(title="it's here", done=True)),
    ('{"title": "two\nlines", "done": true}', Task, Task(title="two\nlines", done=True)),
    ('{"title": "C:\\dir", "done": true}', Task, Task(title="C:\\dir", done=True)),
    # unquoted words of several lines or with commas
    ("{title: buy milk and bread, done: false}", Task, Task(title="buy milk and bread")),
    ("{title: milk, bread and eggs, done: true}", Task, Task(title="milk, bread and eggs", done=True)),
    ("{\n  title: buy milk\n  done: true\n}", Task, Task(title="buy milk", done=True)),
    # comments
    ('{"name": "Ann", // her name\n "age": 30}', Person, ANN),
    ('{"name": "Ann", /* years */ "age": 30}', Person, ANN),
    ('{"name": "Ann", # her name\n "age": 30}', Person, ANN),
    ('{"title": "see http://a.b/c#d", "done": false,}', Task, Task(title="see http://a.b/c#d")),
    # code
    ('{"language": "py", "code": """x = 1\nprint("x")\n"""}', Code, Code(language="py", code='x = 1\nprint("x")')),
    (
        f'{{"language": "py", "code": {FENCE}python\nx = {{}}\nprint(x["a"])\n{FENCE}}}',
        Code,
        Code(language="py", code='x = {}\nprint(x["a"])'),
    ),
    ('{"language": "js", "code": `let x = "1";`}', Code, Code(language="js", code='let x = "1";')),
    ("{'language': 'py', 'code': '''a = \"b\"'''}", Code, Code(language="py", code='a = "b"')),
    # lines of keys
    ("name: Ann\nage: 30", Person, ANN),
    ("Name: Ann\nAge: 30 years", Person, ANN),
    ("**Name:** Ann\n**Age:** 30", Person, ANN),
    ("- name: Ann\n- age: 30", Person, ANN),
    ("Here you go:\n\nname: Ann\nage: 30", Person, ANN),
    (f"{FENCE}yaml\nname: Ann\nage: 30\n{FENCE}", Person, ANN),
    ("tags:\n  - a\n  - b c", Tags, Tags(tags=["a", "b c"])),
    ("tags:\n- a\n- b", Tags, Tags(tags=["a", "b"])),
    ("- name: Ann\n  age: 30\n- name: Bob\n  age: 4", list[Person], [ANN, Person(name="Bob", age=4)]),
    ("title: |\n  two\n  lines\ndone: true", Task, Task(title="two\nlines", done=True)),
    ('title: "quoted: yes"\ndone: no', Task, Task(title="quoted: yes")),
    # lists in words
    ("- a\n- b\n- c", list[str], ["a", "b", "c"]),
    ("* a\n* b", list[str], ["a", "b"]),
    ("1. first\n2. second one", list[str], ["first", "second one"]),
    ("1) 10\n2) 20", list[int], [10, 20]),
    # JSON inside of a text, escaped JSON
    ('"{\\"name\\": \\"Ann\\", \\"age\\": 30}"', Person, ANN),
    ('{\\"name\\": \\"Ann\\", \\"age\\": 30}', Person, ANN),
    (
        '{"name": "Ann", "pet": "{\\"kind\\": \\"cat\\", \\"lives\\": 9}"}',
        Owner,
        Owner(name="Ann", pet=Cat(kind="cat", lives=9)),
    ),
    ('{"tags": "[\\"a\\", \\"b\\"]"}', Tags, Tags(tags=["a", "b"])),
    # Python
    ("{'title': 'x', 'done': True, 'note': None}", Task, Task(title="x", done=True)),
    ("(1, 2, 3)", list[int], [1, 2, 3]),
    ("(1, 'a')", tuple[int, str], (1, "a")),
    ("{1, 2}", set[int], {1, 2}),
    ("{'a', 'b'}", list[str], ["a", "b"]),
    ("[True, False, None]", list[bool | None], [True, False, None]),
    ("{'a': (1, 2)}", dict[str, list[int]], {"a": [1, 2]}),
    # JavaScript
    ("{title: 'x', note: undefined}", Task, Task(title="x")),
]


@pytest.mark.parametrize(("text", "type", "wanted"), WRITINGS)
def test_what_is_almost_json_is_read(text: str, type: Any, wanted: Any) -> None:
    reads(text, type, wanted)


CUT: list[tuple[str, Any, Any]] = [
    ('{"name": "Ann", "age": 30', Person, ANN),
    ('{"title": "x", "done": true, "note', Task, Task(title="x", done=True)),
    ('{"title": "x", "done": true, "note":', Task, Task(title="x", done=True)),
    ('{"title": "x", "done": true, ', Task, Task(title="x", done=True)),
    ('{"label": "a", "children": [{"label": "b"}, {', Tree, Tree(label="a", children=[Tree(label="b")])),
    ('[{"name": "Ann", "age": 30}', list[Person], [ANN]),
    (f'{FENCE}json\n{{"tags": ["a", "b"]\n', Tags, Tags(tags=["a", "b"])),
    ('{"tags": ["a", "b"],', Tags, Tags(tags=["a", "b"])),
]


@pytest.mark.parametrize(("text", "type", "wanted"), CUT)
def test_an_end_that_was_cut_off_is_closed(text: str, type: Any, wanted: Any) -> None:
    reads(text, type, wanted)


NOTHING: list[tuple[str, Any]] = [
    ("", Person),
    ("   ", Person),
    ("I'm sorry, I can't help with that.", Person),
    ("{}", Person),
    ("[]", Person),
    ("null", Person),
    ('{"name": "Ann"}', Person),
    ('{"name": "Ann", "age": {}}', Person),
    ('{"name": "Ann", "age": [1, 2]}', Person),
    ('{"foo": 1}', Task),
    ("{name, age}", Person),
    ("name age", Person),
    ("{", Person),
    ('{"name":', Person),
    ('[{"name": "Ann"}]', list[Person]),
    ('[{"name": "Ann", "age": 30}, {"name": "Bob"}]', list[Person]),
    ('{"kind": "bird", "lives": 9}', Pet),
    ('{"lives": 9, "kind": null}', Pet),
    ('{"kind": "cat", "tricks": []}', Pet),
    ('{"width": 1}', Circle | Square),
    ('{"tags": null}', Tags),
    ("[1, 2, 3]", tuple[int, int]),
    ("[1]", tuple[int, int]),
    ("null", list[int]),
    ('[1, "x"]', list[int]),
    ('{"a": "x"}', dict[str, int]),
    ('{"data": null}', Blob),
    ('{"data": None}', Blob),
    ("Nothing was found.", list[Person]),
    ("Nothing was found.", dict[str, int]),
    ('{"team": "billing", "urgent": "perhaps", "reason": "x"}', Route),
]


@pytest.mark.parametrize(("text", "type"), NOTHING)
def test_what_does_not_say_the_value_is_refused(text: str, type: Any) -> None:
    refuses(text, type)


def test_two_objects_that_differ_are_read_as_the_last_or_refused() -> None:
    """A model that corrects itself says the right value last; the first is never right by its place alone."""
    text = '{"name": "Bob", "age": 1}\nWait, I mean:\n{"name": "Ann", "age": 30}'
    try:
        found = parse(text, Person)
    except ParseError:
        return
    assert found in (ANN, Person(name="Bob", age=1))


def test_a_text_alone_is_kept_as_it_is() -> None:
    for text in ("", "  a \n", '"a"', '{"a": 1}', "null", "- a\n- b", f"{FENCE}\nx\n{FENCE}"):
        assert parse(text, str) == text


def test_valid_json_is_never_repaired() -> None:
    parsed = parse('{"name": "Ann", "age": 30}', Person, report=True)
    assert (parsed.value, parsed.repairs) == (ANN, ())


@pytest.mark.parametrize(
    ("text", "type", "kind"),
    [
        ("{'name': 'Ann', 'age': 30}", Person, "other quotes"),
        ('{"Name": "Ann", "age": 30}', Person, "spelling of a key"),
        ('{"name": "Ann", "age": 30, "x": 1}', Person, "extra key"),
        ('{"tags": "a"}', Tags, "single value for a list"),
        ("1,234", int, "number"),
        ("The answer is positive", Sentiment, "found in a sentence"),
        ("Positive", Sentiment, "case"),
        ('Here: {"name": "Ann", "age": 30}', Person, "text around"),
        ('{"name": "Ann", "age": 30', Person, "missing bracket"),
    ],
)
def test_a_repair_is_told_and_may_be_forbidden(text: str, type: Any, kind: str) -> None:
    assert kind in {repair.kind for repair in parse(text, type, report=True).repairs}
    with pytest.raises(ParseError):
        parse(text, type, strict=True)
