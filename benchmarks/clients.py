"""Processes that do tasks with one library each: a line of JSON asks, a line of JSON answers.

Both ends need the standard library alone, since one of them runs in the environment of another library.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Self

Library = TypeVar("Library")


class Stuck(Exception):
    """A process gave no answer; says why."""


class Client:
    """A process that does tasks with one library; it starts at the first one.

    Args:
        script: what it runs, with the library's name as its argument; calls `answer`.
        python: interpreter of the library's environment.
        library: its name.
        patience_s: for one task; None for ever.
        stderr: where its complaints go, as `subprocess` takes it; None for those of this process.
    """

    def __init__(
        self, script: Path, python: str, library: str, *, patience_s: float | None = None, stderr: int | None = None
    ) -> None:
        self._command = [python, str(script), library]
        self._patience_s = patience_s
        self._stderr = stderr
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def do(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """What came of a task.

        Raises:
            Stuck: it took too long, or the process has ended.
        """
        child = self._child = self._child or self._started()
        assert child.stdin is not None
        child.stdin.write(json.dumps(task) + "\n")
        child.stdin.flush()
        return self._answer(child)

    def end(self) -> None:
        """End the process; the next task starts another."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
        self._child = None

    def _started(self) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, text=True
        )
        self._answer(child)
        return child

    def _answer(self, child: subprocess.Popen[str]) -> dict[str, Any]:
        assert child.stdout is not None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            child.kill()

        alarm = threading.Timer(self._patience_s or threading.TIMEOUT_MAX, give_up)
        alarm.daemon = True
        alarm.start()
        try:
            line = child.stdout.readline()
        finally:
            alarm.cancel()
        if not line:
            raise Stuck(f"nothing within {self._patience_s:g} s" if late.is_set() else "its process ended")
        found: dict[str, Any] = json.loads(line)
        return found


def answer(library: Library, cases: Mapping[str, Callable[[Library, Mapping[str, Any]], Mapping[str, Any]]]) -> None:
    """Do one task for each line of standard input, by its `case`, until that ends."""
    out, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        print(json.dumps(cases[task["case"]](library, task)), file=out, flush=True)
    os._exit(0)  # threads that hang at a server must not keep it
