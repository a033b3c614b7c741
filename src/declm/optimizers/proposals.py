"""Instruction proposals: an LM writes variants, grounded in the program, its data and its failures.

Source: the grounded proposer of MIPRO (arXiv 2406.11695, section 3.3) and reflection on failures as in
GEPA (arXiv 2507.19457). Ours differs in that one prompt carries both, and in the leak guard.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from declm import protocols, settings
from declm.errors import BudgetExceeded, LMError, ParseError
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


@dataclass(frozen=True)
class Brief:
    """What the proposer is told about one predictor of a program."""

    path: str
    steps: tuple[str, ...]
    spec: Spec[Any]
    state: PredictorState
    solved: Sequence[Example]
    failed: Sequence[Example]


class _Proposal(Signature):
    present: str = Input()
    takes: str = Input()
    returns: str = Input()
    place: str = Input()
    steps: str = Input()
    solved: str = Input()
    failed: str = Input()
    hint: str = Input()
    instructions: str = Output(min_length=10, max_length=3000)


async def propose(brief: Brief, lm: protocols.LM, count: int, seed: int) -> list[str]:
    """Ask for `count` variants at once; replies that can't be read are left out.

    Cost: `count` calls, and re-asks. A proposer that fails entirely (outage, no key) is raised;
    one that writes unreadable replies just proposes less.

    Raises:
        LMError: no proposal came because the LM failed.
    """
    hints = _text("propose/hints.jinja").splitlines()
    writer = _writer(lm)
    asked = [_ask(writer, brief, hints[i % len(hints)], seed, i) for i in range(count)]
    replies = await asyncio.gather(*asked, return_exceptions=True)
    texts = [reply for reply in replies if isinstance(reply, str)]
    for reply in replies:
        if isinstance(reply, LMError) and not texts:
            raise reply
        if isinstance(reply, BaseException) and not isinstance(reply, (ParseError, LMError, BudgetExceeded)):
            raise reply
    return list(dict.fromkeys(text.strip() for text in texts))


def leaks(text: str, rows: Sequence[BaseModel]) -> bool:
    """Whether a text shares eight words in a row with any row: it then knows the answers."""
    mine = _ngrams(text)
    return any(mine & _ngrams(canonical(row.model_dump(mode="json"))) for row in rows) if mine else False


def _writer(lm: protocols.LM) -> Predict[..., Any]:
    instructions = Templates().text("propose/instructions.jinja", {"words": _WORDS})
    derived = spec(_Proposal).with_instructions(instructions)
    return Predict(derived, lm=lm, template={"user": _text("propose/user.jinja")}, retries=1)


async def _ask(writer: Predict[..., Any], brief: Brief, hint: str, seed: int, index: int) -> str:
    rng = random.Random(f"declm:{seed}:{brief.path}:{index}")  # a reproducible draw
    solved = rng.sample(list(brief.solved), min(_SHOWN, len(brief.solved)))
    failed = rng.sample(list(brief.failed), min(_SHOWN, len(brief.failed)))
    with settings.sampling(seed * 1000 + index):
        found = await writer.acall(
            present=brief.state.instructions or brief.spec.instructions,
            takes=_fields(brief.spec.card["inputs"]),
            returns=_fields(brief.spec.card["outputs"]),
            place=brief.path if len(brief.steps) > 1 else "",
            steps=", ".join(f"`{step}`" for step in brief.steps),
            solved="\n\n".join(map(_shown, solved)),
            failed="\n\n".join(map(_shown, failed)),
            hint=hint,
        )
    return str(found.instructions)


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
