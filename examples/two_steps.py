"""A program of two steps, optimized with labels for its last step only.

    python examples/two_steps.py

The rows (plants.csv) say what is wrong with a plant. Nobody has labelled what the first step should
write. `optimize` runs the program, and where the final answer is right, what each step said on the way
becomes a worked example ("demo") for that step. With the default model nothing leaves your machine:
run `declm pull smollm2` once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import declm as dm

ROWS = Path(__file__).with_name("plants.csv")

Cause = Literal["water", "pests", "light"]


class Look(dm.Signature):
    """Say in a few words what can be seen on the plant and around it."""

    report: str = dm.Input("what the owner wrote")
    signs: str = dm.Output("the signs", max_length=60)


class Diagnose(dm.Signature):
    """Name what makes the plant suffer."""

    signs: str = dm.Input("what can be seen")
    cause: Cause = dm.Output("water: too much or too little; light: too much or too little")


# A row of the table: what the program is given, and the answer it should come to.
class Case(dm.Signature):
    report: str
    cause: Cause = dm.Output()


class Doctor(dm.Module):
    """Two predictors; `forward` says in plain Python how one feeds the other."""

    def __init__(self) -> None:
        self.look = dm.Predict(Look)
        self.diagnose = dm.Predict(Diagnose)

    def forward(self, report: str) -> Diagnose:
        seen = self.look(report=report)
        return self.diagnose(signs=seen.signs)


def correct(gold: Case, got: Diagnose) -> bool:
    return gold.cause == got.cause


def demos(program: Doctor) -> dict[str, int]:
    """How many worked examples each predictor shows to the model, by its path in the program."""
    return {path: len(state.demos) for path, state in program.state.predictors.items()}


def tell(*, calls: int = 400, seed: int = 0) -> dm.Optimized[Doctor]:
    """Optimize, and show what both steps have learnt."""
    cases = dm.data.read(Case, ROWS)
    train, val = dm.data.split(cases, 0.5, ..., seed=seed, by="cause")

    doctor = Doctor()
    # `run` returns the value and how it came about: the trace shows what each step was given and said.
    run = doctor.run(report=val[0].report)
    print(f"{val[0].report}\n{run.trace}\n")

    best = dm.optimize(
        doctor,
        train=train,
        val=val,
        metric=correct,
        budget=dm.Budget(calls=calls),
        seed=seed,
        # By default the program comes back unchanged unless its gain is above chance. These few rows
        # can hardly show that, so take the best that was found.
        accept="best",
    )
    print(f"{best.report}\n")

    print(f"Demos before: {demos(doctor)}, after: {demos(best.program)}")
    for path, state in best.program.state.predictors.items():
        for demo in state.demos[:1]:
            print(f"A demo of `{path}` ({demo.source}): {demo.inputs} -> {demo.outputs}")
    return best


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Optimize a program of two steps with labels for its last step.")
    parser.add_argument("--lm", default="local/smollm2", help="such as openai/gpt-5-mini")
    parser.add_argument("--calls", type=int, default=400, help="calls of the model that the search may make")
    parser.add_argument("--seed", type=int, default=0, help="of the split and the search")
    given = parser.parse_args(argv)

    dm.configure(lm=given.lm)
    tell(calls=given.calls, seed=given.seed)


if __name__ == "__main__":
    main()
