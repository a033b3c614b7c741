"""What a model makes of the prompts: `python benchmarks/prompt_scores.py --data FOLDER --task NAME --model FILE.gguf`.

declm and (with `--peers`) DSPy answer the same rows of a task through one server on loopback that holds the
model: no demonstrations, no grammar, greedy sampling, the same limit on replies. One metric scores the typed
values. *Plain* runs make one call a row, so that words and reading alone are compared; *default* runs ask again
or fall back as each library does by default.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prompt_server import Engine, Exchange, Model, ModelServer
from publish import scores_table
from records import keep, surroundings
from scoring import corpus_figure, outputs
from tasks import Task, load

import declm as dm
from declm.evaluation.statistics import compare, mean_interval

FORMATS = ("json", "chat", "xml")
ADAPTERS = ("chat", "json")
RUNS = ("plain", "default")
RIVAL = "DSPy ChatAdapter"
"""What all others are tested against, in the same kind of run."""

HERE = Path(__file__).parent

Outcome = Mapping[str, Any]
"""What a library made of a row: `outputs` as JSON, or `error`."""

Answer = Callable[[Mapping[str, Any]], Outcome]
"""Answers the inputs of a row, given as JSON by name."""


@dataclass(frozen=True)
class Options:
    """How rows are asked; `peers` is the interpreter that has DSPy, None for none."""

    model: str
    max_tokens: int
    peers: str | None = None
    formats: Sequence[str] = FORMATS
    runs: Sequence[str] = RUNS


@dataclass(frozen=True)
class Row:
    """One row's answer (None if there is no valid one), its score, and the calls that it took."""

    gold: dm.Signature
    got: dm.Signature | None
    score: float
    exchanges: Sequence[Exchange]


# --- the libraries


def ours(task: Task, format: str, run: str, url: str, options: Options) -> Answer:
    """Ask declm."""
    lm = dm.LM(
        f"openai/{options.model}",
        api_base=url,
        api_key="none",
        temperature=0.0,
        max_tokens=options.max_tokens,
        deadline=None,
        structured=False,
        cache=False,
    )
    predict: Any = dm.Predict(task.signature, format=format, lm=lm, retries=0 if run == "plain" else 2)

    def answer(inputs: Mapping[str, Any]) -> Outcome:
        try:
            return {"outputs": dm.spec(task.signature).dump(predict(**inputs))[1]}
        except (dm.ParseError, dm.TruncatedOutput) as error:
            return {"error": str(error)}

    return answer


