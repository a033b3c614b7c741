"""Optimizers side by side on a simulated learner: `python benchmarks/optimizers.py --data FOLDER --peers PYTHON`.

For each task and seed, DSPy's optimizers compile first, and the server counts their calls. Then declm's run on the same
rows with at most so many calls: the default at the number of each of DSPy's and at round ones (its anytime
curve), the named ones as they come. What counts is the accuracy on test rows that no optimizer has seen.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learner_wire import TAKEN, Learner
from prompt_server import ModelServer
from records import keep, surroundings
from scoring import outputs
from tasks import Task, load

import declm as dm
from declm.optimizers import (
    CAPO,
    COPRO,
    GEPA,
    SIMBA,
    BetterTogether,
    BootstrapFewShot,
    InferRules,
    KNNFewShot,
    LabeledFewShot,
    MIPROv2,
    Optimizer,
    OptunaSearch,
    RandomSearch,
)
from declm.types import closed_values

REGIMES = {
    "banking20": "fitted20",
    "sst2": "fitted2",
    "banking77": "deaf",
    "facility_support": "docile",
    "bbh_date_understanding": "burdened",
}
"""The tasks, and how the learner behaves on each."""

PEERS = ("LabeledFewShot", "RandomSearch", "MIPROv2-light", "MIPROv2-medium", "GEPA", "LabeledFewShot+GEPA")
"""DSPy's optimizers that are run."""

BUDGETS = (150, 300, 600, 1200, 2400)
"""Calls of the default's anytime curve."""

NAMED: Mapping[str, Callable[[], Optimizer]] = {
    "LabeledFewShot": lambda: LabeledFewShot(16),
    "BootstrapFewShot": BootstrapFewShot,
    "RandomSearch": RandomSearch,
    "OptunaSearch": OptunaSearch,
    "KNNFewShot": KNNFewShot,
    "COPRO": lambda: COPRO(breadth=5, depth=2),
    "MIPROv2": lambda: MIPROv2("light", labeled=16),
    "GEPA": GEPA,
    "SIMBA": lambda: SIMBA(steps=4, batch=24, candidates=4),
    "InferRules": lambda: InferRules(candidates=6),
    "CAPO": CAPO,
    "BetterTogether": lambda: BetterTogether([LabeledFewShot(16, "balanced"), GEPA()]),
}


@dataclass(frozen=True)
class Rows:
    """What the optimizers of one run get, and the test rows that they do not."""

    train: Sequence[dm.Signature]
    val: Sequence[dm.Signature]
    test: Sequence[dm.Signature]

    @classmethod
    def of(cls, task: Task, seed: int, size: int) -> Rows:
        """At most `size` rows of train and of val, drawn with the seed; all of test."""
        rng = random.Random(f"optimizers:{seed}")
        train, val = (rng.sample(rows, min(size, len(rows))) for rows in (task.train, task.dev))
        return cls(train, val, task.test)


def share(gold: dm.Signature, got: dm.Signature) -> dm.Score:
    """Share of the outputs that are right; the feedback names those that are not."""
    pairs = {key: (value, outputs(got)[key]) for key, value in outputs(gold).items()}
    wrong = [f"{key} is {is_!r}, not {should!r}" for key, (should, is_) in pairs.items() if should != is_]
    return dm.Score(1.0 - len(wrong) / len(pairs), "; ".join(wrong))


