"""LoRA adapters over a local model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter

from declm.errors import UnknownModel, UsageError
from declm.lm import LM
from declm.lm.adapters import adapters
from declm.lm.local import Local
from declm.messages import Message, Request

SUM = Request((Message("user", "What is 2+2?"),), options={"max_tokens": 12})


def written(path: Path, b: float, *, kind: str = "adapter") -> Path:
    """An adapter of one layer of SmolLM2-135M, of rank 4; with `b` 0 it changes nothing."""
    drawn = np.random.default_rng(0)
    writer = GGUFWriter(str(path), "llama")
    writer.add_type(kind)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    writer.add_tensor("blk.0.attn_q.weight.lora_a", drawn.normal(size=(4, 576)).astype(np.float32))
    writer.add_tensor("blk.0.attn_q.weight.lora_b", (b * drawn.normal(size=(576, 4))).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("given", [3, ["a.gguf"], {"a.gguf": "1"}, {"a.gguf": float("nan")}, {1: 1.0}])
def test_what_names_no_adapter_is_refused(given: Any) -> None:
    with pytest.raises(UsageError, match="lora="):
        LM("local/smollm2", lora=given)


def test_paths_and_strengths_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    (alone,), (half,) = adapters(path), adapters({str(path): 0.5})
    assert (alone.path, alone.strength, half.path, half.strength) == (path, 1.0, path, 0.5)


def test_another_file_or_strength_is_another_lm(tmp_path: Path) -> None:
    path = written(tmp_path / "a.gguf", 1.0)

    def identity(**options: Any) -> str:
        return Local("smollm2", options).identity

    first = identity(lora=path)
    assert len({first, identity(), identity(lora={path: 0.5})}) == 3
    written(path, 2.0)
    assert identity(lora=path) != first


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_adapter_changes_the_replies_by_its_strength(gguf: Path, tmp_path: Path) -> None:
    def said(**options: Any) -> str:
        return LM(f"local/{gguf}", threads=1, cache=False, **options).complete(SUM).text

    plain, strong = said(), written(tmp_path / "strong.gguf", 5.0)
    assert said(lora=written(tmp_path / "none.gguf", 0.0)) == plain
    assert said(lora=strong) != plain
    assert said(lora={strong: 0.0}) == plain


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_file_that_is_none_is_reported(gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("hello")
    wrong = [
        tmp_path / "missing.gguf",
        tmp_path / "text.gguf",
        gguf,
        written(tmp_path / "a.gguf", 1.0, kind="model"),
    ]
    for path in wrong:
        with pytest.raises(UnknownModel, match=path.name):
            LM(f"local/{gguf}", lora=path, cache=False).complete(SUM)
