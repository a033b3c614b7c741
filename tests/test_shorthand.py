"""`define`: what the shorthand reads, and how it refuses what it can't read."""

from __future__ import annotations

import datetime
import decimal
import enum
import keyword
import uuid
from typing import Any, Generic, Literal, Optional, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import declm as dm
from declm.shorthand import define

T = TypeVar("T")


class Passage(BaseModel):
    text: str


class Box(BaseModel, Generic[T]):
    item: T


class Colour(enum.Enum):
    RED = "red"


def types(text: str, **more: Any) -> dict[str, Any]:
    made: Any = define(text, types=more)
    return {name: info.annotation for name, info in made.model_fields.items()}


def test_fields_have_roles_and_default_to_text() -> None:
    made = dm.spec(define("question, notes: list[str] -> answer, sure: bool"))
    assert list(made.inputs) == ["question", "notes"]
    assert list(made.outputs) == ["answer", "sure"]
    assert made.card["inputs"] == {"question": "string", "notes": "string[]"}
    assert made.card["outputs"] == {"answer": "string", "sure": "boolean"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("int", int),
        ("None", type(None)),
        ("int | None", Optional[int]),  # noqa: UP045  # what the shorthand makes
        ("int | str | None", int | str | None),
        ("Optional[int]", Optional[int]),  # noqa: UP045
        ("Union[int, str]", int | str),
        ("List[int]", list[int]),
        ("dict[str, list[int | None]]", dict[str, list[Optional[int]]]),  # noqa: UP045
        ("tuple[int, ...]", tuple[int, ...]),
        ("tuple[int, str]", tuple[int, str]),
        ("Literal['a', 'b->c', 'd,e', '[', -1, True]", Literal["a", "b->c", "d,e", "[", -1, True]),
        ('Literal["it\'s"]', Literal["it's"]),
        ("list[Literal['x']]", list[Literal["x"]]),
        ("date", datetime.date),
        ("datetime", datetime.datetime),
        ("time", datetime.time),
        ("timedelta", datetime.timedelta),
        ("Decimal", decimal.Decimal),
        ("UUID", uuid.UUID),
        ("Any", Any),
        (" ( int ) ", int),
        ("list[\n  int\n]", list[int]),
    ],
)
def test_types_are_read_as_python_reads_them(written: str, meant: Any) -> None:
    assert types(f"a: {written} -> b")["a"] == meant or (
        meant is type(None) and types(f"a: {written} -> b")["a"] is None
    )


def test_own_types_are_given_by_name() -> None:
    found = types(
        "p: list[Passage], c: colours.Colour, b: Box[int] -> x", Passage=Passage, Box=Box, **{"colours.Colour": Colour}
    )
    assert found["p"] == list[Passage]
    assert found["c"] is Colour
    assert found["b"] == Box[int]


def test_own_types_win_over_known_ones() -> None:
    assert types("d: date -> x", date=Passage)["d"] is Passage


def test_instructions_and_name_reach_the_class() -> None:
    made = define("a -> b", instructions="Do it well.", name="Job")
    assert dm.spec(made).instructions == "Do it well."
    assert repr(made(a="x")) == "Job(a='x')"


def test_the_default_name_comes_from_the_fields() -> None:
    assert dm.spec(define("long_text, n: int -> short_text")).name == "LongTextNToShortText"
    assert dm.spec(define("-> joke")).name == "Joke"
    assert dm.spec(define(", ".join(f"field_{i}" for i in range(30)) + " -> b")).name == "Shorthand"


def test_rows_of_a_shorthand_signature_validate() -> None:
    made = define("n: int -> m: int")
    assert made(n="3").n == 3
    with pytest.raises(dm.OutputNotSet):
        made(n=3).m
    with pytest.raises(ValueError, match="extra"):
        made(n=3, k=4)


def test_a_signature_may_have_no_input() -> None:
    assert list(dm.spec(define("-> joke")).outputs) == ["joke"]


