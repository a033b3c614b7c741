"""Rows in and out: `read`, `split`, `write`. A data set is a plain list of signature instances."""

from declm.data.reading import read
from declm.data.splitting import split
from declm.data.writing import write

__all__ = ["read", "split", "write"]
