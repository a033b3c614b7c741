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

    scaled: NDArray[np.float64] = np.array(rows)
    columns = scaled.shape[1]
    width = (columns + 7) // 8
    drawn: NDArray[np.uint8] = np.frombuffer(b"".join(bits.to_bytes(width, "big") for bits in signs), np.uint8)
    bits: NDArray[np.uint8] = np.unpackbits(np.reshape(drawn, (len(signs), width)), axis=1)[:, -columns:]
    plus: NDArray[np.float64] = np.where(np.transpose(bits), np.float64(1.0), np.float64(-1.0))
    largest: NDArray[np.float64] = np.max(scaled @ plus, axis=0)
    plain: NDArray[np.float64] = np.sum(scaled, axis=1)
    return [int(np.count_nonzero(largest >= own - slack)) for own in plain]
