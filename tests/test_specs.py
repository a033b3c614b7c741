"""`spec`: what it says of a signature, how rows are built and completed, and how signatures derive."""

from __future__ import annotations

import copy
from enum import Enum
from functools import partial
from typing import Annotated, Any, Generic, Literal, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    computed_field,
    field_serializer,
    field_validator,
    model_validator,
)
from typing_extensions import Self

import declm as dm
from declm.specs import Spec, row_hash
from declm.text import digest

T = TypeVar("T")


class Person(BaseModel):
    name: str
    age: int | None = None


class QA(dm.Signature):
    """Answer briefly.

    Say nothing else.
    """

    question: str = dm.Input("what to answer")
    schema_: str = dm.Input("columns", alias="schema", default="none")
    secret: str = dm.Input(default="", sensitive=True)
    answer: str = dm.Output("a few words", min_length=2)
    team: Literal["a", "b"] = dm.Output()
    level: int = dm.Output(ge=1, le=5, default=3)
    people: list[Person] = dm.Output(default_factory=list)
    source: str = dm.Note("where the row comes from")

    @field_validator("answer")
    @classmethod
    def _upper(cls, value: str) -> str:
        return value.upper()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.answer == "NO" and self.team == "a":
            raise ValueError("team a never says no")
        return self


class Undocumented(dm.Signature):
    text: str
    label: str = dm.Output()


class Frozen(dm.Signature):
    model_config = ConfigDict(frozen=True)

    text: str
    short: str = dm.Output(max_length=3)
    level: int = dm.Output(default=1)


class Box(dm.Signature, Generic[T]):
    """Fill the box."""

    text: str
    value: T = dm.Output()


class Computed(dm.Signature):
    price: int
    tax: int = dm.Output()

    @computed_field  # type: ignore[prop-decorator]  # mypy has no decorated properties
    @property
    def total(self) -> int:
        return self.price + self.tax


@pytest.fixture
def qa() -> Spec[QA]:
    return dm.spec(QA)


@pytest.fixture
def row(qa: Spec[QA]) -> QA:
    return qa.request({"question": "q"})


class TestDescription:
    def test_fields_are_listed_by_role_in_order_under_their_keys(self, qa: Spec[QA]) -> None:
        assert list(qa.inputs) == ["question", "schema", "secret"]
        assert list(qa.outputs) == ["answer", "team", "level", "people"]
        assert list(qa.notes) == ["source"]
        assert qa.inputs["schema"].name == "schema_"
        assert qa.inputs["question"].description == "what to answer"

    def test_instructions_are_the_cleaned_docstring(self, qa: Spec[QA]) -> None:
        assert qa.instructions == "Answer briefly.\n\nSay nothing else."
        assert dm.spec(Undocumented).instructions == ""

    def test_instructions_are_inherited(self) -> None:
        class Child(QA):
            more: str = dm.Output()

        assert dm.spec(Child).instructions == dm.spec(QA).instructions
        assert dm.spec(Box[int]).instructions == "Fill the box."

    def test_the_card_shows_types_with_constraints(self, qa: Spec[QA]) -> None:
        assert qa.card["outputs"] == {
            "answer": "string (>= 2 characters)",
            "team": '"a" | "b"',
            "level": "integer (1 to 5)",
            "people": '{"name": string, "age"?: integer | null}[]',
        }

    def test_labels_keep_the_order_in_which_they_are_declared(self) -> None:
        class Up(dm.Signature):
            team: Literal["x", "y"] = dm.Output()
            several: list[Literal["x", "y"]] = dm.Output(min_length=1)

        class Down(dm.Signature):
            team: Literal["y", "x"] = dm.Output()
            several: list[Literal["y", "x"]] = dm.Output(min_length=1)

        assert dm.spec(Up).card["outputs"]["team"] == '"x" | "y"'
        assert dm.spec(Down).card["outputs"]["team"] == '"y" | "x"'
        assert dm.spec(Up).outputs["several"].schema["items"]["enum"] == ["x", "y"]
        assert dm.spec(Down).outputs["several"].schema["items"]["enum"] == ["y", "x"]

    def test_sensitive_fields_are_known(self, qa: Spec[QA]) -> None:
        assert qa.sensitive == {"secret"}

    def test_a_class_is_described_once(self) -> None:
        assert dm.spec(QA) is dm.spec(QA)
        assert dm.spec(Box[int]) is not dm.spec(Box[str])

    def test_any_pydantic_class_has_inputs(self) -> None:
        assert list(dm.spec(Person).inputs) == ["name", "age"]
        assert not dm.spec(Person).outputs

    @pytest.mark.parametrize("wrong", [int, "a -> b", 3, lambda: 0, Person(name="p")])
    def test_other_things_are_refused(self, wrong: Any) -> None:
        with pytest.raises(dm.UsageError, match="a signature is a class derived from"):
            dm.spec(wrong)

    def test_the_fingerprint_follows_names_roles_and_types_but_not_words(self, qa: Spec[QA]) -> None:
        same = [qa.with_instructions("Other."), qa.reworded(answer="other")]
        assert {dm.spec(made).fingerprint for made in same} == {qa.fingerprint}
        other = [qa.without("level"), qa.with_field("level", int), qa.with_field("more", str)]
        assert qa.fingerprint not in {dm.spec(made).fingerprint for made in other}


