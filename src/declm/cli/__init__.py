"""The `declm` command."""

from declm.cli.app import main

__all__ = ["main"]