@contextmanager
def theirs(task: Task, adapter: str, run: str, url: str, options: Options) -> Generator[Answer]:
    """Ask DSPy, in a process of its own."""
    fields = dm.spec(task.signature)
    asked = {
        "name": fields.name,
        "instructions": fields.instructions,
        "inputs": {key: (field.schema, field.description) for key, field in fields.inputs.items()},
        "outputs": {key: (field.schema, field.description) for key, field in fields.outputs.items()},
        "adapter": adapter,
        "plain": run == "plain",
        "url": url,
        "model": options.model,
        "max_tokens": options.max_tokens,
    }
    command = [str(options.peers), str(HERE / "prompt_score_peers.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8") as peer:
        assert peer.stdin is not None
        assert peer.stdout is not None
        into, out = peer.stdin, peer.stdout

        def say(line: Mapping[str, Any]) -> None:
            into.write(json.dumps(line) + "\n")
            into.flush()

        def answer(inputs: Mapping[str, Any]) -> Outcome:
            say(inputs)
            line = out.readline()
            if not line:
                raise dm.UsageError(f"{RIVAL}: its process ended; what it says stands above")
            found: Outcome = json.loads(line)
            return found

        say(asked)
        yield answer
        into.close()


# --- what is measured


def rows_of(task: Task, golds: Sequence[dm.Signature], answer: Answer, server: ModelServer) -> list[Row]:
    """Ask all rows, one after the other."""
    found = list[Row]()
    for gold in golds:
        inputs, _ = dm.spec(task.signature).dump(gold)
        outcome = answer(inputs)
        got = typed(task.signature, inputs, outcome)
        score = task.scoring(gold, got).value if got is not None else 0.0
        found.append(Row(gold, got, score, server.taken()))
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def typed(signature: type[dm.Signature], inputs: Mapping[str, Any], outcome: Outcome) -> dm.Signature | None:
    """The answer as an instance of the signature, None where there is no valid one."""
    if "error" in outcome:
        return None
    try:
        return signature(**inputs, **outcome["outputs"])
    except ValueError:  # Pydantic's
        return None


def cell(task: Task, library: str, run: str, rows: Sequence[Row], rival: Sequence[Row] | None) -> dict[str, Any]:
    """The figures of one library in one format; tokens are means over rows, of all calls of a row together."""
    scores = [row.score for row in rows]
    versus = compare(scores, [row.score for row in rival]) if rival and rival is not rows else None
    count = len(rows)
    return {
        "library": library,
        "run": run,
        "score": sum(scores) / count,
        "interval": mean_interval(scores),
        "also": {
            metric: corpus_figure(
                metric, [(outputs(row.gold)[name], outputs(row.got)[name] if row.got else None) for row in rows]
            )
            for name, metrics in task.scoring.also.items()
            for metric in metrics
        },
        "parsed": sum(row.got is not None for row in rows),
        "calls": sum(len(row.exchanges) for row in rows),
        "cut": sum(one.finish == "length" for row in rows for one in row.exchanges),
        "prompt_tokens": sum(one.prompt_tokens for row in rows for one in row.exchanges) / count,
        "reply_tokens": sum(one.reply_tokens for row in rows for one in row.exchanges) / count,
        "difference": versus and versus.difference,
        "p": versus and versus.p,
    }


def measured(task: Task, golds: Sequence[dm.Signature], server: ModelServer, options: Options) -> list[dict[str, Any]]:
    """All cells: of each kind of run DSPy's first, then declm's."""
    cells = list[dict[str, Any]]()
    for run in options.runs:
        rival: list[Row] | None = None
        for adapter in ADAPTERS if options.peers else ():
            with theirs(task, adapter, run, server.url, options) as answer:
                rows = rows_of(task, golds, answer, server)
            rival = rival or rows
            name = {"chat": RIVAL, "json": "DSPy JSONAdapter"}[adapter]
            cells.append(cell(task, name, run, rows, rival))
        for format in options.formats:
            rows = rows_of(task, golds, ours(task, format, run, server.url, options), server)
            cells.append(cell(task, f"declm {format}", run, rows, rival))
    return cells


# --- the command


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[1])
    made.add_argument("--data", type=Path, required=True, help="folder that holds the task folders")
    made.add_argument("--task", required=True, help="name of a task folder")
    made.add_argument("--model", type=Path, required=True, metavar="FILE.gguf", help="the model's file")
    made.add_argument("--peers", metavar="PYTHON", help="interpreter of the environment that holds DSPy")
    made.add_argument("--split", choices=("train", "dev", "test"), default="test", help="rows to ask (%(default)s)")
    made.add_argument("--rows", type=int, default=60, help="the first so many rows (%(default)s)")
    made.add_argument("--max-tokens", type=int, default=256, help="of one reply (%(default)s)")
    made.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS, help="of declm (all)")
    made.add_argument("--runs", nargs="+", choices=RUNS, default=RUNS, help="kinds of run (both)")
    made.add_argument("--replies", type=Path, metavar="FILE.jsonl", help="keeps replies, and takes those that it has")
    made.add_argument("--out", type=Path, metavar="FILE.jsonl", help="append the figures as a line of JSON")
    return made


def main(arguments: Sequence[str] | None = None, model: Model | None = None) -> int:
    """Run the command; returns the exit status. `model` answers instead of the file."""
    given = parser().parse_args(arguments)
    options = Options(given.model.stem, given.max_tokens, given.peers, given.formats, given.runs)
    try:
        task = load(given.data, given.task)
        golds = {"train": task.train, "dev": task.dev, "test": task.test}[given.split][: given.rows]
        with ModelServer(model or Engine(given.model, replies=given.replies)) as server:
            cells = measured(task, golds, server, options)
    except dm.DeclmError as error:
        print(f"prompt_scores: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    line = {
        "task": task.name,
        "model": options.model,
        "split": given.split,
        "rows": len(golds),
        "max_tokens": options.max_tokens,
        "metric": str(task.scoring),
        "cells": cells,
        "surroundings": surroundings(),
    }
    keep(line, given.out)
    print(scores_table([line]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