class TestRequest:
    def test_inputs_are_validated_and_defaults_taken(self, row: QA) -> None:
        assert row.question == "q"
        assert row.schema_ == "none"

    def test_keys_and_attribute_names_both_work(self, qa: Spec[QA]) -> None:
        assert qa.request({"question": "q", "schema": "s"}) == qa.request({"question": "q", "schema_": "s"})

    @pytest.mark.parametrize(
        ("values", "complaint"),
        [
            ({}, r"QA: question: Field required; its inputs are `question`, `schema`, `secret`"),
            ({"questin": "q"}, r"QA has no input 'questin'; did you mean 'question'\? its inputs are"),
            ({"zzz": "q"}, r"QA has no input 'zzz'; its inputs are"),
            ({"question": 3}, r"question: Input should be a valid string, not 3"),
            ({"question": "q", "answer": "yes"}, r"'answer' is no input but an output"),
            ({"question": "q", "source": "web"}, r"'source' is no input but a note"),
        ],
    )
    def test_misuse_is_an_input_error(self, qa: Spec[QA], values: dict[str, Any], complaint: str) -> None:
        with pytest.raises(dm.InputError, match=complaint) as caught:
            qa.request(values)
        assert isinstance(caught.value, TypeError)

    def test_a_sensitive_value_is_not_in_the_message(self, qa: Spec[QA]) -> None:
        with pytest.raises(dm.InputError) as caught:
            qa.request({"question": "q", "secret": 987654})
        assert "987654" not in str(caught.value)

    def test_long_values_are_clipped_in_the_message(self, qa: Spec[QA]) -> None:
        with pytest.raises(dm.InputError) as caught:
            qa.request({"question": list(range(10_000))})
        assert len(str(caught.value)) < 500


