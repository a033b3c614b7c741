"""The introduction runs from the first cell to the last: with a double, under a running loop, and on a real model."""

from __future__ import annotations

import ast
import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import declm as dm
from declm import settings
from declm.messages import Capabilities, Request
from declm.testing import FunctionLM

INTRO = Path(__file__).parent.parent / "docs" / "notebooks" / "intro.ipynb"
CELLS: list[dict[str, Any]] = json.loads(INTRO.read_text("utf-8"))["cells"]
CODE = {cell["id"]: "".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"}
CALLS = 120
"""What the search may spend, as the notebook says."""


def labels() -> dict[str, str]:
    """The notebook's own rows."""
    lists = [node for node in ast.walk(ast.parse(CODE["rows"])) if isinstance(node, ast.List)]
    return {row["text"]: row["feeling"] for row in ast.literal_eval(lists[0])}


FEELINGS = labels()


def baker(request: Request) -> str:
    """A model that reads notes well once it is shown demos, and finds everybody pleased before."""
    assert request.schema is not None
    last, has_demos = request.messages[-1].content, len(request.messages) > 2
    feeling = next((feeling for text, feeling in FEELINGS.items() if text in last), "pleased")
    answers: dict[str, Any] = {
        "feeling": feeling if has_demos else "pleased",
        "reasoning": "The customer thanks us.",
        "result": True,
        "reply": "Thank you!",
        "instructions": "Tell thanks from anger.",
    }
    return json.dumps({key: answers[key] for key in request.schema["properties"]})


def show(value: Any) -> str:
    """What a notebook shows of a cell's last value: its HTML if it has any."""
    html = getattr(value, "_repr_html_", None)
    return html() if html else repr(value)


def run_cells(namespace: dict[str, Any]) -> dict[str, str]:
    """Run all cells as a kernel does; returns what each one shows below itself."""
    shown: dict[str, str] = {}
    for name, code in CODE.items():
        *body, last = ast.parse(code, f"cell {name}").body
        if not isinstance(last, ast.Expr):
            body, last = [*body, last], None
        exec(compile(ast.Module(body, []), f"cell {name}", "exec", dont_inherit=True), namespace)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), f"cell {name}", "eval", dont_inherit=True), namespace)
            shown[name] = show(value)
    return shown


@pytest.fixture
def namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Globals of a module of its own, in an empty folder."""
    monkeypatch.chdir(tmp_path)  # the notebook saves beside itself
    return {"__name__": "intro"}


def check(namespace: dict[str, Any], shown: dict[str, str], lm: FunctionLM) -> None:
    """Every chapter of the story came out as its words say."""
    assert shown["call"] == "'pleased'"
    assert namespace["run"].value.reply == "Thank you!"
    assert [call.path for call in namespace["run"].trace.children] == ["mood", "answer"]
    assert namespace["thought"].reasoning == "The customer thanks us."
    assert shown["function"] == "True"
    assert shown["rows"] == "(10, 10, 10)"
    assert namespace["before"].score == 0.5
    assert shown["evaluate"].startswith("<")
    assert "0.500" in shown["evaluate"]
    best = namespace["best"]
    assert (best.score, best.baseline) == (1.0, 0.5)
    assert best.usage.calls <= CALLS
    assert shown["report"].startswith("<")
    assert "Accepted" in shown["report"]
    assert namespace["after"].score == 1.0
    assert shown["save"] == "True"
    assert "Tell thanks" in "".join(request.messages[0].content for request in lm.requests)


@pytest.fixture
def lm() -> FunctionLM:
    return FunctionLM(baker, capabilities=Capabilities(structured=True))


def test_the_introduction_runs(
    namespace: dict[str, Any], lm: FunctionLM, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with dm.context(lm=lm):  # beats the `dm.configure` of the first cell
        shown = run_cells(namespace)
    check(namespace, shown, lm)
    told = capsys.readouterr().out
    assert "has no input 'txt'; did you mean 'text'?" in told
    assert "[system]\nTell what a customer feels" in told
    assert "+0.500" in told
    assert [path.name for path in tmp_path.iterdir()] == ["bakery.json"]


async def test_the_introduction_runs_under_a_running_loop_as_in_jupyter(
    namespace: dict[str, Any], lm: FunctionLM
) -> None:
    asyncio.get_running_loop()  # the cells are plain code, called from inside a coroutine
    with dm.context(lm=lm):
        shown = run_cells(namespace)
    check(namespace, shown, lm)


def test_the_model_of_the_introduction_is_chosen_by_the_environment(
    namespace: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DECLM_NOTEBOOK_LM", raising=False)
    exec(CODE["lm"], namespace)
    assert settings.current().lm == "local/smollm2"
    monkeypatch.setenv("DECLM_NOTEBOOK_LM", "openai/gpt-5-mini")
    exec(CODE["lm"], namespace)
    assert settings.current().lm == "openai/gpt-5-mini"


def test_the_introduction_is_stored_without_outputs() -> None:
    for cell in CELLS:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
        assert cell["metadata"] == {}


def test_the_introduction_has_few_rows_and_none_of_the_demo() -> None:
    folder = Path(dm.__file__).parent / "cli" / "tool_library"
    demo = {json.loads(line)["message"] for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()}
    assert 20 <= len(FEELINGS) <= 30
    assert not demo & FEELINGS.keys()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_introduction_runs_in_a_kernel_on_a_real_model(tmp_path: Path) -> None:
    import nbclient
    import nbformat

    notebook = nbformat.read(INTRO, as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    assert outputs["call"][0].data["text/plain"] in ("'pleased'", "'annoyed'")
    for name in ("evaluate", "report", "after"):
        assert any("text/html" in output.get("data", {}) for output in outputs[name]), name
    assert (tmp_path / "bakery.json").is_file()
