"""Vectors as texts, which is how they travel through layers and caches: base64 of float32, a line for each."""

from __future__ import annotations

import base64
import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from declm.arrays import table
from declm.lm.wire import Unreadable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def packed(vectors: Iterable[Iterable[float] | str]) -> str:
    """Vectors as lines; one that is a text is such a line already, as servers send it if asked to.

    Raises:
        Unreadable: one holds what is no finite number.
    """
    lines: list[str] = []
    for vector in vectors:
        try:
            numbers = array("f", base64.b64decode(vector, validate=True) if isinstance(vector, str) else vector)
        except (TypeError, ValueError, OverflowError) as error:
            raise Unreadable(f"no vector: {str(vector)[:200]}") from error
        if not numbers or not all(map(math.isfinite, numbers)):
            raise Unreadable(f"no vector of finite numbers: {str(vector)[:200]}")
        lines.append(base64.b64encode(numbers.tobytes()).decode())
    return "\n".join(lines)


def unpacked(lines: Sequence[str]) -> NDArray[np.float32]:
    """Lines as an array of shape (lines, dimensions).

    Raises:
        Unreadable: they have different lengths.
    """
    if len({len(line) for line in lines}) > 1:
        raise Unreadable("vectors of different lengths")
    return table(b"".join(map(base64.b64decode, lines)), len(lines))


def read_vectors(content: Mapping[str, Any], texts: int) -> tuple[str, int]:
    """The lines of an answer in OpenAI's shape, one per text in their order, and the tokens of the texts.

    Raises:
        Unreadable: it has another shape, or other than `texts` vectors.
    """
    try:
        data = sorted(content["data"], key=lambda item: item.get("index", 0))
        lines = packed(item["embedding"] for item in data)
        usage: Mapping[str, Any] = content.get("usage") or {}
        tokens = usage.get("prompt_tokens") or 0
    except (KeyError, TypeError, AttributeError) as error:
        raise Unreadable(f"no vectors: {str(content)[:200]}") from error
    if len(data) != texts:
        raise Unreadable(f"{len(data)} vectors for {texts} texts")
    return lines, int(tokens)
