"""The exact words of every template; `UPDATE_GOLDEN=1 pytest tests/formats/test_golden.py` rewrites them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from prompt_cases import cases

from declm.formats import choose
from declm.messages import Capabilities, Message, Response
from declm.protocols import is_drafting

FORMATS = ["json", "chat", "xml", "native", "two_step"]
GOLDEN = Path(__file__).parent / "golden"


def _shown(messages: tuple[Message, ...]) -> str:
    return "\n".join(f"=== {message.role}\n{message.content}" for message in messages) + "\n"


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("case", cases())
def test_the_prompt_is_the_golden_one(format_name: str, case: str) -> None:
    prompt, inputs = cases()[case]
    format = choose(format_name, Capabilities())
    request = format.render(prompt, inputs)
    before: tuple[Message, ...] = ()
    if is_drafting(format):
        before = request.messages
        request = format.extraction(prompt, "It may be <draft></draft> a bug.\nI am not sure.")
    again = format.reask(prompt, request, Response(text="no idea"), "team: missing; urgency: missing")
    file = GOLDEN / f"{format_name}-{case}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(_shown((*before, *again.messages)), encoding="utf-8", newline="")
    assert _shown((*before, *again.messages)) == file.read_bytes().decode("utf-8")


def test_every_golden_file_belongs_to_a_case() -> None:
    names = {f"{format}-{case}.txt" for format in FORMATS for case in cases()}
    assert {file.name for file in GOLDEN.iterdir()} == names
