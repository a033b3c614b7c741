"""Does a search return luck, and does it find what is there? `python benchmarks/gains.py --out FILE.jsonl`.

Null tasks: every prompt is right with the same probability, independently for each row, so no candidate is better than
another. True gains: demos, or one instruction in so many, add some points. The LM is a function in process; what is
returned is counted with each optimizer, at the default `accept="significant"`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from records import keep, surroundings

import declm as dm
from declm.messages import Request
from declm.optimizers import GEPA, JointSearch, MIPROv2, Optimizer, RandomSearch
from declm.testing import FunctionLM

OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {
    "JointSearch": lambda: JointSearch(trials=24),
    "RandomSearch": lambda: RandomSearch(candidates=21),
    "MIPROv2": lambda: MIPROv2("medium"),
    "GEPA": lambda: GEPA("medium"),
}

WORDS = "amber basil cedar delta ember flint grove heath inlet jetty knoll ledge marsh north orbit pearl".split()
LABELS: tuple[Literal["even"], Literal["odd"]] = ("even", "odd")

GOOD = "with the key"
"""What a good instruction says."""

Source = Literal["nothing", "demos", "instructions"]


class Sort(dm.Signature):
    """Sort the text."""

    text: str
    label: Literal["even", "odd"] = dm.Output()


@dataclass(frozen=True)
class Made:
    """A made task: rows, and an LM that is right with probability `base`, and `gain` more where it is helped."""

    seed: int
    base: float
    gain: float
    source: Source
    train: list[Sort]
    val: list[Sort]

    def rule(self, request: Request) -> str:
        """The LM: a row's answer depends on the whole prompt, as good as anew for each one."""
        if "better instructions" in request.messages[0].content or "Improve the" in request.messages[0].content:
            chosen = random.Random(f"{self.seed}:{request.messages}:{request.sample}")
            good = GOOD if self.source == "instructions" and chosen.random() < 0.3 else "with care"
            return json.dumps({"instructions": f"Sort the text {good}, variant {chosen.randrange(10**6)}."})
        used = {
            "nothing": False,
            "demos": len(request.messages) > 2,
            "instructions": GOOD in request.messages[0].content,
        }[self.source]
        text = request.messages[-1].content.removeprefix("text: ")
        right = int(text.split()[-1]) % 2
        noise = hashlib.sha256(f"{self.seed}:{request.messages}:{request.sample}".encode()).digest()
        is_right = int.from_bytes(noise[:6], "big") / 2**48 < self.base + (self.gain if used else 0.0)
        return json.dumps({"label": LABELS[right if is_right else 1 - right]})


def made(count: int, gain: float) -> Iterator[Made]:
    """So many tasks of different difficulty and size of val."""
    for seed in range(count):
        rng = random.Random(f"gains:{seed}")
        val = rng.randint(100, 200)
        rows = [
            Sort(text=f"{rng.choice(WORDS)} {rng.choice(WORDS)} {n}", label=LABELS[n % 2]) for n in range(val + 150)
        ]
        source: Source = "nothing" if not gain else rng.choice(("demos", "instructions"))
        yield Made(seed, rng.uniform(0.35, 0.7), gain, source, rows[val:], rows[:val])


def correct(gold: Sort, got: Sort) -> bool:
    """The label is right."""
    return gold.label == got.label


def searched(task: Made, optimizer: Optimizer) -> dict[str, Any]:
    """What a search returned, and what the returned program is really worth."""
    program = dm.Predict(Sort, lm=FunctionLM(task.rule))
    began_s = time.monotonic()
    with dm.context(cache=False):
        best = dm.optimize(
            program,
            train=task.train,
            val=task.val,
            metric=correct,
            optimizer=optimizer,
            seed=task.seed,
            progress=False,
            concurrency=8,
        )
    shown = best.program.state.predictors["self"]
    found = {"nothing": False, "demos": bool(shown.demos), "instructions": GOOD in (shown.instructions or "")}
    return {
        "task": task.seed,
        "source": task.source,
        "val": len(task.val),
        "accepted": best.report.accepted,
        "found": found[task.source],
        "candidates": len(best.report.trials) - 1,
        "calls": best.usage.calls,
        "seconds": round(time.monotonic() - began_s, 2),
    }


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    usage = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[1])
    usage.add_argument("--tasks", type=int, default=60, help="of each kind (%(default)s)")
    usage.add_argument("--gain", type=float, default=0.15, help="of the tasks with a gain (%(default)s)")
    usage.add_argument("--optimizers", nargs="+", default=["JointSearch"], choices=sorted(OPTIMIZERS))
    usage.add_argument(
        "--out", type=Path, metavar="FILE.jsonl", help="append the counts, a line per optimizer and kind"
    )
    return usage


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = parser().parse_args(arguments)
    for name in given.optimizers:
        for gain in (0.0, given.gain):
            lines = [searched(task, OPTIMIZERS[name]()) for task in made(given.tasks, gain)]
            total = {
                "optimizer": name,
                "gain": gain,
                "tasks": len(lines),
                "accepted": sum(line["accepted"] for line in lines),
                "found": sum(line["accepted"] and line["found"] for line in lines),
                "candidates": sum(line["candidates"] for line in lines) / len(lines),
                "calls": sum(line["calls"] for line in lines) / len(lines),
                "seconds": round(sum(line["seconds"] for line in lines), 1),
                "surroundings": surroundings(),
            }
            print(total)
            keep(total, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
