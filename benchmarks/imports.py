"""What importing costs: `python benchmarks/imports.py --out benchmarks/results/imports.jsonl`.

Each statement runs in fresh processes, by turns with the others, so that a slow moment of the machine hits all of
them. Memory is that of the whole process, the interpreter included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from publish import imports_table
from records import keep, surroundings

STATEMENTS: Mapping[str, str] = {
    "nothing": "pass",
    "import declm": "import declm",
    "import declm; declm.Signature, declm.Predict": "import declm; declm.Signature, declm.Predict",
    "import pydantic, jinja2": "import pydantic, jinja2",
    "import litellm": "import litellm",
}
"""What is measured, by the name that the table gives it."""

HEAVY = ("litellm", "optuna", "numpy")
"""Modules whose loading is reported."""

_CHILD = """
import sys, time
sockets = []
if {watch}:
    sys.addaudithook(lambda event, args: sockets.append(event) if event == "socket.__new__" else None)
started = time.perf_counter()
{statement}
seconds = time.perf_counter() - started
import json
try:
    with open("/proc/self/status") as status:
        kib = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
except OSError:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kib = peak // 1024 if sys.platform == "darwin" else peak
loaded = [name for name in {heavy} if name in sys.modules]
print(json.dumps({{"seconds": seconds, "mib": kib / 1024, "loaded": loaded, "sockets": len(sockets)}}))
"""


def measure(statement: str, *, watch: bool = False) -> dict[str, Any]:
    """Run a statement in a fresh process: seconds, MiB, heavy modules, and with `watch` the sockets it made.

    Raises:
        CalledProcessError: the statement fails, for instance because a package is not installed.
    """
    code = _CHILD.format(statement=statement, watch=watch, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(statements: Mapping[str, str], times: int) -> list[dict[str, Any]]:
    """Medians over `times` processes of each statement, after one that warms the disk and counts sockets."""
    first = {name: measure(code, watch=True) for name, code in statements.items()}
    rounds = [{name: measure(code) for name, code in statements.items()} for _ in range(times)]
    return [
        {
            "statement": name,
            "ms": 1000.0 * median(seen[name]["seconds"] for seen in rounds),
            "mib": median(seen[name]["mib"] for seen in rounds),
            "loaded": first[name]["loaded"],
            "sockets": first[name]["sockets"],
        }
        for name in statements
    ]


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[1])
    made.add_argument("--times", type=int, default=9, help="processes for each statement (%(default)s)")
    made.add_argument("--out", type=Path, metavar="FILE.jsonl", help="append the figures as a line of JSON")
    return made


def main(arguments: Sequence[str] | None = None, statements: Mapping[str, str] = STATEMENTS) -> int:
    """Run the command; returns the exit status."""
    given = parser().parse_args(arguments)
    try:
        line = {"times": given.times, "measured": compare(statements, given.times), "surroundings": surroundings()}
    except subprocess.CalledProcessError as error:
        print(f"imports: {error}\n{error.stderr}", file=sys.stderr)
        return 1
    print(imports_table([line]))
    keep(line, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
