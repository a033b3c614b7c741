"""The README, the docs and the docstrings say what is true: their examples run, their links lead somewhere."""

from __future__ import annotations

import doctest
import importlib
import json
import re
from pathlib import Path

import pytest
from pages import ROOT, Block, Reader, blocks
from sources import SOURCES

import declm as dm
from declm import errors
from declm.templates.environment import Environment

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES_OF_CODE = {page: blocks(page) for page in PAGES}
RUNNABLE = [page for page, found in PAGES_OF_CODE.items() if found]
SKIPPED = [block for found in PAGES_OF_CODE.values() for block in found if block.skip]


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to work in, with the two files of rows that the pages name."""
    for name in ("train.jsonl", "dev.jsonl"):
        made = [{"ticket": f"{name} {i}", "team": ["billing", "bugs"][i % 2], "urgency": 3} for i in range(12)]
        (tmp_path / name).write_text("\n".join(json.dumps(row) for row in made))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples_run(page: Path) -> None:
    """As written, but for the model: a double answers in place of what `dm.configure` names."""
    reader = Reader()
    for block in PAGES_OF_CODE[page]:
        if not block.skip:
            reader.run(block)


@pytest.mark.parametrize("block", SKIPPED, ids=str)
def test_an_example_that_is_not_run_says_why(block: Block) -> None:
    compile(block.code, str(block.page), "exec", dont_inherit=True)
    pytest.skip(block.skip)


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


def test_every_error_is_explained() -> None:
    """The page has the tree as the code has it, and a word on each kind."""
    text = (ROOT / "docs" / "errors.md").read_text("utf-8")
    tree = (errors.__doc__ or "").split("\n\n")[1]
    assert f"```text\n{tree}\n```" in text
    kinds = [cls.__name__ for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, BaseException)]
    explained = re.findall(r"^\| `(\w+)`", text, re.MULTILINE)
    assert sorted(explained) == sorted(kinds)


def test_every_filter_of_templates_is_listed() -> None:
    text = (ROOT / "docs" / "prompts.md").read_text("utf-8")
    found = re.search(r"Its filters are (.*?)\. A value", text, re.DOTALL)
    assert found
    assert set(re.findall(r"`(\w+)`", found[1])) == Environment().filters.keys() - {"charge"}  # for our own use
