"""Tests of whole programs without an LM: record the calls once, replay them ever after."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from declm import settings
from declm.errors import UsageError
from declm.lm.recorded import Recorded, Replayed
from declm.lm.tapes import Tape

VARIABLE = "DECLM_RECORD"


@contextmanager
def record(path: str | Path, *, overwrite: bool = False) -> Generator[None]:
    """Write every LM call inside the block to a file, also if the block fails.

    All LMs of all predictors are recorded, in this thread or task and what declm starts inside. The file
    is JSON that people read; it holds no keys.

    Args:
        path: the file.
        overwrite: replace a file that stands there.

    Raises:
        UsageError: a file stands there, or a call has a sensitive field.
        StateError: the file can't be written.

    Example:
        >>> import declm as dm
        >>> with record("tape.json"):
        ...     dm.Predict("question -> answer", lm=dm.testing.ScriptedLM(['{"answer": "42"}']))(
        ...         question="6 * 7?"
        ...     ).answer
        '42'
    """
    place, tape = Path(path), Tape()
    if place.exists() and not overwrite:
        raise UsageError(f"{str(path)!r} exists; pass overwrite=True to record it again")
    try:
        with settings.wrapping(lambda lm: lm if isinstance(lm, Recorded) else Recorded(lm, tape)):
            yield
    finally:
        tape.write(place)


@contextmanager
def replay(path: str | Path) -> Generator[None]:
    """Answer every LM call inside the block from a file that `record` wrote; nothing is ever sent.

    Neither the network nor a model's file is needed. A request that is not in the file is an error that
    shows the nearest one.

    Raises:
        StateError: there is no such file, or it is damaged.
        NotRecorded: the program has asked something else than when it was recorded.
    """
    tape = Tape.read(Path(path))
    with settings.wrapping(lambda lm: lm if isinstance(lm, Replayed) else Replayed(lm, tape)):
        yield


@contextmanager
def recorded(path: str | Path) -> Generator[None]:
    """`replay` a file; with `DECLM_RECORD=1` in the environment `record` it anew. Made for pytest."""
    anew = os.environ.get(VARIABLE, "") not in ("", "0")
    with record(path, overwrite=True) if anew else replay(path):
        yield
