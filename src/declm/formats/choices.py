"""Outputs with a closed set of values: how likely the LM found each, and decisions corrected for its bias.

Small models favour some labels whatever the input says. The log-probabilities of a reply tell how close
the others came; adding a bias per label, fitted once on unlabelled inputs, undoes the favour.
Sources: contextual calibration (arXiv 2102.09690) and batch calibration (arXiv 2309.17249).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from declm.messages import Token

_MISSING = 1.0
"""How much less likely than the rarest alternative listed a label counts that is not listed."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """Log-probabilities of labels at the point where they part from the reply.

    `together` maps a label to the labels that share its score because the reply went another way
    before they part from each other.
    """

    scores: Mapping[str, float]
    together: Mapping[str, tuple[str, ...]]

    def best(self, biases: Mapping[str, float]) -> str:
        """The label with the highest biased score."""
        return max(self.scores, key=lambda label: self.scores[label] + biases.get(label, 0.0))

    def probabilities(self, biases: Mapping[str, float]) -> dict[str, float]:
        """Biased scores as probabilities that add up to 1."""
        total = {label: score + biases.get(label, 0.0) for label, score in self.scores.items()}
        top = max(total.values())
        weights = {label: math.exp(value - top) for label, value in total.items()}
        whole = sum(weights.values())
        return {label: weight / whole for label, weight in weights.items()}


def narrowed(schema: Mapping[str, Any] | None, key: str, values: list[Any]) -> dict[str, Any] | None:
    """The schema of a reply in which one key may hold these values only."""
    if schema is None:
        return None
    members = {**schema["properties"], key: {"enum": values}}
    return {**schema, "properties": members}


def rank(tokens: Sequence[Token], key: str, values: Mapping[str, Any], *, spelled: bool = False) -> Ranked | None:
    """Score the values of one key of a JSON reply; None if the reply does not hold the key.

    Args:
        tokens: of the reply.
        key: whose value is scored.
        values: by label.
        spelled: score a label as the LM would spell it, by the longest token that begins it. Otherwise all
            tokens that may begin it add up, and a short one counts for several labels.
    """
    found = re.search(rf'"{re.escape(key)}"\s*:\s*', "".join(token.text for token in tokens))
    if found is None:
        return None
    index, head = _position(tokens, found.end())
    rest = {label: json.dumps(value, ensure_ascii=False) for label, value in values.items()}
    return _walk(tokens, index, head, rest, spelled=spelled)


def _position(tokens: Sequence[Token], offset: int) -> tuple[int, int]:
    """The token that holds the character at `offset`, and where in it."""
    for index, token in enumerate(tokens):
        if offset < len(token.text):
            return index, offset
        offset -= len(token.text)
    return len(tokens), 0


def _walk(tokens: Sequence[Token], index: int, head: int, rest: dict[str, str], *, spelled: bool) -> Ranked | None:
    """Follow the reply token by token; labels drop out with the score of the alternative they needed."""
    reached = 0.0
    scores: dict[str, float] = {}
    groups: dict[tuple[int, frozenset[str]], list[str]] = {}
    while len(rest) > 1 and index < len(tokens):
        token = tokens[index]
        own, alternatives = token.text[head:], _alternatives(token, head)
        for label, text in list(rest.items()):
            if _fits(own, text):
                rest[label] = text[len(own) :]
                continue
            fitting = {word: p for word, p in alternatives.items() if _fits(word, text)}
            if spelled and fitting:
                longest = max(fitting, key=lambda word: (min(len(word), len(text)), -len(word)))
                fitting = {longest: fitting[longest]}
            floor = min(alternatives.values(), default=token.logprob) - _MISSING
            scores[label] = reached + (_sum(list(fitting.values())) if fitting else floor)
            groups.setdefault((index, frozenset(fitting)), []).append(label)
            del rest[label]
        reached, index, head = reached + token.logprob, index + 1, 0
    for label in rest:
        scores[label] = reached
        groups[index, frozenset({label})] = [label]
    if not scores:
        return None
    return Ranked(scores, {label: tuple(group) for group in groups.values() for label in group})


def _alternatives(token: Token, head: int) -> dict[str, float]:
    start = token.text[:head]
    return {text[head:]: p for text, p in token.top if len(text) > head and text.startswith(start)}


def _fits(word: str, text: str) -> bool:
    return bool(word) and (text.startswith(word) or word.startswith(text))


def _sum(logprobs: Sequence[float]) -> float:
    top = max(logprobs)
    return top + math.log(sum(math.exp(p - top) for p in logprobs))
