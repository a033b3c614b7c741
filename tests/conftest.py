"""What every test gets: no network beyond this machine, no shared state, a summary of what did not run."""

from __future__ import annotations

import collections
import gc
import ipaddress
import itertools
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from declm import settings
from declm.errors import UnknownModel
from declm.files import cache_dir
from declm.lm.weights import model_path

# The machine may be busy; speed has tests of its own.
hypothesis.settings.register_profile("declm", deadline=None)
hypothesis.settings.load_profile("declm")

_LOCAL_NAMES = {"localhost", "", None}


def _is_local(host: Any) -> bool:
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host in _LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_network(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(args[1], tuple):  # a path is a Unix socket
        host = args[1][0]
    elif event == "socket.getaddrinfo":
        host = args[0]
    else:
        return
    if not _is_local(host):
        raise RuntimeError(f"a test wants to reach {host!r}: tests run without a network, use a server on loopback")


# An audit hook sees every library's sockets and needs no patching; it stays for the whole process.
sys.addaudithook(_refuse_network)


_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test its own cache folder and settings; models that were pulled before stay in reach."""
    models = cache_dir("models")
    folder = tmp_path_factory.getbasetemp() / "caches" / str(next(_numbers))  # `mktemp` lists all folders each time
    folder.mkdir(parents=True)
    (folder / "models").symlink_to(models)
    monkeypatch.setenv("DECLM_CACHE_DIR", str(folder))
    before = settings._process[0]  # no public way back to "nothing configured", and users need none
    settings._process[0] = settings.Settings()
    yield
    settings._process[0] = before


@pytest.fixture(scope="session")
def gguf() -> Path:
    """The file of SmolLM2-135M, from `$DECLM_TEST_GGUF` or pulled before."""
    pytest.importorskip("xllamacpp", reason="the extra 'local' is not installed")
    given = os.environ.get("DECLM_TEST_GGUF")
    if given:
        return Path(given)
    try:
        return model_path("smollm2")
    except UnknownModel:
        pytest.skip("no model file: run  declm pull smollm2  or set DECLM_TEST_GGUF")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the time budget that CI gives to the slow tests."""
    parser.addoption(
        "--time-budget", type=float, default=None, metavar="SECONDS", help="skip the tests that would start after that"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the shortest first where time is limited, by what each says that it may take."""
    if config.getoption("--time-budget") is not None:
        items.sort(key=_longest_s)


def _longest_s(item: pytest.Item) -> float:
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0]) if mark and mark.args else 60.0


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what the time budget leaves no room for; the summary names it."""
    budget = item.config.getoption("--time-budget")
    if budget is not None and time.monotonic() - _started > budget:
        pytest.skip(f"the time budget of {budget:.0f} s is used up")


_started = time.monotonic()
_deselected: collections.Counter[str] = collections.Counter()
_slow: list[str] = []


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Keep what `-m`, `-k` or `--deselect` took out; called by pytest, possibly several times."""
    for item in items:
        if item.get_closest_marker("slow"):
            _slow.append(item.nodeid)
        else:
            _deselected[item.nodeid.partition("::")[0]] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name every slow test, and count the others, that was left out: a run must not look complete when it is not."""
    for nodeid in sorted(_slow):
        terminalreporter.write_line(f"deselected: {nodeid} (slow)")
    if _deselected:
        count, files = _deselected.total(), len(_deselected)
        terminalreporter.write_line(f"deselected: {count} tests of {files} files (not selected on the command line)")


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every later garbage collection, which would walk all of it."""
    gc.collect()
    gc.freeze()


def pytest_runtest_teardown() -> None:
    """The same for litellm, once some test has imported it: a million objects."""
    if "litellm" in sys.modules and not _frozen:
        _frozen.append(True)
        gc.collect()
        gc.freeze()


_frozen = list[bool]()
