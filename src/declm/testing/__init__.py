"""For tests of programs: doubles of LMs, and calls that are recorded once and replayed ever after."""

from declm.testing.doubles import FunctionLM, ScriptedLM
from declm.testing.recording import record, recorded, replay

__all__ = ["FunctionLM", "ScriptedLM", "record", "recorded", "replay"]
