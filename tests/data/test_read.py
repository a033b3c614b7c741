"""`data.read`: every source gives the same rows, and everything wrong with one is named."""

from __future__ import annotations

import datetime
import enum
import json
import logging
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

import declm as dm
from declm import data


class QA(dm.Signature):
    question: str
    answer: str = dm.Output()


class Person(BaseModel):
    name: str
    age: int


class Wide(dm.Signature):
    """One field of each kind that a cell can be hard to read as."""

    text: str
    number: int
    share: float
    sure: bool
    day: datetime.date
    words: list[str]
    person: Person
    maybe: str | None
    label: Literal["a", "b"] = dm.Input(default="b")
    level: Literal[1, 2] = dm.Output()
    verdict: str | None = dm.Output()


class Level(enum.Enum):
    LOW = "low"


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    day: datetime.date
    tags: frozenset[str]
    level: Level


WIDE = {
    "text": "a, b",
    "number": 3,
    "share": 0.5,
    "sure": True,
    "day": "2024-02-29",
    "words": ["x", "y, z"],
    "person": {"name": "Ann", "age": 3},
    "maybe": None,
    "level": 2,
}


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems(error: pytest.ExceptionInfo[dm.DataError]) -> dict[str, str]:
    return dict(error.value.problems)


# --- sources


def test_json_lines_are_read_and_blank_lines_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"question": "q", "answer": "a"}\n\n  \n{"question": "r"}')
    first, second = data.read(QA, path)
    assert (first.question, first.answer, second.question) == ("q", "a", "r")
    assert not hasattr(second, "answer")


def test_a_line_separator_inside_a_text_ends_no_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"question": "one\u2028two\x85three"}\r\n')
    assert data.read(QA, path)[0].question == "one\u2028two\x85three"


def test_a_json_list_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", json.dumps([WIDE]))
    assert data.read(Wide, path)[0].person == Person(name="Ann", age=3)


def test_cells_are_read_by_the_type_of_their_field(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv",
        "text,number,share,sure,day,words,person,maybe,level,verdict\r\n"
        '"a, b",3,0.5,yes,2024-02-29,"[""x"", ""y, z""]","{""name"": ""Ann"", ""age"": 3}",,2,\r\n',
    )
    (row,) = data.read(Wide, path)
    (same,) = data.read(Wide, [{**WIDE, "verdict": None}])
    assert row == same
    assert row.verdict is None


def test_a_text_that_looks_like_json_stays_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'question\n007\n"[1, 2]"\ntrue\n')
    assert [row.question for row in data.read(QA, path)] == ["007", "[1, 2]", "true"]


def test_quoted_newlines_and_long_cells_are_one_cell(tmp_path: Path) -> None:
    long = "x" * 300_000
    path = write(tmp_path / "a.csv", f'question,answer\n"two\nlines","say ""hi"""\n{long},a\n')
    first, second = data.read(QA, path)
    assert (first.question, first.answer) == ("two\nlines", 'say "hi"')
    assert second.question == long


@pytest.mark.parametrize(("suffix", "separator"), [(".tsv", "\t"), (".csv", ";"), (".csv", "\t"), (".csv", ",")])
def test_the_separator_is_found_in_the_header(tmp_path: Path, suffix: str, separator: str) -> None:
    path = write(tmp_path / f"a{suffix}", separator.join(["question", "answer"]) + "\n" + separator.join(["q", "a"]))
    assert data.read(QA, path) == [QA(question="q", answer="a")]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    for name, text in (("a.csv", "question\nq\n"), ("a.jsonl", '{"question": "q"}')):
        assert data.read(QA, write(tmp_path / name, b"\xef\xbb\xbf" + text.encode()))[0].question == "q"


def test_dicts_objects_and_rows_of_other_classes_are_read() -> None:
    class Other(dm.Signature):
        question: str
        source: str

    row = QA(question="q", answer="a")
    other = Other(question="r", source="s")
    first, second, third = data.read(QA, iter([row, other, {"question": "t"}]))
    assert first is row
    assert (second.question, third.question) == ("r", "t")


def test_a_class_that_is_no_signature_works_and_strict_fields_take_json(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"day": "2024-02-29", "tags": ["x"], "level": "low"}')
    assert data.read(Strict, path) == [Strict(day=datetime.date(2024, 2, 29), tags=frozenset("x"), level=Level.LOW)]


