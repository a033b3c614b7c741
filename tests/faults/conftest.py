"""Fixtures of the promises about faults: a server that fails on command."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fault_server import FaultServer, serving


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A server on loopback that answers `hello` until it is told otherwise."""
    with serving() as state:
        yield state
