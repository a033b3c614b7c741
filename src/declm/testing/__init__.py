"""Doubles for tests of programs."""

from declm.testing.doubles import FunctionLM, ScriptedLM

__all__ = ["FunctionLM", "ScriptedLM"]
