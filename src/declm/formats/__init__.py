"""Formats: how a signature and its inputs become messages, and a reply becomes field values."""

from declm.formats.base import Dialect, Prompt
from declm.formats.choice import Choice, choose, chosen

__all__ = ["Choice", "Dialect", "Prompt", "choose", "chosen"]
