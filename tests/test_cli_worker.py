"""`declm worker`: a script in several processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import declm as dm
from declm.cli.working import work

SCRIPT = """
import os, sys
import declm as dm
from declm.testing import FunctionLM

def answer(request):
    handle = os.open("calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, b"call\\n")
    os.close(handle)
    return '{"answer": "yes"}'

rows = [dm.define("question -> answer")(question=f"no. {n}", answer="yes") for n in range(40)]
program = dm.Predict("question -> answer", lm=FunctionLM(answer))
report = dm.evaluate(program, rows, lambda gold, got: gold.answer == got.answer, name="rows.sqlite", progress=False)
print(report.score, len(report.rows), *sys.argv[1:])
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "study.py"
    path.write_text(SCRIPT)
    return path


def declm(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from declm.cli import main; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def test_processes_share_the_rows_and_one_tells_the_story(script: Path) -> None:
    done = declm("worker", str(script), "-n", "2", "given")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1.0", "40", "given"]
    assert Path("calls").read_text().count("call") == 40


def test_a_process_that_fails_is_named_and_the_others_count(script: Path) -> None:
    script.write_text(
        'import os\ntry:\n    os.mkdir("first")\nexcept FileExistsError:\n    pass\nelse:\n    raise SystemExit(3)\n'
    )
    said = list[str]()
    assert work(said.append, script, 2) == 1
    assert len(said) == 1
    assert said[0].endswith("of 2 ended with status 3")


def test_if_all_fail_so_does_the_command(script: Path) -> None:
    script.write_text("raise SystemExit(1)")
    done = declm("worker", str(script))
    assert done.returncode == 1
    assert "process 1 of 2 ended with status 1" in done.stdout


def test_the_script_must_be_there() -> None:
    with pytest.raises(dm.UsageError, match="no script 'none.py'"):
        work(print, Path("none.py"), 2)


def test_there_must_be_a_process(script: Path) -> None:
    with pytest.raises(dm.UsageError, match="0 processes"):
        work(print, script, 0)
