"""Names of local models, and what the machine and the file decide."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from declm.errors import UnknownModel, UsageError
from declm.lm import LM, cores
from declm.lm.engine import EngineOptions, plan
from declm.lm.gguf import read_header
from declm.lm.weights import model_path
from declm.messages import Message, Request

HI = Request((Message("user", "hi"),))


def header(**values: Any) -> bytes:
    """A GGUF header with these keys; dots are written as two underscores."""
    data = b"GGUF" + struct.pack("<IQQ", 3, 0, len(values))
    for name, value in values.items():
        key = name.replace("__", ".").encode()
        data += struct.pack("<Q", len(key)) + key
        if isinstance(value, str):
            data += struct.pack("<IQ", 8, len(value)) + value.encode()
        elif isinstance(value, list):
            data += struct.pack("<IIQ", 9, 8, len(value)) + b"".join(
                struct.pack("<Q", len(v)) + v.encode() for v in value
            )
        else:
            data += struct.pack("<II", 4, value)
    return data


SMALL = {
    "general__architecture": "llama",
    "general__tags": ["a", "bc"],
    "llama__context_length": 2048,
    "llama__block_count": 30,
    "llama__embedding_length": 576,
    "llama__attention__head_count": 9,
    "llama__attention__head_count_kv": 3,
    "tokenizer__ggml__model": "gpt2",
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.gguf"
    path.write_bytes(header(**SMALL))
    return path


def test_a_header_is_read_up_to_the_vocabulary(small: Path) -> None:
    found = read_header(small)
    assert (found["general.architecture"], found["llama.context_length"], found["general.tags"]) == ("llama", 2048, 2)
    assert "tokenizer.ggml.model" not in found


@pytest.mark.parametrize("content", [b"", b"GGUF", b"PK\x03\x04 a zip", header(**SMALL)[:70], b"GGUF" + b"\xff" * 99])
def test_a_file_that_is_no_model_is_reported(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(UnknownModel, match=r"bad\.gguf"):
        read_header(path)


def test_a_context_is_never_longer_than_the_model_was_trained_for(small: Path) -> None:
    assert plan(small, EngineOptions()).n_ctx == 2048
    assert plan(small, EngineOptions(n_ctx=512)).n_ctx == 512
    assert plan(small, EngineOptions(n_ctx=99_999)).n_ctx == 2048


def test_there_is_one_slot_for_two_threads(small: Path) -> None:
    slots = {threads: plan(small, EngineOptions(threads=threads)).slots for threads in (1, 2, 4, 9, 64)}
    assert slots == {1: 1, 2: 1, 4: 2, 9: 4, 64: 8}
    assert plan(small, EngineOptions(threads=1, slots=3)).slots == 3


def test_slots_are_limited_by_memory(tmp_path: Path) -> None:
    big = dict(SMALL) | {"llama__context_length": 8192, "llama__embedding_length": 1 << 20, "llama__block_count": 200}
    path = tmp_path / "big.gguf"
    path.write_bytes(header(**big))
    assert plan(path, EngineOptions(threads=64)).slots == 1


def test_threads_can_be_set_from_the_environment(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECLM_THREADS", "3")
    assert plan(small, EngineOptions()).threads == 3
    assert plan(small, EngineOptions(threads=2)).threads == 2
    monkeypatch.setenv("DECLM_THREADS", "many")
    with pytest.raises(UsageError, match="DECLM_THREADS='many'"):
        plan(small, EngineOptions())


def test_at_least_one_core_and_no_more_than_there_are() -> None:
    assert 1 <= cores.usable_cores() <= (os.cpu_count() or 1)
    assert cores.memory_bytes() > 1 << 28


@pytest.mark.parametrize("options", [{"threads": 0}, {"slots": "two"}, {"n_ctx": -1}])
def test_engine_options_are_checked_when_the_lm_is_built(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        LM("local/smollm2", **options)


@pytest.mark.usefixtures("empty_cache")
def test_a_model_that_was_not_pulled_says_what_to_run() -> None:
    with pytest.raises(UnknownModel, match="declm pull smollm2"):
        LM("local/smollm2").complete(HI)


def test_a_pulled_model_is_found(empty_cache: Path) -> None:
    folder = empty_cache / "models"
    folder.mkdir(parents=True)
    file = folder / "SmolLM2-135M-Instruct.Q4_1.gguf"
    file.write_bytes(b"x")
    assert model_path("smollm2") == file


def test_paths_may_be_relative_or_absolute(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small.parent)
    assert model_path("small.gguf") == model_path(str(small)) == small


@pytest.mark.parametrize("name", ["none.gguf", "/no/such/file.gguf", "./a/b/c.gguf", "../a/b.gguf"])
def test_a_missing_file_is_reported_without_asking_the_network(name: str) -> None:
    with pytest.raises(UnknownModel, match="no model file"):
        model_path(name)


def test_a_name_that_is_no_file_says_what_names_look_like() -> None:
    with pytest.raises(UnknownModel, match=r"local/smollm2.*\.gguf"):
        model_path("llama-3")


def test_the_identity_changes_with_the_file(small: Path) -> None:
    before = LM(f"local/{small}").identity
    small.write_bytes(header(**SMALL) + b"more")
    assert LM(f"local/{small}").identity != before


def test_threads_are_no_part_of_the_identity(small: Path) -> None:
    assert LM(f"local/{small}", threads=2).identity == LM(f"local/{small}").identity


def test_a_missing_extra_says_what_to_install(small: Path) -> None:
    code = (
        "import sys; sys.modules['xllamacpp'] = None\n"
        "from declm.lm import LM\nfrom declm.errors import MissingExtra\nfrom declm.messages import Message, Request\n"
        "try:\n    LM('local/' + sys.argv[1]).complete(Request((Message('user', 'hi'),)))\n"
        "except MissingExtra as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(small)], capture_output=True, text=True, check=True)
    assert "pip install 'declm[local]'" in done.stdout