class TestComplete:
    def test_outputs_are_validated_and_the_row_is_left_alone(self, qa: Spec[QA], row: QA) -> None:
        done = qa.complete(row, {"answer": "yes", "team": "a", "people": [{"name": "Ann"}]})
        assert (done.answer, done.level) == ("YES", 3)
        assert done.people == [Person(name="Ann")]
        assert not hasattr(row, "answer")

    def test_defaults_are_made_anew(self, qa: Spec[QA], row: QA) -> None:
        first, second = (qa.complete(row, {"answer": "yes", "team": "a"}) for _ in range(2))
        assert first.people is not second.people

    def test_all_failures_are_reported_together(self, qa: Spec[QA], row: QA) -> None:
        with pytest.raises(dm.ParseError) as caught:
            qa.complete(row, {"answer": "x", "level": 9, "people": [{"name": "Ann", "age": "old"}]})
        reason = caught.value.reason
        assert "answer: String should have at least 2 characters" in reason
        assert "team: missing" in reason
        assert "level: Input should be less than or equal to 5" in reason
        assert "people.0.age: Input should be a valid integer" in reason

    def test_model_validators_judge_the_whole(self, qa: Spec[QA], row: QA) -> None:
        with pytest.raises(dm.ParseError, match="team a never says no"):
            qa.complete(row, {"answer": "no", "team": "a"})
        assert qa.complete(row, {"answer": "no", "team": "b"}).answer == "NO"

    def test_model_validators_of_other_modes_run_as_well(self) -> None:
        class Wrapped(dm.Signature):
            text: str
            label: str = dm.Output()

            @model_validator(mode="before")
            @classmethod
            def _strip(cls, data: Any) -> Any:
                return (
                    {k: v.strip() if isinstance(v, str) else v for k, v in data.items()}
                    if isinstance(data, dict)
                    else data
                )

        made = dm.spec(Wrapped)
        request = made.request({"text": " t "})
        assert request.text == "t"
        assert made.complete(request, {"label": "l"}).label.strip() == "l"

    def test_frozen_rows_are_completed_as_new_rows(self) -> None:
        made = dm.spec(Frozen)
        request = made.request({"text": "t"})
        done = made.complete(request, {"short": "abc"})
        assert (done.short, done.level) == ("abc", 1)
        assert not hasattr(request, "short")
        with pytest.raises(dm.ParseError, match="short: missing"):
            made.complete(request, {})
        with pytest.raises(dm.ParseError, match="short: String should have at most 3"):
            made.complete(request, {"short": "abcd"})

    def test_unknown_outputs_are_ignored(self, qa: Spec[QA], row: QA) -> None:
        done = qa.complete(row, {"answer": "yes", "team": "a", "remark": "hello", "question": "changed"})
        assert done.question == "q"
        assert not hasattr(done, "remark")


