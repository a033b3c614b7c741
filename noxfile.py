"""Sessions for people; `.ci/run` holds what must pass before a change lands. `nox -l` lists them."""

from __future__ import annotations

import re
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests"]

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting; `nox -s lint -- fix` mends what can be mended."""
    session.install(*requirements("lint"))
    fix = "fix" in session.posargs
    session.run("ruff", "check", *(["--fix"] if fix else []))
    session.run("ruff", "format", *([] if fix else ["--check"]))


@nox.session
def types(session: nox.Session) -> None:
    """Check types with pyright and mypy, and that planted mistakes are reported."""
    session.install("-e", ".[test,local,data]")
    session.run("pyright")
    session.run("mypy")
    session.run("pytest", "tests/test_typing.py")


@nox.session
def lock(session: nox.Session) -> None:
    """Write `requirements.lock`: what `pip install declm` takes today, with a hash for every file."""
    session.install("uv")
    written = "--custom-compile-command", "nox -s lock", "--no-annotate", "--generate-hashes", "-o", "requirements.lock"
    session.run(
        "uv", "pip", "compile", "pyproject.toml", "--universal", "--python-version", "3.10", "--upgrade", *written
    )


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests on every Python; arguments go to pytest (`nox -s tests-3.12 -- -m slow`)."""
    session.install("-e", ".[test,local,data]")
    session.run("pytest", *session.posargs)


@nox.session(python="3.10")
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest versions that `pyproject.toml` allows, on the lowest Python."""
    session.install("-e", ".[test,local,data]", *requirements("", "local", "data", pinned=True))
    session.run("pytest", "--deselect", "tests/test_typing.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Run every example in the README, in docs/ and in docstrings, and check links."""
    session.install("-e", ".[test,local,data,notebook]")
    session.run("pytest", "tests/test_docs.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks; `nox -s bench -- --help` tells the arguments."""
    session.install("-e", ".[local,data]")
    session.run("python", "benchmarks/real_tasks.py", *session.posargs)


@nox.session
def demo_seeds(session: nox.Session) -> None:
    """Run the demo with ten seeds, for every night; rewrites its figures in docs/benchmarks.md."""
    session.install("-e", ".[local]")
    session.run("declm", "pull", "smollm2")
    figures = Path("benchmarks/results/demo_seeds.jsonl")
    figures.unlink(missing_ok=True)
    session.run("python", "benchmarks/demo_seeds.py", f"--out={figures}", *session.posargs)
    session.run("python", "benchmarks/publish.py")


@nox.session
def build(session: nox.Session) -> None:
    """Build the source archive, and the wheel from it."""
    session.install("build")
    session.run("python", "-m", "build", "--outdir", "dist")


def requirements(*extras: str, pinned: bool = False) -> list[str]:
    """The requirements of these extras ("" is the core); pinned to their floors if wanted."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    found = list[str]()
    for extra in extras:
        found += project["optional-dependencies"][extra] if extra else project["dependencies"]
    return [re.sub(r">=([\w.]+).*", r"==\1", line) if pinned else line for line in found]
