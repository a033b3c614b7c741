"""The typing contract of signatures at run time: one class is request, gold row and answer."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Annotated, Any, Generic, Literal, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from typing_extensions import Self

import declm as dm

T = TypeVar("T")


class Passage(BaseModel):
    text: str
    score: float = 0.0


class QA(dm.Signature):
    """Answer briefly."""

    question: str = dm.Input("what to answer")
    notes: list[Passage] = dm.Input(default_factory=list)
    answer: str = dm.Output("a few words", min_length=2)
    team: Literal["a", "b"] = dm.Output()
    level: int = dm.Output(ge=1, le=5, default=3)
    source: str = dm.Note("where the row comes from")


class Checked(dm.Signature):
    low: int = dm.Output()
    high: int = dm.Output()

    @field_validator("low")
    @classmethod
    def _not_negative(cls, value: int) -> int:
        if value < 0:
            raise ValueError("must not be negative")
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


class Box(dm.Signature, Generic[T]):
    text: str
    value: T = dm.Output()


class Child(QA):
    extra: bool = dm.Output()


class Tree(dm.Signature):
    name: str
    children: list[Tree] = dm.Input(default_factory=list)
    verdict: str = dm.Output()


class Frozen(dm.Signature):
    model_config = ConfigDict(frozen=True)

    question: str
    answer: str = dm.Output()


class Renamed(dm.Signature):
    schema_: str = dm.Input("a schema", alias="schema")
    json_: int = dm.Output(alias="json")


class Cat(dm.Signature):
    kind: Literal["cat"]
    purr: str = dm.Output()


class Dog(dm.Signature):
    kind: Literal["dog"]
    bark: str = dm.Output()


class Outer(BaseModel):
    row: QA
    rows: list[QA] = []
    either: QA | int = 0
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] = Cat(kind="cat")


REQUEST = QA(question="q")
GOLD = QA(question="q", answer="yes", team="a", source="web")


def test_a_request_is_built_from_inputs_alone() -> None:
    assert REQUEST.question == "q"
    assert REQUEST.__dict__ == {"question": "q", "notes": []}


@pytest.mark.parametrize("field", ["answer", "team", "level", "source"])
def test_reading_an_unset_output_or_note_names_the_field(field: str) -> None:
    with pytest.raises(dm.OutputNotSet, match=rf"QA\.{field} is not set"):
        getattr(REQUEST, field)


def test_unset_outputs_look_absent_to_hasattr_and_getattr() -> None:
    assert not hasattr(REQUEST, "answer")
    assert getattr(REQUEST, "answer", "none") == "none"
    assert issubclass(dm.OutputNotSet, AttributeError)
    assert hasattr(GOLD, "answer")


def test_other_missing_attributes_are_ordinary_attribute_errors() -> None:
    with pytest.raises(AttributeError) as caught:
        REQUEST.answr  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    assert not isinstance(caught.value, dm.OutputNotSet)


def test_an_unset_output_with_a_default_stays_unset_until_the_reply_is_read() -> None:
    assert not hasattr(QA(question="q"), "level")
    assert dm.spec(QA).complete(REQUEST, {"answer": "yes", "team": "a"}).level == 3


@pytest.mark.parametrize(
    "wrong", [{}, {"question": 3}, {"question": "q", "qestion": "r"}, {"question": "q", "level": 9}]
)
def test_constructors_validate(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        QA(**wrong)


def test_constraints_on_outputs_hold_for_gold_rows() -> None:
    with pytest.raises(ValidationError, match="at least 2 characters"):
        QA(question="q", answer="x")


@pytest.mark.parametrize("row", [REQUEST, GOLD, QA(question="q", team="b"), Child(question="q", extra=True)])
class TestRoundTrips:
    def test_dump_and_validate(self, row: QA) -> None:
        assert type(row).model_validate(row.model_dump()) == row
        assert type(row).model_validate_json(row.model_dump_json()) == row
        assert row.model_dump() == {
            k: v if k != "notes" else [p.model_dump() for p in v] for k, v in row.__dict__.items()
        }

    def test_copy_and_pickle(self, row: QA) -> None:
        for made in (row.model_copy(), row.model_copy(deep=True), copy.copy(row), copy.deepcopy(row)):
            assert made == row
            assert made.__dict__ == row.__dict__
        assert pickle.loads(pickle.dumps(row)) == row

    def test_repr_shows_what_is_set(self, row: QA) -> None:
        assert ("answer" in repr(row)) is hasattr(row, "answer")
        assert "MISSING" not in repr(row)
        assert "MISSING" not in str(row)

    def test_iteration_gives_what_is_set(self, row: QA) -> None:
        assert dict(row) == row.__dict__


def test_rows_differ_when_an_output_is_set() -> None:
    assert REQUEST != GOLD
    assert QA(question="q", team="a") != QA(question="q", team="b")


def test_assigning_an_output_sets_it() -> None:
    row = QA(question="q")
    row.answer = "yes"
    assert row.answer == "yes"
    assert row.model_dump()["answer"] == "yes"


def test_frozen_rows_work_and_hash() -> None:
    row = Frozen(question="q")
    assert not hasattr(row, "answer")
    assert hash(row) == hash(Frozen(question="q"))
    assert hash(row) != hash(Frozen(question="q", answer="a"))
    with pytest.raises(ValidationError):
        row.answer = "x"


def test_nesting_unions_and_adapters_keep_outputs_unset_without_warnings() -> None:
    outer = Outer(row=REQUEST, rows=[REQUEST, GOLD], either=REQUEST, pet=Dog(kind="dog"))
    assert "answer" not in outer.model_dump()["row"]
    assert Outer.model_validate(outer.model_dump()) == outer
    assert Outer.model_validate_json(outer.model_dump_json()) == outer
    assert not hasattr(Outer.model_validate({"row": {"question": "q"}}).row, "answer")
    adapter = TypeAdapter(list[QA])
    assert adapter.validate_json(adapter.dump_json([REQUEST, GOLD])) == [REQUEST, GOLD]
    assert not hasattr(Outer.model_validate({"row": REQUEST, "pet": {"kind": "dog"}}).pet, "bark")


def test_rows_nest_in_their_own_class() -> None:
    tree = Tree(name="root", children=[Tree(name="leaf", verdict="fine")])
    assert tree.children[0].verdict == "fine"
    assert Tree.model_validate_json(tree.model_dump_json()) == tree
    assert tree.model_dump() == {
        "name": "root",
        "children": [{"name": "leaf", "children": [], "verdict": "fine"}],
    }


def test_dump_options_still_work() -> None:
    assert GOLD.model_dump(include={"answer"}) == {"answer": "yes"}
    assert GOLD.model_dump(exclude={"answer", "notes"}) == {"question": "q", "team": "a", "source": "web"}
    assert REQUEST.model_dump(include={"answer"}) == {}
    assert REQUEST.model_dump(exclude_unset=True) == {"question": "q"}
    assert REQUEST.model_dump(exclude_none=True, round_trip=True) == {"question": "q", "notes": []}
    assert Renamed(schema="s").model_dump(by_alias=True) == {"schema": "s"}


def test_a_serializer_of_the_class_stays_in_force() -> None:
    class Wrapped(dm.Signature):
        text: str
        label: str = dm.Output()

        @model_serializer(mode="wrap")
        def _wrap(self, handler: Any) -> dict[str, Any]:
            return {"row": handler(self)}

    assert Wrapped(text="t").model_dump() == {"row": {"text": "t"}}
    assert Wrapped(text="t", label="l").model_dump() == {"row": {"text": "t", "label": "l"}}


def test_the_json_schema_lists_outputs_as_required() -> None:
    for mode in ("validation", "serialization"):
        schema = QA.model_json_schema(mode=mode)  # type: ignore[arg-type]  # a loop over the two literals
        assert set(schema["required"]) >= {"question", "answer", "team"}
        assert "default" not in schema["properties"]["answer"]
        assert schema["properties"]["level"]["default"] == 3
        assert "MISSING" not in json.dumps(schema)
    nested = Outer.model_json_schema()["$defs"]["QA"]
    assert set(nested["required"]) == {"question", "answer", "team"}
    assert Renamed.model_json_schema()["required"] == ["schema", "json"]


def test_model_validators_wait_until_all_outputs_are_set() -> None:
    assert not hasattr(Checked(), "low")
    assert Checked(low=3).low == 3
    with pytest.raises(ValidationError, match="low is above high"):
        Checked(low=3, high=2)
    with pytest.raises(ValidationError, match="must not be negative"):
        Checked(low=-1)


def test_model_validators_of_an_inherited_signature_run_once_complete() -> None:
    class Wider(Checked):
        name: str = dm.Output()

    assert Wider(low=3, high=2).low == 3
    with pytest.raises(ValidationError, match="low is above high"):
        Wider(low=3, high=2, name="n")


def test_generics_validate_their_parameter() -> None:
    assert Box[int](text="t", value=3).value == 3
    assert not hasattr(Box[int](text="t"), "value")
    with pytest.raises(ValidationError):
        Box[int](text="t", value="three")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert Box[list[int]].model_json_schema()["required"] == ["text", "value"]
    row = Box[int](text="t")
    assert Box[int].model_validate_json(row.model_dump_json()) == row


def test_a_subclass_has_the_fields_of_both() -> None:
    row = Child(question="q", extra=True)
    assert row.extra
    assert not hasattr(row, "answer")
    assert list(dm.spec(Child).outputs) == ["answer", "team", "level", "extra"]
    assert Child.model_validate(row.model_dump()) == row


def test_a_subclass_may_turn_an_output_into_an_input() -> None:
    class Judge(QA):
        answer: str = dm.Input()
        good: bool = dm.Output()

    with pytest.raises(ValidationError):
        Judge.model_validate({"question": "q"})
    assert list(dm.spec(Judge).inputs) == ["question", "notes", "answer"]
    assert list(dm.spec(QA).inputs) == ["question", "notes"]


def test_fields_may_carry_the_words_of_our_own_api() -> None:
    class Words(dm.Signature):
        inputs: str
        instructions: str
        demos: str
        state: str
        format: str
        lm: str
        self: str
        signature: str
        name: str
        kind: str
        score: float = dm.Output()
        outputs: str = dm.Output()
        reasoning: str = dm.Output()
        usage: str = dm.Output()

    names = list(dm.spec(Words).inputs)
    row = Words.model_validate(dict.fromkeys(names, "x"))
    assert row.lm == "x"
    done = dm.spec(Words).complete(row, {"score": 0.5, "outputs": "o", "reasoning": "r", "usage": "u"})
    assert (done.score, done.reasoning) == (0.5, "r")
    assert Words.model_validate(done.model_dump()) == done


def test_aliases_are_the_names_in_calls_and_replies() -> None:
    row = Renamed(schema="s")
    assert row.schema_ == "s"
    assert not hasattr(row, "json_")
    assert dm.spec(Renamed).complete(row, {"json": 3}).json_ == 3
    assert Renamed.model_validate({"schema_": "s"}) == row  # the attribute's name works as well


def test_constraints_may_come_from_annotated_types_as_well() -> None:
    class Both(dm.Signature):
        level: Annotated[int, Field(ge=1)] = dm.Output("how bad", le=5)

    assert Both(level=5).level == 5
    for wrong in (0, 6):
        with pytest.raises(ValidationError):
            Both(level=wrong)
    assert dm.spec(Both).outputs["level"].description == "how bad"


def test_a_marker_without_parentheses_is_refused() -> None:
    with pytest.raises(dm.UsageError, match=r"answer = Output lacks its parentheses"):

        class Wrong(dm.Signature):
            answer: str = dm.Output  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


def test_defaults_made_by_a_factory_are_not_shared() -> None:
    first, second = QA(question="a"), QA(question="b")
    first.notes.append(Passage(text="t"))
    assert second.notes == []


def test_extra_fields_are_refused_everywhere() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Outer.model_validate({"row": {"question": "q", "anser": "x"}})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


class Anything(dm.Signature):
    given: Any
    found: Any = dm.Output()
    text: str = dm.Output()


@given(st.fixed_dictionaries({"given": JSON}, optional={"found": JSON, "text": st.text(max_size=20)}))
def test_any_subset_of_outputs_survives_a_round_trip(values: dict[str, Any]) -> None:
    row = Anything(**values)
    assert row.__dict__ == values
    assert row.model_dump() == values
    assert Anything.model_validate_json(row.model_dump_json()) == row
    assert pickle.loads(pickle.dumps(row)) == row
    assert all(hasattr(row, name) is (name in values) for name in ("found", "text"))
