"""How alike texts are, by the words that they share: TF-IDF vectors and their cosine.

Good enough to spread demos or to find near ones without any model or download. Source: Salton & Buckley 1988,
Term-weighting approaches in automatic text retrieval (doi 10.1016/0306-4573(88)90021-0).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from declm.demo import Demo
from declm.text import canonical

_WORD = re.compile(r"\w+", re.UNICODE)

Vector = Mapping[str, float]


class Likeness:
    """Compares any text with some texts that are known from the start."""

    def __init__(self, texts: Sequence[str]) -> None:
        bags = [_bag(text) for text in texts]
        seen = Counter(word for bag in bags for word in bag)
        self._rarity = {word: math.log((1 + len(bags)) / count) for word, count in seen.items()}
        self.vectors: list[Vector] = [self._vector(bag) for bag in bags]
        self._places: dict[str, list[tuple[int, float]]] = {}
        for place, vector in enumerate(self.vectors):
            for word, weight in vector.items():
                self._places.setdefault(word, []).append((place, weight))

    def nearest(self, text: str, count: int) -> list[int]:
        """Indices of the texts that are most alike to this one, the most alike first."""
        likeness = [0.0] * len(self.vectors)
        for word, weight in self._vector(_bag(text)).items():
            for place, other in self._places.get(word, ()):
                likeness[place] += weight * other
        return sorted(range(len(likeness)), key=lambda place: (-likeness[place], place))[:count]

    def _vector(self, bag: Mapping[str, int]) -> Vector:
        raw = {word: (1 + math.log(n)) * self._rarity.get(word, 0.0) for word, n in bag.items()}
        norm = math.sqrt(sum(weight * weight for weight in raw.values())) or 1.0
        return {word: weight / norm for word, weight in raw.items()}


def cosine(a: Vector, b: Vector) -> float:
    """Cosine of two vectors of unit length, from 0 to 1."""
    if len(a) > len(b):
        a, b = b, a
    return sum(weight * b.get(word, 0.0) for word, weight in a.items())


def text_of(inputs: Mapping[str, object]) -> str:
    """What is compared of a call or a demo: the values of its inputs."""
    return " ".join(value if isinstance(value, str) else canonical(value) for value in inputs.values())


def among(demos: Sequence[Demo]) -> Likeness:
    """Compares inputs with those of demos."""
    return Likeness([text_of(demo.inputs) for demo in demos])


def _bag(text: str) -> Counter[str]:
    return Counter(word.lower() for word in _WORD.findall(text))
