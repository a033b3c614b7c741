"""What every test gets: no network beyond this machine, no shared state, a summary of what did not run."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from declm import settings

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


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """Give each test its own cache folder (slow tests share the user's, which holds models) and settings."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setenv("DECLM_CACHE_DIR", str(tmp_path / "declm-cache"))
    before = settings._process[0]  # no public way back to "nothing configured", and users need none
    settings._process[0] = settings.Settings()
    yield
    settings._process[0] = before


_deselected: list[tuple[str, str]] = []


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Keep what `-m`, `-k` or `--deselect` took out; called by pytest, possibly several times."""
    for item in items:
        reason = "slow" if item.get_closest_marker("slow") else "not selected on the command line"
        _deselected.append((item.nodeid, reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name every test that was left out: a run must not look complete when it is not."""
    for nodeid, reason in sorted(_deselected):
        terminalreporter.write_line(f"deselected: {nodeid} ({reason})")
