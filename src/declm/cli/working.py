"""`declm worker`: one script in several processes, which share what they pay for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from declm.errors import UsageError

Say = Callable[[str], None]


def work(say: Say, script: Path, processes: int, arguments: Sequence[str] = ()) -> int:
    """Run a script so many times at once; returns how many ended well.

    Evaluations and searches of the script that have a `name=` divide their rows among the processes. Each process
    ends with the same result; one that is killed costs the rows that it was at, and changes nothing.

    Raises:
        UsageError: there is no such script, or fewer than one process is asked for.
    """
    if processes < 1:
        raise UsageError(f"{processes} processes: there must be 1 or more")
    if not script.is_file():
        raise UsageError(f"there is no script {str(script)!r}")
    command = [sys.executable, str(script), *arguments]
    # The first one tells its story; the others would tell the same.
    outputs = [None] + [subprocess.DEVNULL] * (processes - 1)
    started = [subprocess.Popen(command, stdout=output, stderr=output) for output in outputs]  # noqa: S603  # the user's own script
    try:
        statuses = [process.wait() for process in started]
    except BaseException:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()
        raise
    for number, status in enumerate(statuses, 1):
        if status:
            say(f"process {number} of {processes} ended with status {status}")
    return statuses.count(0)
