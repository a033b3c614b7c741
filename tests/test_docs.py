"""The README, the docs and the docstrings say what is true: their examples run, their links lead somewhere."""

from __future__ import annotations

import doctest
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sources import SOURCES

import declm as dm
from declm.messages import Capabilities, Request
from declm.testing import FunctionLM

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUNNABLE = [page for page in PAGES if "```python" in page.read_text("utf-8")]


def answer(request: Request) -> str:
    """A valid reply to any request that constrains its reply: the first choice of everything."""
    assert request.schema is not None
    return json.dumps(sample(request.schema, request.schema.get("$defs", {})))


def sample(schema: Any, definitions: Any) -> Any:
    if "$ref" in schema:
        return sample(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return sample(schema[key][0], definitions)
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    if schema.get("type") == "object":
        return {name: sample(s, definitions) for name, s in schema.get("properties", {}).items()}
    return {"array": [], "integer": schema.get("minimum", 1), "number": 0.5, "boolean": True}.get(
        schema["type"], "text"
    )


def blocks(page: Path) -> Iterator[str]:
    yield from re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As written, but for the model: a double answers in place of what `dm.configure` names."""
    for name in ("train.jsonl", "dev.jsonl"):
        rows = [{"ticket": f"{name} {i}", "team": ["billing", "bugs"][i % 2], "urgency": 3} for i in range(12)]
        (tmp_path / name).write_text("\n".join(json.dumps(row) for row in rows))
    monkeypatch.chdir(tmp_path)
    lm = FunctionLM(answer, capabilities=Capabilities(structured=True))
    code = re.sub(r'dm\.configure\(lm="[^"]*"\)', "dm.configure(lm=lm)", "\n".join(blocks(page)))
    exec(compile(code, str(page), "exec", dont_inherit=True), {"lm": lm, "__name__": "example"})
    assert lm.requests


@pytest.mark.parametrize("name", [name for name in SOURCES if ">>>" in SOURCES[name].path.read_text("utf-8")])
def test_docstring_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.attempted
    assert not result.failed, "see the output above"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))
    missing = [t for t in targets if not t.startswith(("http://", "https://")) and not (page.parent / t).exists()]
    assert not missing


def test_the_readme_names_the_two_commands_that_ci_runs() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    for name, must_run in (("demo", "declm demo"), ("tests", "pytest")):
        block = re.search(rf"<!-- run: {name} -->\n```bash\n(.*?)```", text, re.DOTALL)
        assert block
        assert must_run in block[1]
        assert len(block[1].strip().splitlines()) == 1


def test_every_public_class_and_function_is_documented_with_an_example_or_is_plain_data() -> None:
    undocumented = [name for name in dm.__all__ if not getattr(dm, name).__doc__]
    assert not undocumented
