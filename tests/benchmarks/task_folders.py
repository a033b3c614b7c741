"""Small task folders of every kind, laid out as `benchmarks/real_tasks.py` reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """One kind of task: its card, and how its row number `i` looks."""

    card: Mapping[str, Any]
    row: Callable[[int], Row]
    database: Mapping[str, Any] = field(default_factory=dict[str, Any])


COLOURS = ["red", "green", "blue"]

DATABASE = {
    "db_id": "shop",
    "tables": {
        "item": {
            "ddl": 'CREATE TABLE "item" ("name" text, "price" double DEFAULT NULL)',
            "columns": ["name", "price"],
            "rows": [["saw", 12.5], ["drill", 80], ["rasp", 7], ["plane", None]],
        }
    },
}

SAMPLES: Mapping[str, Sample] = {
    "colours": Sample(
        {
            "task": "colour of a thing",
            "inputs": ["text"],
            "outputs": ["label"],
            "metric": "exact match",
            "labels": COLOURS,
        },
        lambda i: {"text": f"thing {i}", "label": COLOURS[i % 3]},
    ),
    "letters": Sample(
        {"inputs": ["input"], "outputs": ["target"], "metric": 'exact match of the option letter, as in "(B)"'},
        lambda i: {"input": f"question {i} (A) yes (B) no", "target": f"({'AB'[i % 2]})"},
    ),
    "people": Sample(
        {
            "inputs": ["text"],
            "outputs": ["entities"],
            "metric": "micro F1 over (text, type) pairs",
            "labels": ["person", "place"],
        },
        lambda i: {"text": f"Ann {i} in Rome", "entities": [{"text": f"Ann {i}", "type": "person"}] if i % 3 else []},
    ),
    "mail": Sample(
        {
            "inputs": ["text"],
            "outputs": ["urgency", "categories"],
            "metric": "mean of: urgency exact match, per-category accuracy over the 3 flags",
            "labels": {"urgency": ["high", "low"], "categories": COLOURS},
        },
        lambda i: {"text": f"mail {i}", "urgency": ["high", "low"][i % 2], "categories": COLOURS[: i % 4]},
    ),
    "sums": Sample(
        {"inputs": ["question"], "outputs": ["answer"], "metric": "numeric equality of `answer`"},
        lambda i: {"question": f"{i} + {i}", "answer": 2 * i, "solution": f"{i} + {i} = {2 * i}"},
    ),
    "trivia": Sample(
        {
            "inputs": ["question"],
            "outputs": ["answer"],
            "metric": "answer exact match and F1 (SQuAD normalisation); retrieval: are all `titles` found",
        },
        lambda i: {"question": f"who is {i}?", "answer": f"The {i}th Beatle", "titles": ["Beatles"]},
    ),
    "queries": Sample(
        {
            "inputs": ["question"],
            "outputs": ["sql"],
            "metric": "execution match: the predicted query returns the same rows (order-free unless ORDER BY)",
        },
        lambda i: {
            "question": f"what costs over {i}?",
            "sql": f"SELECT name FROM item WHERE price > {i}",
            "result": [],
        },
        DATABASE,
    ),
}
"""One sample of every kind of output."""


def build(folder: Path, name: str, *, card: Mapping[str, Any] | None = None, rows: int = 6) -> Path:
    """Write the sample called `name` below `folder`, its card changed by `card`; returns the task's folder."""
    sample, task = SAMPLES[name], folder / name
    task.mkdir(parents=True)
    write_card(task, {"name": name, **sample.card, **(card or {})})
    for number, split in enumerate(("train", "dev", "test")):
        write_rows(
            task / f"{split}.jsonl",
            [{"id": f"{split}-{i}", **sample.row(i)} for i in range(number * rows, (number + 1) * rows)],
        )
    if sample.database:
        (task / "database.json").write_text(json.dumps(sample.database))
    return task


def write_card(task: Path, card: Mapping[str, Any]) -> None:
    (task / "task.json").write_text(json.dumps(card))


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