@dataclass(frozen=True)
class Arena:
    """One task and one seed: the rows, and the server of the learner."""

    task: Task
    seed: int
    rows: Rows
    server: ModelServer

    @property
    def program(self) -> dm.Predict[..., Any]:
        """The program to optimize."""
        lm = dm.LM("openai/learner", api_base=self.server.url, api_key="none")
        return dm.Predict(self.task.signature, lm=lm)

    def accuracy(self, program: Any) -> float:
        """Share of the outputs of test that are right; not counted as calls of an optimizer."""
        score = dm.evaluate(program, self.rows.test, share, progress=False, concurrency=8).score
        self.server.taken()
        return score

    def run(self, framework: str, name: str, compiled: Callable[[], Any]) -> dict[str, Any]:
        """A declm program made by `compiled`, its accuracy, and the calls that it took."""
        self.server.taken()
        began_s = time.monotonic()
        program = compiled()
        seconds = time.monotonic() - began_s
        calls = len(self.server.taken())
        return self._line(framework, name, calls, self.accuracy(program), seconds)

    def optimized(self, name: str, optimizer: Optimizer | None, calls: int | None) -> dict[str, Any]:
        """declm with one optimizer, at most so many calls."""

        def compiled() -> Any:
            budget = dm.Budget(calls=calls)
            return dm.optimize(
                self.program,
                train=self.rows.train,
                val=self.rows.val,
                metric=share,
                optimizer=optimizer,
                budget=budget,
                seed=self.seed,
                progress=False,
                concurrency=8,
                accept="best",
            ).program

        return {**self.run("declm", name, compiled), "budget": calls}

    def peer(self, python: Path, name: str) -> dict[str, Any]:
        """DSPy with one optimizer, in its own environment."""
        spec = dm.spec(self.task.signature)
        job = {
            "url": self.server.url,
            "optimizer": name,
            "seed": self.seed,
            "adapter": "chat",
            "temperature": 0.0,
            "instructions": spec.instructions,
            "inputs": list(spec.inputs),
            "outputs": {key: [str(v) for v in closed_values(f.schema) or ()] for key, f in spec.outputs.items()},
            "kinds": {key: str(f.schema.get("type", "string")) for key, f in spec.outputs.items()},
            **{part: [row.model_dump(mode="json") for row in rows] for part, rows in vars(self.rows).items()},
        }
        script = Path(__file__).with_name("optimizers_peers.py")
        began_s = time.monotonic()
        made = subprocess.run(
            [str(python), str(script)], input=json.dumps(job), capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise dm.UsageError(f"DSPy's {name} failed: {made.stderr.strip()[-1500:]}")
        found = json.loads(made.stdout.strip().splitlines()[-1])
        self.server.taken()
        return self._line("dspy", name, found["calls"], found["score"], time.monotonic() - began_s)

    def _line(self, framework: str, name: str, calls: int, accuracy: float, seconds: float) -> dict[str, Any]:
        return {
            "task": self.task.name,
            "seed": self.seed,
            "framework": framework,
            "optimizer": name,
            "calls": calls,
            "accuracy": round(accuracy, 4),
            "test_rows": len(self.rows.test),
            "seconds": round(seconds, 1),
        }


def lines(arena: Arena, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All figures of one task and seed."""
    plain = arena.program
    yield arena.run("declm", "as given", lambda: plain)
    for name, select in (("balanced 16", "balanced"), ("random 16", "random")):
        shown = LabeledFewShot(16, select)  # type: ignore[arg-type]
        yield arena.run("declm", name, lambda shown=shown: shown.compile(plain, arena.rows.train, seed=arena.seed))
    near = KNNFewShot((16,))
    yield arena.run("declm", "nearest 16", lambda: near.compile(plain, arena.rows.train))
    counts = list[int]()
    for name in given.against if given.peers else ():
        line = arena.peer(given.peers, name)
        counts += [line["calls"]] if line["calls"] else []
        yield line
    for calls in sorted({*given.budgets, *counts}):
        yield arena.optimized("JointSearch", None, calls)
    for name in given.named:
        yield arena.optimized(name, NAMED[name](), None)


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[1])
    made.add_argument("--data", type=Path, required=True, help="the folder of the task folders")
    made.add_argument("--peers", type=Path, metavar="PYTHON", help="interpreter of the environment with DSPy")
    made.add_argument("--tasks", nargs="+", default=list(REGIMES), choices=list(REGIMES))
    made.add_argument("--against", nargs="*", default=list(PEERS), choices=PEERS, help="DSPy's optimizers")
    made.add_argument("--named", nargs="*", default=list(NAMED), choices=list(NAMED), help="declm's optimizers")
    made.add_argument(
        "--budgets", nargs="*", type=int, default=list(BUDGETS), help="calls of the default (%(default)s)"
    )
    made.add_argument("--seeds", type=int, default=5, help="how many (%(default)s)")
    made.add_argument("--first", type=int, default=0, help="the first seed")
    made.add_argument("--rows", type=int, default=100, help="of train and of val, at most (%(default)s)")
    made.add_argument("--out", type=Path, metavar="FILE.jsonl", help="append the figures, a line per run")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = parser().parse_args(arguments)
    try:
        for name in given.tasks:
            task = load(given.data, name)
            for seed in range(given.first, given.first + given.seeds):
                learner = Learner.of([task], REGIMES[name])
                with ModelServer(learner, TAKEN) as server, dm.context(cache=False):
                    for line in lines(Arena(task, seed, Rows.of(task, seed, given.rows), server), given):
                        print(line, file=sys.stderr)
                        keep({**line, "surroundings": surroundings()}, given.out)
    except dm.DeclmError as error:
        print(f"optimizers: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
