"""What is done with whole arrays at once; the one place that loads NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def table(content: bytes, rows: int) -> NDArray[np.float32]:
    """The float32 numbers in `content` as an array of so many rows, writable."""
    import numpy as np

    made: NDArray[np.float32] = np.frombuffer(bytearray(content), np.float32)
    return np.reshape(made, (rows, len(made) // max(rows, 1)))


def exceeded(rows: Sequence[Sequence[float]], signs: Sequence[int], slack: float) -> list[int]:
    """How often the largest sum of any row, under random signs of its columns, reaches the plain sum of each row.

    Args:
        rows: numbers of equal length.
        signs: one draw each, as bits: a column per bit, 1 for plus.
        slack: by which a sum may fall short.
    """
    import numpy as np

    scaled = np.array(rows)
    columns = scaled.shape[1]
    width = (columns + 7) // 8
    drawn = np.frombuffer(b"".join(bits.to_bytes(width, "big") for bits in signs), np.uint8)
    plus = np.unpackbits(drawn.reshape(len(signs), width), axis=1)[:, -columns:]
    largest = (scaled @ (2.0 * plus - 1.0).T).max(axis=0)
    return [int(count) for count in (largest >= scaled.sum(axis=1)[:, None] - slack).sum(axis=1)]
