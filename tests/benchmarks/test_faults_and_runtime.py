"""The commands that put declm beside DSPy or litellm: each works without a peer, and keeps what it shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from codecs_beside_litellm import MODELS
from codecs_beside_litellm import main as codecs
from faults import FAULTS
from faults import main as faults
from publish import codecs_table, faults_table, runtime_table
from runtime import CASES
from runtime import main as runtime


@pytest.mark.parametrize("words", ["9: one model", "29:", "36:"])
def test_a_fault_is_suffered_and_told(words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sum(words in name for name in FAULTS) == 1
    assert faults(["--only", words, "--out", str(tmp_path / "faults.jsonl")]) == 0
    line = json.loads((tmp_path / "faults.jsonl").read_text())
    assert [row["declm"]["kept"] for row in line["rows"]] == [True]
    assert faults_table([line]) in capsys.readouterr().out


@pytest.mark.parametrize("words", ["evaluate 1,000"])
def test_a_case_is_timed_and_told(words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sum(words in case.name for case in CASES) == 1
    assert runtime(["--only", words, "--rounds", "1", "--scale", "0.05", "--out", str(tmp_path / "runtime.jsonl")]) == 0
    line = json.loads((tmp_path / "runtime.jsonl").read_text())
    assert [row["ours"] > 0 for row in line["rows"]] == [True]
    assert runtime_table([line]) in capsys.readouterr().out


@pytest.mark.slow  # both processes import litellm
def test_a_codec_is_timed_beside_litellm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert codecs(["--calls", "2", "--rounds", "1", "--out", str(tmp_path / "codecs.jsonl")], MODELS[:1]) == 0
    line = json.loads((tmp_path / "codecs.jsonl").read_text())
    assert [one["declm"] > 0 < one["litellm"] for one in line["measured"]] == [True]
    assert codecs_table([line]) in capsys.readouterr().out
