"""The typing contract, read by pyright strict and mypy strict, without plugins.

`typing/good_*.py` must pass; in `typing/bad_*.py` exactly the lines marked `# expect: ...` must be reported.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "typing"
README = FOLDER.parent.parent / "README.md"
GOOD = [*sorted(path.name for path in FOLDER.glob("good_*.py")), "good_readme.py"]
BAD = sorted(path.name for path in FOLDER.glob("bad_*.py"))

Found = dict[str, dict[int, str]]
"""Reported lines, with what was said, by file name."""


def pyright(folder: Path) -> Found:
    config: dict[str, object] = {"include": ["typing"], "typeCheckingMode": "strict", "pythonVersion": "3.10"}
    # Lines that show a mistake by an expression alone are not wrong for being one.
    config |= dict.fromkeys(("reportUnusedExpression", "reportUnusedCoroutine", "reportUnusedVariable"), False)
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "pyright", "-p", str(folder), "--pythonpath", sys.executable, "--outputjson"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.stdout.startswith("{"), f"pyright did not run: {done.stdout}{done.stderr}"
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len(GOOD + BAD)
    found: Found = {}
    for item in report["generalDiagnostics"]:
        lines = found.setdefault(Path(item["file"]).name, {})
        lines[item["range"]["start"]["line"] + 1] = item["message"]
    return found


def mypy(folder: Path) -> Found:
    config = "[mypy]\nstrict = True\npython_version = 3.10\n"
    # Only our own types matter here, and reading these would take a minute.
    for library in ("litellm", "openai", "instructor", "optuna", "numpy", "pandas", "pyarrow", "xllamacpp", "typer"):
        config += f"[mypy-{library}.*]\nfollow_imports = skip\nignore_missing_imports = True\n"
    (folder / "mypy.ini").write_text(config)
    command = [sys.executable, "-m", "mypy", "--config-file", str(folder / "mypy.ini"), "--no-error-summary"]
    command += ["--cache-dir", str(folder / "cache"), "--no-pretty", "--verbose", str(folder / "typing")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode in (0, 1), f"mypy did not run: {done.stdout}{done.stderr}"
    assert all(name in done.stderr for name in GOOD + BAD), "mypy did not read all files"
    found: Found = {}
    for line in done.stdout.splitlines():
        match = re.match(r"(.+?):(\d+): error: (.*)", line)
        if match and Path(match[1]).parent.name == "typing":
            found.setdefault(Path(match[1]).name, {})[int(match[2])] = match[3]
    return found


@pytest.fixture(scope="module", params=[pyright, mypy], ids=["pyright", "mypy"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Found:
    checker: Callable[[Path], Found] = request.param
    folder = tmp_path_factory.mktemp("checker")
    shutil.copytree(FOLDER, folder / "typing", ignore=shutil.ignore_patterns("__pycache__"))
    blocks = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    (folder / "typing" / "good_readme.py").write_text("\n".join(blocks))
    return checker(folder)


def expected(name: str) -> dict[int, str]:
    lines = (FOLDER / name).read_text("utf-8").splitlines()
    return {number: line.split("# expect:")[1] for number, line in enumerate(lines, 1) if "# expect:" in line}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", GOOD)
def test_right_code_passes(name: str, found: Found) -> None:
    assert not found.get(name)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", BAD)
def test_planted_mistakes_and_nothing_else_are_reported(name: str, found: Found) -> None:
    planted, reported = expected(name), found.get(name, {})
    missed = {number: what for number, what in planted.items() if number not in reported}
    surplus = {number: said for number, said in reported.items() if number not in planted}
    assert not missed, f"not reported: {missed}"
    assert not surplus, f"reported without being planted: {surplus}"


def test_there_are_enough_mistakes() -> None:
    assert sum(len(expected(name)) for name in BAD) >= 60
