"""A simulated in-context learner over real rows: it answers by its own knowledge, by demos and by instructions.

Searches need many runs to be compared, more than a real LM on two cores can give. The learner stands in: a row's
answer is the candidate value with the highest score, the sum of

- what the LM knows by itself of the right value, more of some rows than of others;
- a liking for some values whatever the row is, from the instruction, which wears off with demos, and from the demos;
- demos: those with this value count by their likeness to the row, and however unlike, as often and late as they are;
- the instruction: its wording, and whether it names the value among what to look out for;
- noise that depends on the whole prompt, so that no two prompts agree everywhere.

All of it is a function of the prompt, as with a real LM at temperature 0. `Regime` holds the strengths; two of
`REGIMES` were fitted to SmolLM2 by `learner_fit.py`, the others are made up to differ: demos that hurt, instructions
that do nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from statistics import NormalDist

from tasks import Task

import declm as dm
from declm.types import closed_values

DISTRACTORS = 3
"""Wrong values that compete where an output may be anything."""

ATTRACTION = 0.3
"""Share of a clue that a value gets on rows where it is wrong."""

_WORD = re.compile(r"\w+")
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Regime:
    """Strengths of what decides an answer; the noise has a standard deviation of 1.

    Args:
        knowledge: advantage of the right value without any help.
        spread: standard deviation of that advantage over rows.
        liking: standard deviation of the liking for a value.
        settles: number of demos that halves the liking.
        mood: standard deviation of a liking that depends on the demos, and does not wear off.
        evenness: share of the mood that is left where demos show every value equally often.
        likeness: advantage of the value of a demo that equals the row.
        sharpness: power that a likeness between 0 and 1 is raised to.
        frequency: per doubling of the demos that show a value.
        recency: for the value of the last demo.
        wording: standard deviation of what an instruction's wording adds to the right value.
        burden: what the right value loses per doubling of the demos, for an LM that long prompts confuse.
        clue: what an instruction adds to a value that it tells to look out for, where that is right.
    """

    knowledge: float = 1.0
    spread: float = 1.0
    liking: float = 1.0
    settles: float = 8.0
    mood: float = 1.0
    evenness: float = 0.5
    likeness: float = 3.0
    sharpness: float = 1.0
    frequency: float = 0.1
    recency: float = 0.1
    burden: float = 0.0
    wording: float = 0.3
    clue: float = 0.6


REGIMES: Mapping[str, Regime] = {
    # SmolLM2-135M on banking20: weak, swayed by whatever demos it is shown, copies the nearest and the last one.
    "fitted20": Regime(
        knowledge=0.16, spread=1.36, liking=0.45, settles=24.75, mood=2.87, evenness=1.0, likeness=10.0,
        sharpness=0.94, frequency=0.95, recency=1.82, wording=0.67,
    ),
    # SmolLM2-135M on sst2: says the same of almost everything until demos show both values.
    "fitted2": Regime(
        knowledge=-0.49, spread=1.46, liking=3.09, settles=38.86, mood=0.0, evenness=0.3, likeness=5.27,
        sharpness=2.72, frequency=0.0, recency=2.16, wording=0.47,
    ),
    # A stronger LM that learns from demos and is deaf to instructions.
    "deaf": Regime(
        knowledge=2.2, liking=1.5, settles=6.0, mood=0.8, evenness=0.4, likeness=6.0, frequency=0.2, recency=0.3,
        wording=0.0, clue=0.0,
    ),
    # One that does what it is told, and learns less from demos.
    "docile": Regime(knowledge=1.0, liking=1.2, mood=0.6, likeness=3.0, sharpness=2.0, wording=1.0, clue=1.2),
    # One that long prompts confuse: demos cost more than they give.
    "burdened": Regime(knowledge=1.6, liking=0.8, mood=0.8, likeness=1.0, burden=0.35, wording=0.8, clue=0.4),
}  # fmt: skip
"""How the learner behaves; frozen before the optimizers that it compares were written."""


@dataclass(frozen=True)
class Shown:
    """A demo in a prompt: the text of its input and the value of the output in question."""

    text: str
    value: str


@dataclass(frozen=True)
class Prompt:
    """What the learner sees of a request for one output: instruction, demos, and all of it as a salt for noise."""

    instruction: str
    demos: tuple[Shown, ...] = ()
    salt: str = ""

    @cached_property
    def is_even(self) -> bool:
        """Whether the demos show several values, each equally often."""
        counts = Counter(demo.value for demo in self.demos)
        return len(counts) > 1 and len(set(counts.values())) == 1


@dataclass(frozen=True)
class Question:
    """One output of one row: the input's text, the values that compete and the right one, all as text.

    `is_text` says whether the values are strings by themselves, or JSON.
    """

    task: str
    output: str
    text: str
    right: str
    values: tuple[str, ...]
    is_text: bool = True


@dataclass(frozen=True)
class Mind:
    """Answers questions under a regime."""

    regime: Regime = field(default_factory=Regime)

    def answer(self, question: Question, prompt: Prompt) -> str:
        """The value with the highest score."""
        close = _likeness(question.text, tuple(demo.text for demo in prompt.demos))
        scores = {value: self._score(question, prompt, value, close) for value in question.values}
        return max(scores, key=scores.__getitem__)

    def _score(self, question: Question, prompt: Prompt, value: str, close: Sequence[float]) -> float:
        of, count = self.regime, len(prompt.demos)
        score = gauss("noise", question.task, question.text, prompt.salt, value)
        score += of.liking / (1 + count / of.settles) * gauss("liking", question.task, prompt.instruction, value)
        if count:
            swayed = of.mood * (of.evenness if prompt.is_even else 1.0)
            score += swayed * gauss("mood", question.task, prompt.salt, value)
        same = [index for index, demo in enumerate(prompt.demos) if demo.value == value]
        score += of.likeness * max((close[index] for index in same), default=0.0) ** of.sharpness
        score += of.frequency * math.log2(1 + len(same))
        score += of.recency if same and same[-1] == count - 1 else 0.0
        if value == question.right:
            score += of.knowledge + of.spread * gauss("row", question.task, question.text)
            score -= of.burden * math.log2(1 + count)
            score += of.wording * gauss("wording", question.task, prompt.instruction)
        if value in prompt.instruction:
            score += of.clue * (1.0 if value == question.right else ATTRACTION)
        return score


def questions(task: Task, row: dm.Signature) -> dict[str, Question]:
    """What a row asks, by output."""
    spec = dm.spec(type(row))
    _, gold = spec.dump(row)
    text = text_of(row)
    found: dict[str, Question] = {}
    for key, output in spec.outputs.items():
        right = written(gold[key])
        closed = [written(value) for value in closed_values(output.schema) or ()]
        values = tuple(closed) or _competing(task, key, text, right)
        found[key] = Question(task.name, key, text, right, values, isinstance(gold[key], str))
    return found


def _competing(task: Task, key: str, text: str, right: str) -> tuple[str, ...]:
    """The right value of an open output among some of other rows."""
    others = sorted({written(dm.spec(type(row)).dump(row)[1][key]) for row in task.train} - {right})
    others.sort(key=lambda value: gauss("distractor", task.name, text, value))
    return (right, *others[:DISTRACTORS])


def written(value: object) -> str:
    """A value as text, the same for equal values."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def text_of(row: dm.Signature) -> str:
    """The text of a row's first input."""
    return written(next(iter(dm.spec(type(row)).dump(row)[0].values())))


def label_of(row: dm.Signature) -> str:
    """The value of a row's first output."""
    return written(next(iter(dm.spec(type(row)).dump(row)[1].values())))


def similarities(text: str, others: Sequence[str]) -> list[float]:
    """Cosine of the counts of words of each other text with this one, from 0 to 1."""
    mine = _counts(text)
    return [sum(weight * other.get(word, 0.0) for word, weight in mine.items()) for other in map(_counts, others)]


@lru_cache(maxsize=200_000)
def gauss(*parts: str) -> float:
    """A standard normal number that depends on the parts alone."""
    raw = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return _NORMAL.inv_cdf((int.from_bytes(raw[:7], "big") + 0.5) / 2**56)


@lru_cache(maxsize=200_000)
def _likeness(text: str, others: tuple[str, ...]) -> tuple[float, ...]:
    return tuple(max(0.0, value) for value in similarities(text, others))


@lru_cache(maxsize=20_000)
def _counts(text: str) -> Mapping[str, float]:
    counts = Counter(_WORD.findall(text.lower()))
    length = math.sqrt(sum(count * count for count in counts.values())) or 1.0
    return {word: count / length for word, count in counts.items()}
