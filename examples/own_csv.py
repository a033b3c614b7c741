"""Classify the rows of your own table: declare, measure, optimize, measure again, save.

    python examples/own_csv.py rows.csv --text message --label desk

The table needs a column of texts and a column with the right label of each; .csv, .tsv, .jsonl, .json
and .parquet files work. With the default model nothing leaves your machine: run `declm pull smollm2` once.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import declm as dm

TASK = "Choose the label that fits the text."


# A signature says what goes into a step and what comes out; its docstring tells the model what to do.
class Labelled(dm.Signature):
    text: str = dm.Input()
    label: str = dm.Output()


# A metric compares the answer with the labelled row; True counts 1, False counts 0.
def correct(gold: Labelled, got: Labelled) -> bool:
    return gold.label == got.label


def declare(task: str, text: str, label: str, labels: Sequence[str]) -> Callable[..., Labelled]:
    """A signature made for one table: the answer can be nothing but one of `labels`.

    With labels that you know beforehand you would write the class out, as README.md does. Here they come
    out of the file, so the class is derived; the aliases show the model your own column names.
    """
    derived = dm.spec(Labelled).with_instructions(task)
    derived = dm.spec(derived).with_field("text", str, dm.Input(alias=text))
    return dm.spec(derived).with_field("label", Literal[tuple(labels)], dm.Output(alias=label))


def read(path: Path, task: str, text: str, label: str) -> tuple[Callable[..., Labelled], list[Labelled]]:
    """The signature for this table, and its labelled rows."""
    found = dm.data.read(Labelled, path, columns={text: "text", label: "label"})
    # An empty cell leaves the output unset, just as in a row that no model has answered yet.
    labelled = [row for row in found if hasattr(row, "label")]
    counts = Counter(row.label for row in labelled)
    if not 2 <= len(counts) <= len(labelled) // 3:
        raise SystemExit(
            f"{label!r} has {len(counts)} different values in {len(labelled)} rows; "
            "labels repeat: there are at least two, each for several rows"
        )
    print(f"{len(found)} rows, {len(found) - len(labelled)} of them without a label; the labels:")
    for value, count in counts.most_common():
        print(f"    {count:5}  {value}")
    signature = declare(task, text, label, sorted(counts))
    return signature, dm.data.read(signature, labelled)


def tell(
    path: Path, *, text: str, label: str, task: str = TASK, calls: int = 600, seed: int = 0, out: Path
) -> dm.Optimized[dm.Predict[..., Labelled]]:
    """The whole story on one table."""
    signature, rows = read(path, task, text, label)

    # train gives worked examples, val compares candidates, test is looked at only before and after.
    # `by` gives each part its share of every label, `seed` makes it the same parts every time.
    train, val, test = dm.data.split(rows, 0.4, 0.3, ..., seed=seed, by=lambda row: row.label)
    print(f"{len(train)} rows to learn from, {len(val)} to compare by, {len(test)} to test with\n")

    program = dm.Predict(signature)
    given: dict[str, Any] = {text: test[0].text}  # inputs are keywords: program(message="...")
    print(f"One call: {given} -> {program(**given).label!r}\n")

    before = dm.evaluate(program, test, correct)
    print(f"As declared:\n{before}\n")

    best = dm.optimize(program, train=train, val=val, metric=correct, budget=dm.Budget(calls=calls), seed=seed)
    print(f"{best.report}\n")

    after = dm.evaluate(best.program, test, correct)
    print(f"Optimized, on the same test rows:\n{after}")
    print(f"The difference: {after.compare(before)}\n")

    best.program.save(out)  # plain JSON: instructions and worked examples
    again = dm.Predict(signature).load(out)
    print(f"Saved to {out}; loaded again it says {again(**given).label!r}")
    return best


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Optimize a classifier on the rows of your own table.")
    parser.add_argument("rows", type=Path, help="the table")
    parser.add_argument("--text", required=True, help="column that holds the texts")
    parser.add_argument("--label", required=True, help="column that holds the labels")
    parser.add_argument("--task", default=TASK, help="what to do, in a sentence")
    parser.add_argument("--lm", default="local/smollm2", help="such as openai/gpt-5-mini")
    parser.add_argument("--calls", type=int, default=600, help="calls of the model that the search may make")
    parser.add_argument("--seed", type=int, default=0, help="of the split and the search")
    parser.add_argument("--out", type=Path, default=Path("program.json"), help="where to save the program")
    given = parser.parse_args(argv)

    dm.configure(lm=given.lm)
    tell(
        given.rows,
        text=given.text,
        label=given.label,
        task=given.task,
        calls=given.calls,
        seed=given.seed,
        out=given.out,
    )


if __name__ == "__main__":
    main()
