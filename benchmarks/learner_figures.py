"""How an LM learns from demos and instructions: `python benchmarks/learner_figures.py --data FOLDER --lm MODEL`.

For each task, number of demos and draw of them, the LM answers the same rows of dev. The figures say what demos and
instructions do to it: accuracy, how much an answer follows the most similar demo and the last one, and how
one-sided the answers are. The simulated learner (`learner.py`) was fitted to them; with `--lm` left out they are
taken of the learner itself.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learner import REGIMES, label_of, similarities, text_of
from learner_wire import TAKEN, Learner
from prompt_server import ModelServer
from records import keep, surroundings
from tasks import Task, load

import declm as dm
from declm.demo import Demo
from declm.specs import row_hash

COUNTS = (0, 1, 2, 4, 8, 16, 32)

WORDINGS = (
    None,
    "Do the task.",
    "Read the text and decide.",
    "You are an expert. Think carefully about what the text really says, then give the one right answer.",
    "Give the answer that fits the text best; if two seem right, take the more specific one.",
)
"""Instructions that are compared; None stands for the task's own."""


@dataclass(frozen=True)
class Draw:
    """One prompt: demos, drawn with a seed at random or with every value equally often, under an instruction."""

    demos: tuple[dm.Signature, ...]
    seed: int
    wording: int = 0
    is_balanced: bool = False


def draws(task: Task, seeds: int) -> Iterator[Draw]:
    """Demo counts under the task's own instruction, balanced sets, then other wordings with none and with 16 demos."""
    for count in COUNTS:
        for seed in range(seeds if count else 1):
            yield Draw(tuple(random.Random(f"{seed}:{count}").sample(task.train, count)), seed)
    for each in (1, 8):
        for seed in range(seeds):
            demos = balanced(task, each, seed)
            if len(demos) <= max(COUNTS):
                yield Draw(demos, seed, is_balanced=True)
    for wording in range(1, len(WORDINGS)):
        for count in (0, 16):
            yield Draw(tuple(random.Random(f"0:{count}").sample(task.train, count)), 0, wording)


def balanced(task: Task, each: int, seed: int) -> tuple[dm.Signature, ...]:
    """So many rows of every value of the first output, in a random order."""
    rng, groups = random.Random(f"{seed}:{each}"), dict[str, list[dm.Signature]]()
    for row in task.train:
        groups.setdefault(label_of(row), []).append(row)
    chosen = [row for label in sorted(groups) for row in rng.sample(groups[label], min(each, len(groups[label])))]
    rng.shuffle(chosen)
    return tuple(chosen)


def asked(task: Task, draw: Draw, program: dm.Predict[Any, Any], rows: Sequence[dm.Signature]) -> Mapping[str, Any]:
    """Let the LM answer the rows under one prompt."""
    demos = tuple(demo(row) for row in draw.demos)
    own = program.state.predictors["self"]
    prompted = own.model_copy(update={"demos": demos, "instructions": WORDINGS[draw.wording]})
    ready = program.with_state(program.state.with_predictor("self", prompted))
    report = dm.evaluate(ready, rows, task.scoring, progress=False)
    answers = [label_of(result.output) if result.output is not None else "" for result in report.rows]
    return figures(task, draw, rows, answers)


def figures(task: Task, draw: Draw, rows: Sequence[dm.Signature], answers: Sequence[str]) -> dict[str, Any]:
    """What one prompt did: see the module's docstring; shares are None where there are no demos."""
    golds = [label_of(row) for row in rows]
    shown = [label_of(row) for row in draw.demos]
    nearest = [_nearest(row, draw.demos) for row in rows]
    right = [answer == gold for answer, gold in zip(answers, golds, strict=True)]
    return {
        "task": task.name,
        "count": len(draw.demos),
        "seed": draw.seed,
        "wording": draw.wording,
        "balanced": draw.is_balanced,
        "rows": len(rows),
        "accuracy": sum(right) / len(right),
        "follows_nearest": _share(answers, nearest) if shown else None,
        "follows_last": _share(answers, [shown[-1]] * len(rows)) if shown else None,
        "commonest": Counter(answers).most_common(1)[0][1] / len(answers),
    }


def sample(task: Task, count: int) -> list[dm.Signature]:
    """The rows of dev that are asked, the same ones every time."""
    return random.Random("figures").sample(task.dev, min(count, len(task.dev)))


def demo(row: dm.Signature) -> Demo:
    """A row as a worked example."""
    inputs, outputs = dm.spec(type(row)).dump(row)
    return Demo(inputs=inputs, outputs=outputs, row=row_hash(row))


def _nearest(row: dm.Signature, demos: Sequence[dm.Signature]) -> str | None:
    if not demos:
        return None
    close = similarities(text_of(row), [text_of(demo) for demo in demos])
    return label_of(demos[max(range(len(demos)), key=close.__getitem__)])


def _share(answers: Sequence[str], others: Sequence[str | None]) -> float:
    return sum(a == b for a, b in zip(answers, others, strict=True)) / len(answers)


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[1])
    made.add_argument("--data", type=Path, required=True, help="the folder of the task folders")
    made.add_argument("--tasks", nargs="+", default=["banking20", "sst2"], help="names (%(default)s)")
    made.add_argument("--lm", help="the LM; left out, the simulated learner")
    made.add_argument("--regime", default="fitted20", choices=sorted(REGIMES), help="of the learner (%(default)s)")
    made.add_argument("--rows", type=int, default=60, help="rows of dev (%(default)s)")
    made.add_argument("--seeds", type=int, default=3, help="draws per number of demos (%(default)s)")
    made.add_argument("--out", type=Path, metavar="FILE.jsonl", help="append the figures, one line of JSON per prompt")
    return made


def measure(given: argparse.Namespace, name: str) -> None:
    """All prompts of one task."""
    task = load(given.data, name)
    rows = sample(task, given.rows)
    with ModelServer(Learner.of([task], given.regime), TAKEN) as server:
        lm = dm.LM(given.lm) if given.lm else dm.LM("openai/learner", api_base=server.url, api_key="none")
        with dm.context(cache=False):
            for draw in draws(task, given.seeds):
                line = asked(task, draw, dm.Predict(task.signature, lm=lm), rows)
                print(line, file=sys.stderr)
                keep({"lm": given.lm or f"learner/{given.regime}", **line, "surroundings": surroundings()}, given.out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = parser().parse_args(arguments)
    try:
        for name in given.tasks:
            measure(given, name)
    except dm.DeclmError as error:
        print(f"learner_figures: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
