"""The demo with several seeds: `python benchmarks/demo_seeds.py --out benchmarks/results/demo_seeds.jsonl`.

Each seed searches anew, without the reply cache; model and rows stay the same. Every outcome is kept and shown, the
bad ones too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from publish import demo_table
from records import keep, surroundings

import declm as dm
from declm.cli.demo import Outcome, tell

Play = Callable[[int, Path], Outcome]
"""Runs the demo with a seed; the path is where it saves its program."""


def play(seed: int, out: Path) -> Outcome:
    """Run the demo without its words and without the reply cache."""
    return tell(lambda _: None, seed=seed, out=out, cache=False)


def outcomes(seeds: Iterable[int], play: Play = play) -> Iterator[dict[str, Any]]:
    """One line of results per seed, as soon as it is there."""
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            yield {**asdict(play(seed, Path(folder) / "route.json")), "surroundings": surroundings()}


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[1])
    made.add_argument("--seeds", type=int, default=10, help="how many seeds (%(default)s)")
    made.add_argument("--first", type=int, default=0, help="the first seed, to go on where a run was broken off")
    made.add_argument("--out", type=Path, metavar="FILE.jsonl", help="append the figures, one line of JSON per seed")
    return made


def main(arguments: Sequence[str] | None = None, play: Play = play) -> int:
    """Run the command; returns the exit status."""
    given = parser().parse_args(arguments)
    lines: list[dict[str, Any]] = []
    try:
        for line in outcomes(range(given.first, given.first + given.seeds), play):
            lines.append(line)
            print(f"seed {line['seed']}: {line['plain']:.3f} -> {line['optimized']:.3f}", file=sys.stderr)
            keep(line, given.out)
    except dm.DeclmError as error:
        print(f"demo_seeds: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(demo_table(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
