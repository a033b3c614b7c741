"""Where templates come from, and what is said when one is wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import declm
from declm.errors import TemplateError
from declm.fields import Output
from declm.formats import Prompt, choose
from declm.messages import Capabilities, Request
from declm.signature import Signature
from declm.specs import spec
from declm.templates import Names, Templates, own_folder


class QA(Signature):
    """Answer."""

    question: str
    notes: list[str]
    answer: str = Output()


INPUTS = {"question": "Who?", "notes": ["a", "b"]}


def _request(templates: Templates) -> Request:
    return choose("json", Capabilities()).render(Prompt(spec(QA), templates=templates), INPUTS)


def _folder(path: Path, **parts: str) -> Path:
    (path / "json").mkdir(parents=True)
    for part, text in parts.items():
        (path / "json" / f"{part}.jinja").write_text(text)
    return path


def test_declm_finds_its_own_templates_in_a_checkout() -> None:
    assert (own_folder() / "json" / "system.jinja").is_file()
    assert (own_folder().parent / "pyproject.toml").is_file() or own_folder().name == "_templates"


def _installed(path: Path, *, templates: bool) -> subprocess.CompletedProcess[str]:
    """Where a copy of the package, as an installer would lay it out, finds its templates."""
    shutil.copytree(Path(declm.__file__).parent, path / "declm", ignore=shutil.ignore_patterns("__pycache__"))
    if templates:
        shutil.copytree(own_folder(), path / "declm" / "_templates")
    code = "from declm.templates import own_folder; print(own_folder())"
    return subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env={**os.environ, "PYTHONPATH": str(path)},
        cwd=path,
        capture_output=True,
        text=True,
    )


def test_declm_finds_its_own_templates_where_it_is_installed(tmp_path: Path) -> None:
    assert Path(_installed(tmp_path, templates=True).stdout.strip()) == tmp_path.resolve() / "declm" / "_templates"


def test_a_broken_installation_is_reported(tmp_path: Path) -> None:
    assert "install declm again" in _installed(tmp_path, templates=False).stderr


def test_every_format_has_all_parts_and_they_all_pass_their_checks() -> None:
    for format in ("json", "chat", "xml", "native", "two_step"):
        Prompt(spec(QA), reasoning="reasoning").check(format)


def test_a_folder_shadows_single_parts(tmp_path: Path) -> None:
    request = _request(Templates(folders=(_folder(tmp_path, user="Q: {{ question }}"),)))
    assert request.messages[-1].content == "Q: Who?"
    assert request.messages[0] == _request(Templates()).messages[0]


def test_an_earlier_folder_wins(tmp_path: Path) -> None:
    first, second = _folder(tmp_path / "a", user="first"), _folder(tmp_path / "b", user="second", system="mine")
    request = _request(Templates(folders=(first, second)))
    assert [message.content for message in request.messages] == ["mine", "first"]


def test_a_text_wins_over_every_folder(tmp_path: Path) -> None:
    folder = _folder(tmp_path, user="from the folder")
    request = _request(
        Templates(folders=(folder,), overrides={"user": "{{ question }} {{ values.notes | join('+') }}"})
    )
    assert request.messages[-1].content == "Who? a+b"


def test_a_folder_may_replace_the_shared_macros(tmp_path: Path) -> None:
    macros = (own_folder() / "_macros.jinja").read_text().replace("{{ instructions }}", "{{ instructions | upper }}")
    (tmp_path / "_macros.jinja").write_text(macros)
    assert _request(Templates(folders=(tmp_path,))).messages[0].content.startswith("ANSWER.")


def test_a_relative_folder_is_found_whatever_the_working_directory_is_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _folder(tmp_path / "mine", user="mine")
    monkeypatch.chdir(tmp_path)
    templates = Templates(folders=(Path("mine"),))
    assert _request(templates).messages[-1].content == "mine"
    monkeypatch.chdir("/")
    assert _request(templates).messages[-1].content == "mine"


def test_an_edited_file_is_seen_by_the_next_prompt(tmp_path: Path) -> None:
    folder = _folder(tmp_path, user="old")
    assert _request(Templates(folders=(folder,))).messages[-1].content == "old"
    (folder / "json" / "user.jinja").write_text("new")
    assert _request(Templates(folders=(folder,))).messages[-1].content == "new"


def test_values_are_never_rendered_again() -> None:
    prompt = Prompt(spec(QA), templates=Templates(overrides={"user": "{{ question }}{% set q = question %}{{ q }}"}))
    request = choose("json", Capabilities()).render(prompt, {"question": "{{ 7*7 }}{% raw %}", "notes": []})
    assert request.messages[-1].content == "{{ 7*7 }}{% raw %}" * 2


def test_fields_hidden_by_a_variable_are_reached_through_values() -> None:
    class Odd(Signature):
        inputs: str
        values: str
        items: str
        answer: str = Output()

    texts = {"user": "{{ values.inputs }} {{ values['values'] }} {{ values.items }} {{ items }}"}
    prompt = Prompt(spec(Odd), templates=Templates(overrides=texts))
    request = choose("json", Capabilities()).render(prompt, {"inputs": "a", "values": "b", "items": "c"})
    assert request.messages[-1].content == "a b c c"


def test_lists_and_numbers_print_as_json() -> None:
    request = _request(Templates(overrides={"user": "{{ notes }} {{ notes | length > 1 }} {{ 1.5 }} {{ none }}"}))
    assert request.messages[-1].content == '["a", "b"] true 1.5 null'


def test_the_hash_changes_with_the_content_alone(tmp_path: Path) -> None:
    same = _folder(tmp_path / "same", user=(own_folder() / "json" / "user.jinja").read_text())
    other = _folder(tmp_path / "other", user="other")
    plain = Templates().hash("json")
    assert Templates(folders=(same,)).hash("json") == plain
    assert len({plain, Templates(folders=(other,)).hash("json"), Templates(overrides={"user": "x"}).hash("json")}) == 3
    assert Templates().hash("chat") != plain


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("{{ question }}\n{{ questoin }}", 2, "did you mean `question`?"),
        ("\n\n{{ values.nots }}", 3, "did you mean `notes`?"),
        ("{{ values['answer'] }}", 1, "unknown field `values.answer`"),
        ("{% for n in note %}{{ n }}{% endfor %}", 1, "Its fields are `question`, `notes`"),
        ("a\n{% if question %}b", 2, "Unexpected end of template"),
        ("{{ question | uper }}", 1, "No filter named 'uper'"),
        ("\n{{ question is nice }}", 2, "No test named 'nice'"),
        ("{% include 'json/user.jinja' %}", 1, "include is not available"),
        ("\n{{ question.upper() }}", 2, "only macros can be called"),
        ("{% import 'nowhere.jinja' as m %}", None, "no template 'nowhere.jinja'"),
    ],
)
def test_a_wrong_template_is_reported_when_it_is_loaded(text: str, line: int | None, said: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Prompt(spec(QA), templates=Templates(overrides={"user": text}, owner="triage")).check("json")
    assert caught.value.line == line
    assert caught.value.name == "<template of predictor triage, part user>"
    assert said in str(caught.value)
    assert str(caught.value).startswith(
        "<template of predictor triage, part user>" + (f", line {line}:" if line else ":")
    )


def test_a_wrong_file_is_reported_with_its_path(tmp_path: Path) -> None:
    folder = _folder(tmp_path, user="fine\n{{ quesion }}")
    with pytest.raises(TemplateError) as caught:
        _request(Templates(folders=(folder,)))
    assert caught.value.name == str(folder / "json" / "user.jinja")
    assert caught.value.line == 2


def test_a_wrong_imported_file_is_reported_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "_macros.jinja").write_text("{% macro task(a) %}\n{% endfor %}")
    with pytest.raises(TemplateError) as caught:
        _request(Templates(folders=(tmp_path,)))
    assert caught.value.name == str(tmp_path / "_macros.jinja")
    assert caught.value.line == 2


def test_a_failure_while_rendering_names_the_line() -> None:
    with pytest.raises(TemplateError, match=r"line 2: .*'dict object' has no attribute 'nme'") as caught:
        _request(Templates(overrides={"user": "\n{% for f in inputs %}{{ f.nme }}{% endfor %}"}))
    assert caught.value.line == 2


def test_any_other_file_is_rendered_with_the_variables_given(tmp_path: Path) -> None:
    (tmp_path / "more.jinja").write_text("{% from '_macros.jinja' import types %}\n{{ word }}{{ types(map) }}")
    templates = Templates(folders=(tmp_path,))
    assert templates.text("more.jinja", {"word": "yes", "map": {"A": "B"}}) == "yes\nwhere\nA = B"
    assert templates.source("more.jinja").endswith("}}")
    with pytest.raises(TemplateError, match="unknown variable `word`"):
        templates.text("more.jinja", {"wrd": "no", "map": {}})


def test_a_missing_part_names_the_folders_that_were_searched(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"no template 'yaml/user.jinja' in .*"):
        Templates(folders=(tmp_path,)).part("yaml", "user", Names(()))


def test_a_template_that_is_no_text_is_reported(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "json" / "user.jinja").write_bytes(b"\xff\xfe{{")
    with pytest.raises(TemplateError, match="can't be read"):
        _request(Templates(folders=(folder,)))


def test_a_variable_that_one_branch_sets_is_known(tmp_path: Path) -> None:
    folder = tmp_path / "json"
    folder.mkdir()
    (folder / "system.jinja").write_text("{% if outputs %}{% set one = outputs[0] %}{{ one.key }}{% endif %}")
    Templates((tmp_path,)).part("json", "system", Names(("outputs",)))
