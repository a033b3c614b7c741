"""`declm eval`: a program measured from a shell, and checked against an earlier report."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from fault_server import completion, serving

import declm as dm
from declm.cli import main

PROGRAM = '''
import json, os, re
import declm as dm
from declm.testing import FunctionLM


class QA(dm.Signature):
    """Answer with one number."""

    question: str
    answer: str = dm.Output()


def say(request):
    number = int(re.findall(r"number (\\d+)", request.messages[-1].content)[-1])
    drifted = os.environ.get("DRIFTED") and number % 2
    kind = "Tersely" in request.messages[0].content and "!"
    return json.dumps({"answer": "?" if drifted else f"{number}{kind or ''}"})


answer = dm.Predict(QA, lm=FunctionLM(say))


class Wrapped(dm.Module):
    def __init__(self):
        self.answer = answer

    def forward(self, question: str) -> QA:
        return self.answer(question=question)


wrapped = Wrapped()


def correct(gold: QA, got: QA) -> bool:
    return gold.answer == got.answer
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM)
    lines = [json.dumps({"question": f"number {i}", "answer": str(i)}) for i in range(20)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    return tmp_path


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


Shell = Callable[..., Ended]


@pytest.fixture
def declm(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """Runs `declm eval` in the folder, in this process."""
    monkeypatch.chdir(folder)
    modules, path = set(sys.modules), list(sys.path)

    def run(*arguments: str, drifted: bool = False) -> Ended:
        monkeypatch.setenv("DRIFTED", "1" if drifted else "")
        monkeypatch.setattr(sys, "argv", ["declm", "eval", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Ended(int(ended.value.code or 0), said.out, said.err)

    yield run
    sys.path[:] = path
    for name in {"program", "broken"} - modules:
        sys.modules.pop(name, None)


USUAL = ("program.py:answer", "--data", "rows.jsonl", "--metric", "program.py:correct")


def test_a_program_that_has_drifted_ends_with_status_1_and_its_rows(folder: Path, declm: Shell) -> None:
    first = declm(*USUAL, "--save", "report.json")
    assert first.status == 0, first.err
    assert "score    1.000" in first.out
    assert dm.Report.load(folder / "report.json").score == 1.0
    same = declm(*USUAL, "--against", "report.json")
    assert same.status == 0, same.err
    assert "+0.000" in same.out
    worse = declm(*USUAL, "--against", "report.json", drifted=True)
    assert worse.status == 1, worse.err
    assert "-0.500" in worse.out
    assert "1.00 -> 0.00  question='number 1', answer='1'" in worse.out
    assert "and 5 more rows that changed" in worse.out
    assert "worse than it was" in worse.out


def test_a_check_against_a_report_asks_anew(
    folder: Path, declm: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DECLM_CACHE_DIR", str(tmp_path / "cache"))
    with serving() as server:
        server.answer = lambda body: completion(json.dumps({"answer": body["messages"][-1]["content"].split()[-1]}))
        asked = f"lm=dm.LM('openai/any', api_base={server.url!r}, api_key='k')"
        (folder / "program.py").write_text(PROGRAM.replace("lm=FunctionLM(say)", asked))
        for arguments, count in (
            (("--save", "report.json"), 20),
            ((), 20),
            (("--against", "report.json"), 40),
            (("--against", "report.json", "--cache"), 40),
        ):
            assert declm(*USUAL, *arguments).status == 0
            assert server.count == count


def test_a_report_of_a_script_is_compared_with(folder: Path, declm: Shell) -> None:
    ending = "\nrows = dm.data.read(QA, 'rows.jsonl')\ndm.evaluate(answer, rows, correct).save('report.json')\n"
    (folder / "script.py").write_text(PROGRAM + ending)
    subprocess.run([sys.executable, "script.py"], cwd=folder, check=True, timeout=60)
    found = declm(*USUAL, "--against", "report.json")
    assert (found.status, found.err) == (0, "")
    assert "+0.000" in found.out


def test_a_few_rows_that_changed_are_no_proof(folder: Path, declm: Shell) -> None:
    declm(*USUAL, "--limit", "4", "--save", "report.json")
    found = declm(*USUAL, "--limit", "4", "--against", "report.json", drifted=True)
    assert found.status == 0, found.err
    assert "-0.500" in found.out
    assert "worse than it was" not in found.out


def test_modules_states_and_repeats(folder: Path, declm: Shell) -> None:
    needs_rows = declm("program:wrapped", "--data", "rows.jsonl", "--metric", "program:correct")
    assert needs_rows.status == 2
    assert "--rows program:YourSignature" in needs_rows.err
    arguments = ("--data", "rows.jsonl", "--metric", "program:correct", "--rows", "program:QA", "--repeats", "2")
    found = declm("program:wrapped", *arguments)
    assert found.status == 0, found.err
    assert "2 runs of each of 20 rows" in found.out
    sys.modules["program"].answer.with_instructions("Tersely.").save(folder / "state.json")
    loaded = declm(*USUAL, "--state", "state.json")
    assert "score    0.000" in loaded.out, loaded.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("program.py:anser", *USUAL[1:]), "has no 'anser'; did you mean 'answer'?"),
        (("nowhere.py:answer", *USUAL[1:]), "there is no file 'nowhere.py'"),
        (("no.such.module:answer", *USUAL[1:]), "the module 'no.such.module' can't be imported"),
        (("answer", *USUAL[1:]), "must be written as file.py:name"),
        (("broken.py:answer", *USUAL[1:]), "broken.py' can't be imported: ZeroDivisionError"),
        (("broken.py:answer", *USUAL[1:]), "broken.py, line 2)"),
        (("queue.py:answer", *USUAL[1:]), "queue.py is called like a module that others import"),
        ((*USUAL, "--against", "none.json"), "there is no file 'none.json'"),
        ((*USUAL[:2], "none.jsonl", *USUAL[3:]), "none.jsonl"),
        (("program.py:correct", *USUAL[1:], "--state", "s.json"), "leave out --state"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_with_status_2(
    folder: Path, declm: Shell, arguments: tuple[str, ...], message: str
) -> None:
    (folder / "broken.py").write_text("one = 1\none / 0")
    (folder / "queue.py").write_text(PROGRAM)
    found = declm(*arguments)
    assert found.status == 2, found.out
    assert message in found.err
    assert "Traceback" not in found.err
