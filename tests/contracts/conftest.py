"""A server that keeps what it is sent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fault_server import FaultServer, serving

from declm.lm.library import load


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    load()  # two seconds, once


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """On loopback."""
    with serving() as state:
        yield state
