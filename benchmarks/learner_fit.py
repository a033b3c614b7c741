"""Fit the simulated learner to an LM: `python benchmarks/learner_fit.py --data FOLDER --task NAME --figures FILE`.

Takes the figures of a real LM (`learner_figures.py`), tries strengths at random and then near the best, and prints
the regime whose own figures on the same prompts and rows are nearest, both side by side.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from learner import Mind, Prompt, Regime, Shown, label_of, questions, text_of
from learner_figures import WORDINGS, Draw, draws, figures, sample
from tasks import Task, load

import declm as dm

RANGES: Mapping[str, tuple[float, float]] = {
    "knowledge": (-0.5, 4.0),
    "spread": (0.2, 2.0),
    "liking": (0.0, 5.0),
    "mood": (0.0, 5.0),
    "evenness": (0.0, 1.0),
    "settles": (0.5, 40.0),
    "likeness": (0.0, 10.0),
    "sharpness": (0.5, 3.0),
    "frequency": (0.0, 1.5),
    "recency": (0.0, 3.0),
    "wording": (0.0, 1.0),
}
"""Bounds of what is fitted; the burden and the clue are not, since these prompts show nothing of them."""

WEIGHTS = {"accuracy": 3.0, "follows_nearest": 1.0, "follows_last": 1.0, "commonest": 1.0}

Figures = Sequence[Mapping[str, Any]]


def simulated(task: Task, regime: Regime, wanted: Sequence[Draw], rows: Sequence[dm.Signature]) -> Figures:
    """The figures of the learner, without a server."""
    mind, own = Mind(regime), dm.spec(task.signature).instructions
    asked = [next(iter(questions(task, row).values())) for row in rows]
    found: list[Mapping[str, Any]] = []
    for draw in wanted:
        demos = tuple(Shown(text_of(row), label_of(row)) for row in draw.demos)
        told = WORDINGS[draw.wording] or own
        prompt = Prompt(told, demos, json.dumps([told, [asdict(demo) for demo in demos]]))
        found.append(figures(task, draw, rows, [mind.answer(question, prompt) for question in asked]))
    return found


def means(lines: Figures) -> dict[tuple[int, str], dict[str, float]]:
    """Mean figures by number of demos: random ones, balanced ones, and random ones under other wordings."""
    groups: dict[tuple[int, str], list[Mapping[str, Any]]] = defaultdict(list)
    for line in lines:
        kind = "balanced" if line["balanced"] else "reworded" if line["wording"] else "random"
        groups[line["count"], kind].append(line)
    return {
        key: {name: sum(line[name] for line in group) / len(group) for name in WEIGHTS if group[0][name] is not None}
        for key, group in sorted(groups.items())
    }


def distance(mine: Figures, theirs: Figures) -> float:
    """Weighted squared difference of the mean figures."""
    a, b = means(mine), means(theirs)
    return sum(WEIGHTS[name] * (a[key][name] - b[key][name]) ** 2 for key in b for name in b[key])


def fitted(task: Task, figures: Figures, tries: int, seed: int) -> Regime:
    """The nearest regime of many."""
    rows, rng = sample(task, figures[0]["rows"]), random.Random(seed)
    wanted = list(draws(task, 1 + max(line["seed"] for line in figures)))
    best, least = Regime(), float("inf")
    for turn in range(tries):
        if turn < tries // 2:
            strengths = {name: rng.uniform(*bounds) for name, bounds in RANGES.items()}
        else:
            name = rng.choice(list(RANGES))
            low, high = RANGES[name]
            moved = getattr(best, name) + rng.gauss(0.0, 0.12) * (high - low)
            strengths = {name: min(high, max(low, moved))}
        regime = replace(best, **strengths)
        off = distance(simulated(task, regime, wanted, rows), figures)
        if off < least:
            best, least = regime, off
    return best


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[1])
    made.add_argument("--data", type=Path, required=True, help="the folder of the task folders")
    made.add_argument("--task", required=True, help="the task's name")
    made.add_argument("--figures", type=Path, required=True, help="what learner_figures.py wrote of the LM")
    made.add_argument("--tries", type=int, default=300, help="regimes that are tried (%(default)s)")
    made.add_argument("--seed", type=int, default=0, help="of the tries (%(default)s)")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = parser().parse_args(arguments)
    task = load(given.data, given.task)
    lines = [json.loads(line) for line in given.figures.read_text("utf-8").splitlines()]
    theirs = [line for line in lines if line["task"] == given.task]
    regime = fitted(task, theirs, given.tries, given.seed)
    print({name: round(value, 2) for name, value in asdict(regime).items()})
    wanted = list(draws(task, 1 + max(line["seed"] for line in theirs)))
    mine = means(simulated(task, regime, wanted, sample(task, theirs[0]["rows"])))
    for (count, kind), of in means(theirs).items():
        pairs = "  ".join(f"{name} {value:.2f} {mine[count, kind][name]:.2f}" for name, value in of.items())
        print(f"{count:>2} demos, {kind:<8}  {pairs}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
