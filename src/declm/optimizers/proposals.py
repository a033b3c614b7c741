"""Instruction proposals: an LM writes variants, grounded in the program, its data and its failures.

Source: the grounded proposer of MIPRO (arXiv 2406.11695, section 3.3) and reflection on failures as in
GEPA (arXiv 2507.19457). Ours differs in that one prompt carries both, and in the leak guard.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from declm import protocols, settings
from declm.fields import Input, Output
from declm.predictors import Predict
from declm.signature import Signature
from declm.specs import Spec, spec
from declm.state import PredictorState
from declm.templates import Templates
from declm.text import canonical

_WORDS = 120
"""Length of a proposed instruction that is asked for."""

_SHOWN = 5
"""Solved and failed examples shown to the proposer, each."""

_NGRAM = 8
"""A proposal that shares this many words in a row with a row of val is dropped."""


@dataclass(frozen=True)
class Example:
    """One call of a predictor as the proposer sees it; `expected` holds gold outputs of a failure."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    expected: Mapping[str, Any]
    feedback: str = ""


Task = Literal["instructions", "reflect", "advice", "rules", "cross", "summary"]
"""What is written: better instructions, also by reflecting on feedback; advice or rules to add to them; a cross of two
instructions; or a summary of the data. Each has a template of this name in `propose/`."""


@dataclass(frozen=True)
class Brief:
    """What a writer is told about one predictor of a program.

    Args:
        path: of the predictor.
        steps: paths of all predictors of the program.
        spec: the predictor's signature.
        state: what it says at present.
        solved: examples that went right.
        failed: examples that went wrong, or whose outcome is to be learned from.
        summary: what the data is like.
        attempts: instructions that were tried and their scores; shown in ascending order.
        other: a second text beside the present instructions, for a cross.
    """

    path: str
    steps: tuple[str, ...]
    spec: Spec[Any]
    state: PredictorState
    solved: Sequence[Example] = ()
    failed: Sequence[Example] = ()
    summary: str = ""
    attempts: Sequence[tuple[str, float]] = ()
    other: str = ""

    @property
    def present(self) -> str:
        """The instructions in force."""
        return self.state.instructions or self.spec.instructions

    def material(self, rng: random.Random, hint: str = "") -> dict[str, str]:
        """The inputs of a writer: a few examples of each kind, drawn anew for each text."""
        solved = rng.sample(list(self.solved), min(_SHOWN, len(self.solved)))
        failed = rng.sample(list(self.failed), min(_SHOWN, len(self.failed)))
        tried = sorted(self.attempts, key=lambda attempt: attempt[1])
        return {
            "present": self.present,
            "takes": _fields(self.spec.card["inputs"]),
            "returns": _fields(self.spec.card["outputs"]),
            "place": self.path if len(self.steps) > 1 else "",
            "steps": ", ".join(f"`{step}`" for step in self.steps),
            "solved": "\n\n".join(map(_shown, solved)),
            "failed": "\n\n".join(map(_shown, failed)),
            "summary": self.summary,
            "attempts": "\n\n".join(f"Score {score:.3f}:\n{text}" for text, score in tried),
            "other": self.other,
            "hint": hint,
        }


class _Written(Signature):
    present: str = Input()
    takes: str = Input()
    returns: str = Input()
    place: str = Input()
    steps: str = Input()
    solved: str = Input()
    failed: str = Input()
    summary: str = Input()
    attempts: str = Input()
    other: str = Input()
    hint: str = Input()
    instructions: str = Output(min_length=10, max_length=3000)


async def write(
    lm: protocols.LM, task: Task, material: Mapping[str, str], *, draw: int, temperature: float | None = None
) -> str:
    """One text of the proposer's; draws that differ give texts that differ.

    Raises:
        LMError: the LM failed.
        ParseError: its replies can't be read.
    """
    instructions = Templates(folders=settings.current().templates).text(f"propose/{task}.jinja", {"words": _WORDS})
    writer: Predict[..., Any] = Predict(
        spec(_Written).with_instructions(instructions), lm=lm, template={"user": _text("propose/user.jinja")}, retries=1
    )
    if temperature is not None:
        writer = writer.with_predictor_state(PredictorState(options={"temperature": temperature}))
    with settings.sampling(draw):
        return str((await writer.acall(**material)).instructions).strip()


def words(name: str) -> list[str]:
    """The lines of one of the proposer's lists, such as its hints."""
    return _text(f"propose/{name}.jinja").splitlines()


def leaks(text: str, rows: Sequence[BaseModel]) -> bool:
    """Whether a text shares eight words in a row with any row: it then knows the answers."""
    mine = _ngrams(text)
    return any(mine & _ngrams(canonical(row.model_dump(mode="json"))) for row in rows) if mine else False


def _shown(example: Example) -> str:
    context = {
        "inputs": dict(example.inputs),
        "outputs": dict(example.outputs),
        "expected": dict(example.expected),
        "feedback": example.feedback,
    }
    return Templates().text("propose/example.jinja", context).strip()


def _text(path: str) -> str:
    return Templates(folders=settings.current().templates).source(path)


def _fields(card: Mapping[str, str]) -> str:
    return ", ".join(f"`{key}` ({kind})" for key, kind in card.items())


def _ngrams(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + _NGRAM]) for i in range(len(words) - _NGRAM + 1)}
