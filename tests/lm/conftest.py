"""Fixtures of the LM layer: a faulty server, and a cache without models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_server import FaultServer, serving


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A server on loopback that answers `hello` until it is told otherwise."""
    with serving() as state:
        yield state


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder without any model, that a test may fill."""
    folder = tmp_path / "empty-cache"
    monkeypatch.setenv("DECLM_CACHE_DIR", str(folder))
    return folder