class TestRows:
    def test_split_and_dump_separate_inputs_from_outputs_and_drop_notes(self, qa: Spec[QA]) -> None:
        gold = QA(question="q", answer="yes", people=[Person(name="Ann")], source="web")
        assert qa.split(gold) == (
            {"question": "q", "schema": "none", "secret": ""},
            {"answer": "YES", "people": [Person(name="Ann")]},
        )
        assert qa.dump(gold)[1] == {"answer": "YES", "people": [{"name": "Ann", "age": None}]}
        assert qa.dump(QA(question="q"))[1] == {}

    def test_computed_fields_do_not_stand_in_the_way(self) -> None:
        request, gold = Computed(price=1), Computed(price=1, tax=2)
        assert dm.spec(Computed).dump(request) == ({"price": 1}, {})
        assert dm.spec(Computed).dump(gold) == ({"price": 1}, {"tax": 2})
        assert gold.model_dump() == {"price": 1, "tax": 2, "total": 3}
        assert repr(request) == "Computed(price=1)"
        assert "total=3" in repr(gold)
        assert row_hash(request) != row_hash(gold)

    def test_what_is_given_is_what_is_dumped(self, qa: Spec[QA]) -> None:
        row = qa.cls(question="q", schema="s")
        assert qa.given(row) == qa.dump(row)[0] == {"question": "q", "schema": "s", "secret": ""}

    def test_plain_rows_have_the_hash_of_what_is_dumped(self) -> None:
        class Renamed(dm.Signature):
            text: str = Field(serialization_alias="words")
            answer: str = dm.Output()

        class Plain(dm.Signature):
            text: str = dm.Input(alias="json")
            count: int = 1
            answer: bool = dm.Output()

        class Open(BaseModel):
            model_config = ConfigDict(extra="allow")
            text: str

        class Hidden(BaseModel):
            text: str
            key: str = Field(exclude=True)

        rows: list[BaseModel] = [
            Renamed(text="a", answer="b"),
            Plain(json="a", answer=True),
            Plain(json="a", count=2),
            Open.model_validate({"text": "a", "more": "b"}),
            Hidden(text="a", key="b"),
        ]
        for row in rows:
            dumped = row.model_dump(mode="json", by_alias=True)
            assert row_hash(row) == digest([type(row).__name__, dumped]), row
        assert dm.spec(Plain).answered(rows[1]) == {"answer": True}
        assert dm.spec(Plain).answered(rows[2]) == {}

    def test_serializers_hold_for_what_is_given(self) -> None:
        class Loud(dm.Signature):
            text: Annotated[str, PlainSerializer(str.upper)]
            answer: str = dm.Output()

        class Quiet(dm.Signature):
            text: str
            answer: str = dm.Output()

            @field_serializer("text")
            def _lower(self, value: str) -> str:
                return value.lower()

        for signature, text in ((Loud, "AB"), (Quiet, "ab")):
            of = dm.spec(signature)
            assert of.given(of.request({"text": "Ab"})) == {"text": text}

    def test_a_text_that_is_an_enum_is_given_as_its_value(self) -> None:
        class Team(str, Enum):
            BUGS = "bugs"

        class Ask(dm.Signature):
            team: str
            answer: str = dm.Output()

        of = dm.spec(Ask)
        (given,) = of.given(Ask.model_construct(team=Team.BUGS)).values()
        assert type(given) is str

    def test_a_computed_field_that_needs_an_unset_output_says_so_when_dumped(self) -> None:
        with pytest.raises(Exception, match=r"Computed\.tax is not set"):
            Computed(price=1).model_dump()

    def test_equal_rows_hash_equal_and_others_do_not(self, qa: Spec[QA]) -> None:
        rows = [QA(question="q"), QA(question="r"), QA(question="q", answer="yes"), QA(question="q", source="web")]
        assert len({qa.hash(r) for r in rows}) == 4
        assert qa.hash(rows[2]) == qa.hash(copy.deepcopy(rows[2]))
        assert qa.hash(rows[0]) != row_hash(Undocumented(text="q"))


