"""Formats: how a signature and its inputs become messages, and a reply becomes field values."""

from declm.formats.base import Dialect, Prompt
from declm.formats.choice import choose

__all__ = ["Dialect", "Prompt", "choose"]
