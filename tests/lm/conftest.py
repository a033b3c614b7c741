"""Fixtures of the LM layer: a faulty server, and the file of a real model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_server import FaultServer, serving

from declm.errors import UnknownModel
from declm.lm.weights import model_path


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