def test_a_bad_row_of_a_strict_class_is_told_by_the_rules_of_json(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"day": "2024-02-29", "tags": ["x"], "level": "high"}')
    with pytest.raises(dm.DataError) as caught:
        data.read(Strict, path)
    (told,) = problems(caught).values()
    assert told == "level: Input should be 'low', not 'high'"


def test_aliases_and_attribute_names_both_name_a_field() -> None:
    class Aliased(dm.Signature):
        schema_: str = dm.Input(alias="schema")

    rows = data.read(Aliased, [{"schema": "a"}, {"schema_": "b"}])
    assert [row.schema_ for row in rows] == ["a", "b"]


def test_a_data_frame_is_read_and_its_empty_cells_are_missing() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"question": ["q", "r"], "answer": ["a", None], "extra": [1.0, float("nan")]})
    first, second = data.read(QA, frame)
    assert first.answer == "a"
    assert not hasattr(second, "answer")


def test_parquet_is_read_with_nested_values(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.Table.from_pylist([{**WIDE, "verdict": None}]), path)
    assert data.read(Wide, path) == data.read(Wide, [{**WIDE, "verdict": None}])


def test_a_data_set_that_yields_dicts_is_read() -> None:
    class Dataset:
        """As far as Hugging Face's class is used."""

        column_names = ("question",)

        def __iter__(self) -> Any:
            yield from ({"question": str(i)} for i in range(3))

    assert [row.question for row in data.read(QA, Dataset(), limit=2)] == ["0", "1"]  # type: ignore[arg-type]  # duck-typed


def test_the_limit_counts_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "question\na\nb\nc\n")
    assert len(data.read(QA, path, limit=2)) == 2
    with pytest.raises(dm.UsageError, match="limit=0"):
        data.read(QA, path, limit=0)


# --- columns


def test_columns_that_no_field_takes_are_dropped_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="declm"):
        rows = data.read(QA, [{"question": "q", "id": 1}, {"question": "r", "id": 2, "split": "x"}])
    assert len(rows) == 2
    (message,) = (record.getMessage() for record in caplog.records)
    assert "'id', 'split'" in message
    assert "QA" in message


def test_columns_can_be_renamed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "input,target\nq,a\n")
    assert data.read(QA, path, columns={"input": "question", "target": "answer"}) == [QA(question="q", answer="a")]


def test_renaming_to_or_from_nothing_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "input\nq\n")
    with pytest.raises(dm.UsageError, match=r"no field 'qestion'; did you mean 'question'\?"):
        data.read(QA, path, columns={"input": "qestion"})
    with pytest.raises(dm.DataError, match=r"no column 'inputs'; its columns are `input`"):
        data.read(QA, path, columns={"inputs": "question"})


def test_a_missing_column_is_named_once_with_a_hint(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "qestion,answer\nq,a\nr,b\n")
    with pytest.raises(dm.DataError, match=r"no column 'question'.*columns=\{'qestion': 'question'\}"):
        data.read(QA, path)


# --- bad rows


def test_every_bad_row_is_reported_with_file_and_line(tmp_path: Path) -> None:
    lines = ['{"question": 1}', '{"question": "fine"}', "{torn", '{"answer": "a"}', "[1]", '"text"', "{}", "{}", "{}"]
    path = write(tmp_path / "rows.jsonl", "\n".join(lines))
    with pytest.raises(dm.DataError) as caught:
        data.read(QA, path)
    found = problems(caught)
    assert list(found) == [f"rows.jsonl, line {i}" for i in (1, 3, 4, 5, 6, 7, 8, 9)]
    assert "valid string" in found["rows.jsonl, line 1"]
    assert "no JSON" in found["rows.jsonl, line 3"]
    assert found["rows.jsonl, line 4"] == "question: missing (the row has `answer`)"
    assert "8 of 9 rows" in str(caught.value)
    assert "and 3 more" in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_lines_are_counted_across_quoted_newlines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,number\n"two\nlines",1\nx,one\n\ny,2,3\n')

    class Row(dm.Signature):
        text: str
        number: int

    with pytest.raises(dm.DataError) as caught:
        data.read(Row, path)
    found = problems(caught)
    assert list(found) == ["a.csv, line 4", "a.csv, line 6"]
    assert "not 'one'" in found["a.csv, line 4"]
    assert "3 cells where the header has 2" in found["a.csv, line 6"]


