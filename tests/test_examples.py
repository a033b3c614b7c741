"""The programs in `examples/` do what they say, as a newcomer would run them."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import declm as dm
from declm.messages import Capabilities, Request
from declm.testing import FunctionLM

FOLDER = Path(__file__).parent.parent / "examples"
PLANTS = FOLDER / "plants.csv"
CAUSES = {row["report"]: row["cause"] for row in csv.DictReader(PLANTS.read_text("utf-8").splitlines())}


@pytest.fixture
def example(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """One of the files, imported by path: the folder is no package."""
    name: str = request.param
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)  # Pydantic looks up annotations there
    spec.loader.exec_module(module)
    return module


def learner(request: Request) -> str:
    """A model that can do each step once it is shown demos, and without them only where plants lack water."""
    assert request.schema is not None
    (key,) = request.schema["properties"]
    last, has_demos = request.messages[-1].content, len(request.messages) > 2
    report = next((text for text in CAUSES if text[:60] in last), "")
    cause = CAUSES.get(report, "water")
    if key == "signs":
        return json.dumps({key: report[:60] if has_demos or cause == "water" else "a plant"})
    if key == "instructions":
        return json.dumps({key: "Find out what the plant suffers from."})
    return json.dumps({key: cause if has_demos else "water"})


@pytest.fixture
def lm() -> FunctionLM:
    return FunctionLM(learner, capabilities=Capabilities(structured=True))


@pytest.mark.parametrize("example", ["own_csv"], indirect=True)
def test_own_csv_tells_the_whole_story(
    example: ModuleType, lm: FunctionLM, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plants.json"
    arguments = [str(PLANTS), "--text", "report", "--label", "cause", "--calls", "200", "--out", str(out)]
    with dm.context(lm=lm):  # beats the `dm.configure` in `main`
        example.main(arguments)
    told = capsys.readouterr().out
    for part in ("48 rows, 0 of them without a label", "19 rows to learn from, 15 to compare by, 14 to test with"):
        assert part in told
    for part in ("Accepted: ", "The difference: +0.643", "loaded again it says"):
        assert part in told
    saved: dict[str, Any] = json.loads(out.read_text("utf-8"))
    assert saved["signatures"]["self"]["outputs"] == {"cause": '"light" | "pests" | "water"'}
    assert saved["predictors"]["self"]["demos"]


@pytest.mark.parametrize("example", ["own_csv"], indirect=True)
def test_own_csv_never_shows_test_rows_and_keeps_to_its_budget(
    example: ModuleType, lm: FunctionLM, tmp_path: Path
) -> None:
    _, rows = example.read(PLANTS, "Diagnose.", "report", "cause")
    test = {row.text for row in dm.data.split(rows, 0.4, 0.3, ..., seed=0, by=lambda row: row.label)[2]}
    with dm.context(lm=lm):
        best = example.tell(PLANTS, text="report", label="cause", calls=120, out=tmp_path / "plants.json")
    assert best.usage.calls <= 120
    assert not test & {demo.inputs["report"] for demo in best.program.predictor_state.demos}


@pytest.mark.parametrize("example", ["own_csv"], indirect=True)
def test_own_csv_leaves_unlabelled_rows_out_and_says_so(
    example: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["the text,kind", *(f"row {i},{'ab'[i % 2]}" for i in range(6)), "row 6,"]))
    signature, rows = example.read(path, "Sort.", "the text", "kind")
    assert len(rows) == 6
    assert "7 rows, 1 of them without a label" in capsys.readouterr().out
    assert dm.spec(signature).card == {"inputs": {"the text": "string"}, "outputs": {"kind": '"a" | "b"'}}
    assert dm.spec(signature).instructions == "Sort."


@pytest.mark.parametrize("example", ["own_csv"], indirect=True)
@pytest.mark.parametrize(("cells", "count"), [("abcdef", 6), ("aaaaaa", 1)])
def test_own_csv_refuses_a_column_that_holds_no_labels(
    example: ModuleType, cells: str, count: int, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["text,label", *(f"row {i},{cell}" for i, cell in enumerate(cells))]))
    with pytest.raises(SystemExit, match=f"'label' has {count} different values in 6 rows"):
        example.read(path, "Sort.", "text", "label")


@pytest.mark.parametrize("example", ["two_steps"], indirect=True)
def test_two_steps_gives_both_predictors_demos(
    example: ModuleType, lm: FunctionLM, capsys: pytest.CaptureFixture[str]
) -> None:
    with dm.context(lm=lm):
        example.main(["--calls", "300"])
    told = capsys.readouterr().out
    assert "Demos before: {'look': 0, 'diagnose': 0}, after:" in told
    assert "A demo of `look` (bootstrapped)" in told
    assert "A demo of `diagnose` (bootstrapped)" in told


@pytest.mark.parametrize("example", ["two_steps"], indirect=True)
def test_two_steps_learns_the_first_step_from_runs_that_end_well(example: ModuleType, lm: FunctionLM) -> None:
    with dm.context(lm=lm):
        best = example.tell(calls=300)
    look, diagnose = (best.program.state.predictors[path].demos for path in ("look", "diagnose"))
    assert look
    assert all(CAUSES[demo.inputs["report"]] == "water" for demo in look)  # the others went wrong without demos
    assert {demo.outputs["cause"] for demo in diagnose} == {"water"}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("example", ["own_csv"], indirect=True)
def test_own_csv_runs_on_a_real_model(example: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "plants.json"
    example.main([str(PLANTS), "--text", "report", "--label", "cause", "--calls", "100", "--out", str(out)])
    assert "loaded again it says" in capsys.readouterr().out
    assert out.is_file()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("example", ["two_steps"], indirect=True)
def test_two_steps_gives_both_predictors_demos_on_a_real_model(example: ModuleType) -> None:
    dm.configure(lm="local/smollm2")
    counts = example.demos(example.tell(calls=240).program)
    assert all(counts.values()), counts