REFUSED = [
    ("", "needs exactly one '->', not 0"),
    ("question", "needs exactly one '->', not 0"),
    ("a -> b -> c", "needs exactly one '->', not 2"),
    ("a -> ", "has no output"),
    ("a, a -> b", "names the field 'a' twice"),
    ("a -> a", "names the field 'a' twice"),
    ("a, -> b", "lacks a field name"),
    ("a,, c -> b", "lacks a field name"),
    ("a b -> c", "needs a field name where it has 'a b'"),
    ("3a -> c", "needs a field name where it has '3a'"),
    ("class -> c", "needs a field name where it has 'class'"),
    ("a: -> c", "lacks a type after ':'"),
    ("_x -> c", "a name that Pydantic keeps"),
    ("json -> c", r"write `json_: str = dm.Input\(alias='json'\)`"),
    ("a: int = 3 -> c", "can't give defaults"),
    ("a: strr -> c", r"does not know the type 'strr'; did you mean 'str'\?.*types=\{'strr': ...\}"),
    ("a: typing.List[int] -> c", "did you mean 'List'"),
    ("a: 'str' -> c", "takes types without quotes"),
    ("a: 3 -> c", "has '3' where a type should be"),
    ("a: Literal -> c", r"needs `\[...\]` after Literal"),
    ("a: Literal[x] -> c", "takes texts, whole numbers, True, False and None in Literal, not x"),
    ("a: Literal[0.5] -> c", "not 0.5"),
    ("a: list[int, str] -> c", "gives 2 types to list, which takes 1"),
    ("a: dict[str] -> c", "gives 1 types to dict, which takes 2"),
    ("a: int[str] -> c", r"takes no `\[...\]`"),
    ("a: list[int -> c", r"never closes '\['"),
    ("a: 'int -> c", 'never closes "\'"'),
    ("a: int] -> c", "closes '\\]', which was never opened"),
    ("a: list[int) -> c", "has no valid type there"),
    ("a: int str -> c", "has no valid type there"),
]


@pytest.mark.parametrize(("text", "complaint"), REFUSED)
def test_mistakes_are_usage_errors_that_say_what_is_wrong(text: str, complaint: str) -> None:
    with pytest.raises(dm.UsageError, match=complaint):
        define(text)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("question, notes: list[strr] -> answer", "strr"),
        ("é: dict[str, intt] -> b", "intt"),
        ("a: list[\n  Literal['é', oops]] -> b", "oops"),
        ("a -> b: str, a", "a"),
        ("a: int -> b: foo[int]", "foo"),
    ],
)
def test_the_mark_stands_under_the_mistake(text: str, wrong: str) -> None:
    with pytest.raises(dm.UsageError) as caught:
        define(text)
    line, mark = caught.value.message.splitlines()[-2:]
    assert line[mark.index("^") :].startswith(wrong)


HOSTILE = [
    "a: __import__('os').system('touch hacked') -> b",
    "a: (lambda: 1)() -> b",
    "a: [x for x in ().__class__.__bases__] -> b",
    "a: str.__class__ -> b",
    "a: list[().__class__.__mro__[1]] -> b",
    "a: f'{print(1)}' -> b",
    "a: Literal[print(1)] -> b",
    "a: (x := int) -> b",
    "a: int if 1 else str -> b",
    "a: int) + (int -> b",
    "a: int # -> b",
    "a: str\\\n -> b",
    "a\0: int -> b",
    "a: int\0 -> b",
    "a: " + "list[" * 3000 + "int" + "]" * 3000 + " -> b",
    "a: " + "int|" * 4000 + "int -> b",
    "a: Literal[" + "-" * 15000 + "1] -> b",
    "a: " + "(" * 9000 + "int" + ")" * 9000 + " -> b",
    "a, " * 100_000 + "-> b",
    "a: Literal['\ud800', x] -> b",
]


@pytest.mark.parametrize("text", HOSTILE, ids=[text[:20].encode("unicode_escape").decode() for text in HOSTILE])
def test_hostile_texts_are_refused_without_running_anything(text: str) -> None:
    with pytest.raises(dm.UsageError):
        define(text)


@given(st.text(alphabet="ab,:->[]'\"=|. \n\\intLeralsé()", max_size=60))
def test_any_text_is_a_signature_or_a_usage_error(text: str) -> None:
    try:
        made = define(text)
    except dm.UsageError:
        return
    assert dm.spec(made).outputs


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True).filter(
    lambda name: not keyword.iskeyword(name) and not hasattr(BaseModel, name)
)
TYPES = st.recursive(
    st.sampled_from(["str", "int", "bool", "float", "Literal['a', 'b']", "None"]),
    lambda inner: st.one_of(
        inner.map(lambda t: f"list[{t}]"),
        st.tuples(inner, inner).map(" | ".join),
        inner.map(lambda t: f"dict[str, {t}]"),
    ),
    max_leaves=5,
)


@given(st.dictionaries(NAMES, TYPES, min_size=1, max_size=5), st.integers(0, 4))
def test_what_is_written_is_read_back(fields: dict[str, str], inputs: int) -> None:
    names = list(fields)
    cut = min(inputs, len(names) - 1)
    sides = [", ".join(f"{name}: {fields[name]}" for name in part) for part in (names[:cut], names[cut:])]
    made = dm.spec(define(" -> ".join(sides)))
    assert [*made.inputs] == names[:cut]
    assert [*made.outputs] == names[cut:]