class TestDerivation:
    """New classes; the old one stays as it is."""

    @pytest.fixture(autouse=True)
    def _unchanged(self, qa: Spec[QA]) -> Any:
        before = copy.deepcopy((qa.card, qa.instructions, [f.description for f in qa.fields], QA.model_json_schema()))
        yield
        after = Spec(QA, dm.spec(QA).fields)
        assert before == (
            after.card,
            after.instructions,
            [f.description for f in after.fields],
            QA.model_json_schema(),
        )

    def test_instructions_change_alone(self, qa: Spec[QA]) -> None:
        made = dm.spec(qa.with_instructions("Be verbose."))
        assert made.instructions == "Be verbose."
        assert made.card == qa.card
        assert made.name == "QA"
        assert issubclass(made.cls, QA)

    def test_a_field_is_added_behind(self, qa: Spec[QA]) -> None:
        made = dm.spec(qa.with_field("sure", bool))
        assert list(made.outputs) == [*qa.outputs, "sure"]
        assert made.instructions == qa.instructions
        assert list(dm.spec(qa.with_field("hint", str, dm.Input("a hint"))).inputs) == [*qa.inputs, "hint"]

    def test_a_field_is_added_in_front(self, qa: Spec[QA]) -> None:
        made = dm.spec(qa.with_field("why", str, dm.Output("because"), first=True))
        assert list(made.outputs) == ["why", *qa.outputs]
        assert list(made.inputs) == list(qa.inputs)
        assert list(made.notes) == list(qa.notes)
        assert made.outputs["why"].description == "because"

    def test_a_field_is_redeclared(self, qa: Spec[QA]) -> None:
        made = dm.spec(qa.with_field("level", Literal["low", "high"], dm.Output("how bad")))
        assert made.card["outputs"]["level"] == '"low" | "high"'
        assert list(made.outputs) == list(qa.outputs)
        assert made.outputs["level"].required

    def test_fields_are_reworded_and_keep_everything_else(self, qa: Spec[QA]) -> None:
        made = dm.spec(qa.reworded(answer="one word", schema="the table", source="origin"))
        assert made.outputs["answer"].description == "one word"
        assert made.inputs["schema"].description == "the table"
        assert made.notes["source"].description == "origin"
        assert made.card == qa.card
        assert made.cls.model_json_schema()["properties"]["answer"]["description"] == "one word"
        assert made.request({"question": "q"}).schema_ == "none"
        with pytest.raises(dm.ParseError, match="at least 2"):
            made.complete(made.request({"question": "q"}), {"answer": "x", "team": "a"})

    def test_fields_are_dropped(self, qa: Spec[QA]) -> None:
        made = dm.spec(qa.without("team", "schema", "source"))
        assert list(made.inputs) == ["question", "secret"]
        assert list(made.outputs) == ["answer", "level", "people"]
        assert not made.notes
        assert made.sensitive == {"secret"}
        assert made.instructions == qa.instructions

    @pytest.mark.parametrize(
        "derive",
        [
            lambda s: s.with_instructions("New."),
            lambda s: s.with_field("more", str, dm.Output(default="m")),
            lambda s: s.with_field("more", str, dm.Output(default="m"), first=True),
            lambda s: s.reworded(answer="words"),
            lambda s: s.without("people"),
        ],
        ids=["instructions", "added", "added-first", "reworded", "dropped"],
    )
    def test_validators_and_constraints_survive(self, qa: Spec[QA], derive: Any) -> None:
        made = dm.spec(derive(qa))
        request = made.request({"question": "q", "schema": "s"})
        done = made.complete(request, {"answer": "yes", "team": "a"})
        assert done.answer == "YES"
        assert done.schema_ == "s"
        with pytest.raises(dm.ParseError, match="at least 2"):
            made.complete(request, {"answer": "x", "team": "a"})
        assert made.cls.model_validate_json(done.model_dump_json()) == done
        assert not hasattr(request, "answer")

    @pytest.mark.parametrize("derive", [lambda s: s.reworded(answr="x"), lambda s: s.without("answr")])
    def test_unknown_fields_are_refused_with_a_guess(self, qa: Spec[QA], derive: Any) -> None:
        with pytest.raises(dm.UsageError, match=r"QA has no field 'answr'; did you mean 'answer'\?"):
            derive(qa)

    def test_derivations_chain(self, qa: Spec[QA]) -> None:
        first = dm.spec(qa.with_field("why", str, first=True))
        second = dm.spec(first.reworded(why="because"))
        third = dm.spec(dm.spec(second.with_instructions("New.")).without("team"))
        assert list(third.outputs) == ["why", "answer", "level", "people"]
        assert third.outputs["why"].description == "because"
        assert third.instructions == "New."

    def test_generic_and_frozen_signatures_derive(self) -> None:
        box = dm.spec(dm.spec(Box[int]).with_field("more", str))
        assert box.card["outputs"] == {"value": "integer", "more": "string"}
        frozen = dm.spec(dm.spec(Frozen).without("level"))
        assert frozen.cls.model_config.get("frozen")

    def test_validators_in_annotations_survive(self) -> None:
        class Cut(dm.Signature):
            text: str
            label: Annotated[str, AfterValidator(str.upper)] = dm.Output()

        for derive in (partial(dm.spec(Cut).reworded, label="x"), partial(dm.spec(Cut).without)):
            made = dm.spec(derive())
            assert made.complete(made.request({"text": "t"}), {"label": "l"}).label == "L"


@given(
    st.text(max_size=30),
    st.lists(st.sampled_from(["question", "answer", "schema", "team"]), unique=True, max_size=4),
)
def test_any_words_survive_rewording(text: str, keys: list[str]) -> None:
    made = dm.spec(dm.spec(QA).reworded(**dict.fromkeys(keys, text)))
    fields = made.inputs | made.outputs
    assert all(fields[key].description == text for key in keys)
