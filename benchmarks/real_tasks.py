"""Zero-shot against optimized on a task folder: `python benchmarks/real_tasks.py --data FOLDER --task NAME --lm MODEL`.

A task folder holds `train.jsonl`, `dev.jsonl`, `test.jsonl` and a card, `task.json`. The program is one predictor whose
signature is made from the card. It is scored on test, optimized on train and dev within a budget of calls, and
scored on the same test rows again. What came out is printed, and appended to `--out` as one line of JSON.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from records import keep, surroundings
from scoring import FITS, Scoring, corpus_figure, outputs
from tasks import Task, load

import declm as dm
from declm.protocols import LM

CALLS = 1500
"""Calls that a search may make."""

PROGRAMS = {"predict": dm.Predict, "think": dm.ChainOfThought}


@dataclass(frozen=True)
class Options:
    """How a task is run; the reply cache is off, so that calls and seconds are those of a first run."""

    program: str = "predict"
    seed: int = 0
    calls: int = CALLS
    cache: bool = False
    max_tokens: int | None = None
    progress: bool | None = None


@dataclass(frozen=True)
class Measured:
    """One evaluation on test.

    Args:
        score: mean over the scored rows, in [0, 1].
        interval: 95 % interval of it.
        also: the other figures that the card names.
        failures: rows whose reply could not be read; they score 0.
        errors: rows lost to the provider or to a crash.
        calls: calls that were sent.
        tokens: input and output tokens.
        seconds: wall-clock time.
    """

    score: float
    interval: tuple[float, float]
    also: dict[str, float]
    failures: int
    errors: int
    calls: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Search:
    """One search; `dev_plain` and `dev_best` are mean scores on dev."""

    accepted: bool
    trials: int
    dev_plain: float
    dev_best: float
    demos: int
    instructions: bool
    stopped: str | None
    calls: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Result:
    """One run of one task; `difference` and `p` come from a paired test on the same test rows."""

    task: str
    model: str
    program: str
    metric: str
    card_metric: str
    seed: int
    budget: int
    max_tokens: int | None
    rows: dict[str, int]
    plain: Measured
    search: Search
    optimized: Measured
    difference: float
    difference_interval: tuple[float, float]
    p: float
    wins: int
    losses: int
    cached: bool = False
    surroundings: dict[str, str] = field(default_factory=surroundings)


def run(task: Task, lm: LM, options: Options) -> Result:
    """Measure, optimize, measure again.

    Cost: two calls for each row of test, and up to `options.calls` for the search.

    Raises:
        LMError: the LM can't be used; and what else `evaluate` and `optimize` raise.
    """
    with dm.context(lm=lm, cache=options.cache):
        program = PROGRAMS[options.program](task.signature)
        before = dm.evaluate(program, task.test, task.scoring, progress=options.progress)
        started = time.monotonic()
        best = dm.optimize(
            program,
            train=task.train,
            val=task.dev,
            metric=task.scoring,
            budget=dm.Budget(calls=options.calls),
            seed=options.seed,
            progress=options.progress,
        )
        seconds = time.monotonic() - started
        after = dm.evaluate(best.program, task.test, task.scoring, progress=options.progress)
    versus = after.compare(before)
    return Result(
        task=task.name,
        model=_shown(lm.model),
        program=options.program,
        metric=str(task.scoring),
        card_metric=task.card.metric,
        seed=options.seed,
        budget=options.calls,
        max_tokens=options.max_tokens,
        rows={"train": len(task.train), "dev": len(task.dev), "test": len(task.test)},
        plain=_measured(before, task.scoring),
        search=_search(best, seconds),
        optimized=_measured(after, task.scoring),
        difference=versus.difference,
        difference_interval=versus.interval,
        p=versus.p,
        wins=versus.wins,
        losses=versus.losses,
        cached=options.cache,
    )


def _measured(report: dm.Report[Any, Any], scoring: Scoring) -> Measured:
    return Measured(
        score=report.score,
        interval=report.interval,
        also={
            (f"{output}: {metric}" if len(scoring.by) > 1 else metric): _figure(report, scoring, output, metric)
            for output, metrics in scoring.also.items()
            for metric in metrics
        },
        failures=len(report.failures),
        errors=len(report.errors),
        calls=report.usage.calls,
        tokens=report.usage.tokens,
        seconds=report.run.seconds,
    )


def _figure(report: dm.Report[Any, Any], scoring: Scoring, output: str, metric: str) -> float:
    """A further figure over the scored rows; an answer that could not be read counts as wrong."""
    rows = [row for row in report.rows if row.score is not None]
    if metric in FITS:
        values = [scoring.part(output, metric, row.gold, row.output).value if row.output else 0.0 for row in rows]
        return sum(values) / len(values)
    return corpus_figure(
        metric, [(outputs(row.gold)[output], outputs(row.output)[output] if row.output else None) for row in rows]
    )


def _search(best: dm.Optimized[Any], seconds: float) -> Search:
    states = best.program.state.predictors.values()
    return Search(
        accepted=best.report.accepted,
        trials=len(best.report.trials) - 1,
        dev_plain=best.baseline,
        dev_best=best.report.best,
        demos=sum(len(state.demos) for state in states),
        instructions=any(state.instructions is not None for state in states),
        stopped=best.report.stopped,
        calls=best.usage.calls,
        tokens=best.usage.tokens,
        seconds=seconds,
    )


def _shown(model: str) -> str:
    """The model's name; of a file its own name alone, since folders are nobody's business."""
    return f"local/{Path(model).name}" if model.startswith("local/") else model


# --- the command


def told(result: Result, task: Task) -> str:
    """The result for people."""
    first, last, search = result.plain, result.optimized, result.search
    low, high = result.difference_interval
    fields, rows = dm.spec(task.signature), ", ".join(f"{count} {split}" for split, count in result.rows.items())
    test = f"95 % interval {low:+.3f} to {high:+.3f}; paired test p = {result.p:.3g}"
    lines = [
        f"{result.task}: {task.card.task or 'no description'}",
        f"{', '.join(fields.inputs)} -> {', '.join(fields.outputs)}; rows: {rows}",
        f"metric: {result.metric} (the card says: {result.card_metric!r})",
        f"model: {result.model}, program: {result.program}, seed: {result.seed}",
        "",
        f"{'':10}{'score':>7}{'95 % interval':>16}{'failed':>8}{'errors':>8}{'calls':>8}{'tokens':>12}{'seconds':>9}",
        _line("zero-shot", first),
        f"{'search':10}{'':39}{search.calls:>8,}{search.tokens:>12,}{search.seconds:>9.0f}",
        _line("optimized", last),
        *(f"also {name}: {value:.3f} -> {last.also[name]:.3f}" for name, value in first.also.items()),
        "",
        f"difference {result.difference:+.3f} ({test}); {result.wins} rows better, {result.losses} worse",
        f"search: {search.trials} candidates, dev {search.dev_plain:.3f} -> {search.dev_best:.3f}, {outcome(search)}",
    ]
    return "\n".join(lines)


def outcome(search: Search) -> str:
    """What the search returned."""
    if not search.accepted:
        return "not accepted: the program is as given"
    return f"accepted: {search.demos} demos, {'a new' if search.instructions else 'the given'} instruction"


def _line(name: str, of: Measured) -> str:
    low, high = of.interval
    interval = f"{low:.3f} - {high:.3f}"
    return (
        f"{name:10}{of.score:>7.3f}{interval:>16}{of.failures:>8}{of.errors:>8}{of.calls:>8,}{of.tokens:>12,}"
        f"{of.seconds:>9.0f}"
    )


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[1])
    made.add_argument("--data", type=Path, required=True, help="folder that holds the task folders")
    made.add_argument("--task", required=True, help="name of a task folder")
    made.add_argument("--lm", required=True, metavar="MODEL", help="such as local/smollm2 or openai/gpt-5-mini")
    made.add_argument("--program", choices=list(PROGRAMS), default="predict", help="think: reasoning before the answer")
    made.add_argument("--metric", help="NAME, or OUTPUT=NAME,...; overrides the card's")
    made.add_argument("--seed", type=int, default=0, help="of the search")
    made.add_argument("--calls", type=_positive, default=CALLS, help="calls that the search may make (%(default)s)")
    made.add_argument("--max-tokens", type=_positive, help="of one reply; default the model's own")
    made.add_argument("--rows", type=_positive, help="at most so many rows of each split, for a quick look")
    made.add_argument("--cache", action="store_true", help="take replies from the cache: fewer calls and seconds")
    made.add_argument("--out", type=Path, metavar="FILE.jsonl", help="append the result as a line of JSON")
    return made


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = parser().parse_args(arguments)
    options = Options(given.program, given.seed, given.calls, given.cache, given.max_tokens)
    try:
        task = load(given.data, given.task, metric=given.metric, rows=given.rows)
        result = run(task, dm.LM(given.lm, max_tokens=given.max_tokens), options)
    except dm.DeclmError as error:
        print(f"real_tasks: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(f"\n{told(result, task)}")
    keep(asdict(result), given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
