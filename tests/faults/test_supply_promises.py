"""Promise 37: nothing that was installed with declm runs code by itself, and releases that stole are refused."""

from __future__ import annotations

import re
import sysconfig
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

KNOWN = {
    # setuptools' own, in environments that hold it: keeps the old name of a module of the standard library alive.
    "distutils-precedence.pth": "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; ",
    # virtualenv's own, in environments that it made.
    "_virtualenv.pth": "import _virtualenv",
}
"""Files by name, with what their code begins with."""


def that_run_code(folder: Path) -> list[str]:
    """Lines that Python runs at every start, of files that nobody knows; other lines are folders to search."""
    return [
        f"{path.name}: {line[:100]}"
        for path in sorted(folder.glob("*.pth"))
        for line in path.read_text("utf-8", "replace").splitlines()
        if line.startswith(("import ", "import\t"))
        if not line.startswith(KNOWN.get(path.name, "\n"))
    ]


def test_no_package_runs_code_at_every_start() -> None:
    folders = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    assert [line for folder in folders for line in that_run_code(folder)] == []


@pytest.mark.parametrize("name", ["litellm_init.pth", "distutils-precedence.pth"])
def test_what_a_thief_plants_is_seen(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("import subprocess; subprocess.run(['true'])\n")
    (tmp_path / "editable.pth").write_text("/somewhere/src\n")
    assert [line.split(":")[0] for line in that_run_code(tmp_path)] == [name]


def test_releases_that_stole_credentials_are_never_installed() -> None:
    asked = [Requirement(line) for line in requires("declm") or ()]
    litellm = next(one.specifier for one in asked if one.name == "litellm")
    assert "1.106.2" in litellm
    for stolen in ("1.82.7", "1.82.8"):
        assert stolen not in litellm
    # Also for whoever loosens the lower bound.
    assert {str(one) for one in litellm} >= {"!=1.82.7", "!=1.82.8"}


LOCK = Path(__file__).parent.parent.parent / "requirements.lock"


def locked() -> dict[str, list[str]]:
    """What the lock file pins, as `name==version; marker`, with the hashes of its files."""
    entries = re.split(r"\n(?=\S)", LOCK.read_text("utf-8"))
    return {
        entry.partition(" \\\n")[0]: re.findall(r"--hash=sha256:([0-9a-f]{64})", entry)
        for entry in entries
        if entry[0] != "#"
    }


def test_every_file_that_the_lock_takes_has_a_hash() -> None:
    found = locked()
    assert len(found) > 50
    assert [name for name, hashes in found.items() if not hashes] == []
    assert all("==" in name for name in found)


def test_the_lock_holds_what_declm_requires() -> None:
    pinned = [Requirement(line) for line in locked()]
    for asked in (Requirement(line) for line in requires("declm") or ()):
        if asked.marker is None or asked.marker.evaluate({"extra": ""}):
            versions = [next(iter(one.specifier)).version for one in pinned if one.name == asked.name]
            assert versions, f"{asked.name} is not in the lock: run  nox -s lock"
            assert all(version in asked.specifier for version in versions), f"{asked}: run  nox -s lock"
