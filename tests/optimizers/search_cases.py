"""What the search tests run: a task that simulated LMs learn from demonstrations or from instructions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

import declm as dm
from declm.messages import Capabilities, Request, Response
from declm.optimizers import JointSearch, Optimized
from declm.testing import FunctionLM

WORDS = {
    "fruit": "apple banana cherry damson elderberry fig".split(),
    "tool": "adze bradawl chisel drill emery file".split(),
    "animal": "ape beetle cow dove eel fox".split(),
}
LABELS = tuple(WORDS)
HINT = "what one does with it"


class Sort(dm.Signature):
    """Sort the word."""

    text: str
    label: Literal["fruit", "tool", "animal"] = dm.Output()


def rows(count: int, start: int = 0) -> list[Sort]:
    """Rows with labels in turns; no two are alike."""
    made = list[Sort]()
    for i in range(start, start + count):
        label = LABELS[i % 3]
        made.append(Sort(text=f"{WORDS[label][i // 3 % 6]} {i}", label=label))  # type: ignore[arg-type]
    return made


TRAIN, VAL = rows(30), rows(36, 100)


def correct(gold: Sort, got: Sort) -> bool:
    return gold.label == got.label


def chance(text: str) -> int:
    """A number from 0 to 99 that depends on the text alone."""
    return int(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(), 16) % 100


WRITERS = (
    "Write better instructions",
    "Improve the instructions",
    "Give advice",
    "Find the rules",
    "Two instructions",
    "Describe the data",
)


def is_proposal(request: Request) -> bool:
    return request.messages[0].content.startswith(WRITERS)


def asked(request: Request) -> str:
    """The text to sort, such as `apple 7`."""
    return request.messages[-1].content.removeprefix("text: ")


def shown(request: Request) -> list[str]:
    """The texts of the demonstrations."""
    return [m.content.removeprefix("text: ") for m in request.messages[1:-1] if m.role == "user"]


def sorted_with(skill: int, text: str) -> str:
    """The right label for `skill` percent of the texts, always the same ones."""
    word = text.split(maxsplit=1)[0]
    right = next(label for label, words in WORDS.items() if word in words)
    if chance(text) < skill:
        return json.dumps({"label": right})
    return json.dumps({"label": LABELS[(LABELS.index(right) + 1) % 3]})


def from_demos(request: Request) -> str:
    """An LM that sorts the words it has been shown."""
    if is_proposal(request):
        return json.dumps({"instructions": f"Sort it somehow, variant {request.sample}."})
    text = asked(request)
    known = any(text.split()[0] in other for other in shown(request))
    return sorted_with(95 if known else 40, text)


def from_instructions(request: Request) -> str:
    """An LM that needs to be told how; one proposal of two tells it."""
    if is_proposal(request):
        words = HINT if request.sample % 2 else "how it looks"
        return json.dumps({"instructions": f"Sort the word by {words}, variant {request.sample}."})
    return sorted_with(95 if HINT in request.messages[0].content else 40, asked(request))


def from_nothing(request: Request) -> str:
    """An LM that no prompt helps: what it gets right is a matter of luck, anew for each prompt."""
    if is_proposal(request):
        return json.dumps({"instructions": f"Sort it well, variant {request.sample}."})
    return sorted_with(50, f"{asked(request)} {chance(str(request.messages[:-1]))}")


def learner(rule: Callable[[Request], str | Response] = from_demos, **capabilities: Any) -> FunctionLM:
    return FunctionLM(rule, capabilities=Capabilities(**capabilities))


def search(
    program: Any,
    *,
    train: Sequence[Any] = TRAIN,
    val: Sequence[Any] | None = VAL,
    metric: Any = correct,
    trials: int = 6,
    proposals: int = 2,
    **options: Any,
) -> Optimized[Any]:
    """A small search that prints nothing."""
    options = {"optimizer": JointSearch(trials=trials, proposals=proposals), "progress": False, **options}
    return dm.optimize(program, train=train, val=val, metric=metric, **options)


def told(best: Optimized[Any]) -> list[tuple[Any, ...]]:
    """Everything about the trials that must not depend on the run."""
    return [(t.number, dict(t.choices), t.state.hash, t.score, t.rows, t.fate) for t in best.report.trials]


class Ask(dm.Signature):
    """Write a query."""

    question: str
    query: str = dm.Output()


class Answer(dm.Signature):
    """Answer from the notes."""

    question: str
    notes: str
    answer: str = dm.Output()


class QA(dm.Signature):
    question: str
    answer: str = dm.Output()


class TwoSteps(dm.Module):
    """Asks, looks up, answers; rows have labels for the answer alone."""

    def __init__(self) -> None:
        self.ask = dm.Predict(Ask)
        self.answer = dm.ChainOfThought(Answer)

    def forward(self, question: str) -> QA:
        notes = self.ask(question=question).query.upper()
        return QA(question=question, answer=self.answer(question=question, notes=notes).answer)


LETTERS = "abcdefghijklmnopqrstuvwxyz"
QUESTIONS = [QA(question=f"no. {i}: how is {c} written large", answer=c.upper()) for i, c in enumerate(LETTERS * 2)]


def two_steps(request: Request) -> str:
    """Two thirds of the queries and half of the answers are right, and all of them after demonstrations."""
    return _stepped(request, helped=len(request.messages) > 2)


def careful_steps(request: Request) -> str:
    """The same, and all are right where the instructions say so, too."""
    return _stepped(request, helped=CARE in request.messages[0].content or len(request.messages) > 2)


CARE = "Work with the greatest care."


def _stepped(request: Request, *, helped: bool) -> str:
    if is_proposal(request):
        return json.dumps({"instructions": CARE})
    text = request.messages[-1].content
    if "query" in request.messages[0].content:
        knows = helped or chance(text) < 67
        return json.dumps({"query": text.split(" is ")[1][0] if knows else "?"})
    knows = helped or chance(text) < 50
    return json.dumps({"reasoning": "as noted", "answer": text.split("notes: ")[1] if knows else "?"})


def same_answer(gold: QA, got: QA) -> bool:
    return gold.answer == got.answer