def test_an_empty_cell_of_a_required_field_is_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "question,answer\nq,\n,a\n")
    with pytest.raises(dm.DataError) as caught:
        data.read(QA, path)
    assert problems(caught) == {"a.csv, line 3": "question: missing (the row has `question`, `answer`)"}


def test_an_open_quote_is_found_where_it_begins(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'question,answer\na,b\n"open,b\nc,d\ne,f\n')
    with pytest.raises(dm.DataError, match=r"line 3: .*is a quote left open"):
        data.read(QA, path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "is empty"),
        ("a.jsonl", b" \n\n", "is empty"),
        ("a.csv", b"\xef\xbb\xbf", "is empty"),
        ("a.csv", b"question,answer\n", "there are no rows"),
        ("a.json", b"[]", "there are no rows"),
        ("a.json", b'{"question": "q"}', "one dict, not a list"),
        ("a.json", b'{"question": "q"}\n{"question": "r"}', "pass format='jsonl'"),
        ("a.json", b"[" * 100_000, "no JSON"),
        ("a.csv", b"question\nna\xefve\n", r"line 2: no UTF-8 text \(byte 0xef"),
        ("a.csv", "question\nq\n".encode("utf-16"), "is UTF-16"),
        ("a.csv", b"question,question\na,b\n", "column 'question' twice"),
        ("a.parquet", b"PAR0", "no Parquet file"),
    ],
)
def test_files_that_hold_no_rows_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(dm.DataError, match=message):
        data.read(QA, write(tmp_path / name, content))


def test_a_bad_byte_is_the_problem_of_its_line_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", b'{"question": "q"}\n{"question": "na\xefve"}\n')
    with pytest.raises(dm.DataError) as caught:
        data.read(QA, path)
    assert "byte 0xef after" in problems(caught)["a.jsonl, line 2"]


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(dm.DataError, match=r"there is no file .*nowhere\.csv"):
        data.read(QA, tmp_path / "nowhere.csv")
    with pytest.raises(dm.DataError, match="is a folder"):
        data.read(QA, tmp_path, format="csv")
    with pytest.raises(dm.UsageError, match=r"can't tell what .*pass format='csv'"):
        data.read(QA, tmp_path / "rows.xlsx")
    with pytest.raises(dm.UsageError, match="format='csv' is for files"):
        data.read(QA, [{"question": "q"}], format="csv")
    with pytest.raises(dm.UsageError, match="a mapping with the keys 'train', 'test'"):
        data.read(QA, {"train": [], "test": []})  # type: ignore[arg-type]  # the mistake
    with pytest.raises(dm.UsageError, match="can't read rows from a int"):
        data.read(QA, 3)  # type: ignore[arg-type]  # the mistake
    with pytest.raises(dm.DataError, match="there are no rows"):
        data.read(QA, [])
    with pytest.raises(dm.DataError, match="row 0: a row is a dict or a Pydantic object, not a int"):
        data.read(QA, [3])  # type: ignore[list-item]  # the mistake


@pytest.mark.parametrize("package", ["pyarrow"])
def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(dm.MissingExtra, match=r"pip install 'declm\[data\]'"):
        data.read(QA, write(tmp_path / "a.parquet", b"PAR1"))


# --- writing


def test_only_json_lines_are_written(tmp_path: Path) -> None:
    with pytest.raises(dm.UsageError, match=r"must end in \.jsonl"):
        data.write([QA(question="q")], tmp_path / "a.csv")
    with pytest.raises(dm.DataError, match="can't write"):
        data.write([QA(question="q")], tmp_path / "no" / "a.jsonl")


texts = st.text(max_size=20) | st.just("half a pair: \ud83d")
rows = st.builds(
    Wide,
    text=texts,
    number=st.integers(-(10**12), 10**12),
    share=st.floats(allow_nan=False, allow_infinity=False),
    sure=st.booleans(),
    day=st.dates(),
    words=st.lists(texts, max_size=3),
    person=st.builds(Person, name=texts, age=st.integers(0, 150)),
    maybe=st.none() | texts,
    label=st.sampled_from(["a", "b"]),
)


@given(st.lists(rows, min_size=1, max_size=4))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_back_equal(tmp_path: Path, written: list[Wide]) -> None:
    data.write(written, tmp_path / "rows.jsonl")
    assert data.read(Wide, tmp_path / "rows.jsonl") == written
