"""How many broken replies are read rightly: `python benchmarks/parsing.py --cases FOLDER --holdout 1000`.

The folder holds `cases.jsonl` and `types_registry.py`. The holdout is made from the cases by breaking
replies whose right value stays known; `--peers` lets other libraries read the same, and `--speed` times
the parser.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parsing_cases import Case, Outcome, Resolve, agrees, as_line, load_types, rate, read_cases
from parsing_holdout import holdout
from parsing_speed import growth, usual
from publish import parsing_table
from pydantic import TypeAdapter
from records import keep, surroundings

from declm import __version__
from declm.errors import ParseError
from declm.formats.parsing import parse, parse_partial

PEERS = Path(__file__).with_name("parsing_peers.py")


def read_by_declm(case: Case, type: Any) -> Outcome:
    """What declm makes of a case; an error other than `ParseError` ends the command."""
    read = parse_partial if case.streaming else parse
    try:
        value = read(case.raw, type)
    except ParseError as error:
        return Outcome(error=error.reason)
    return Outcome(TypeAdapter(type).dump_python(value, mode="json", warnings=False))


def read_by_peers(python: str, folder: Path, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """What the libraries that are installed for another interpreter make of the cases.

    Raises:
        CalledProcessError: it fails, for instance because it has no Pydantic.
    """
    command = [python, str(PEERS), "--types", str(folder)]
    told = "\n".join(as_line(case) for case in cases)
    done = subprocess.run(command, input=told, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def groups(cases: Sequence[Case]) -> dict[str, list[Case]]:
    """The cases by what is asked of them; those to be refused count among the final ones too."""
    final = [case for case in cases if not case.streaming]
    return {
        "final": final,
        "refusals": [case for case in final if case.is_refusal],
        "streaming": [case for case in cases if case.streaming],
    }


def rated(
    name: str, version: str, outcomes: Mapping[str, Outcome], visible: Sequence[Case], hidden: Sequence[Case]
) -> dict[str, Any]:
    """A parser's figures: `[right, of]` for each group, None where it does not take part."""
    figures: dict[str, Any] = {"name": name, "version": version}
    for prefix, cases in (("", visible), ("holdout ", hidden)):
        for group, members in groups(cases).items():
            takes_part = bool(members) and all(case.id in outcomes for case in members)
            figures[prefix + group] = rate(members, outcomes) if takes_part else None
    return figures


def compare(folder: Path, size: int, seed: int, python: str | None) -> tuple[dict[str, Any], list[str]]:
    """The figures of all parsers, and what declm has read otherwise, in words."""
    resolve: Resolve = load_types(folder)
    visible = read_cases(folder)
    hidden = holdout(visible, resolve, size, seed)
    cases = [*visible, *hidden]
    outcomes = {case.id: read_by_declm(case, resolve(case.type)) for case in cases}
    parsers = [rated("declm", f"declm {__version__}", outcomes, visible, hidden)]
    for peer in read_by_peers(python, folder, cases) if python else []:
        found = {id: Outcome(**one) for id, one in peer["outcomes"].items()}
        parsers.append(rated(peer["name"], peer["version"], found, visible, hidden))
    wrong = [_told(case, outcomes[case.id]) for case in cases if not agrees(case, outcomes[case.id])]
    return {"parsers": parsers, "holdout": {"size": len(hidden), "seed": seed}}, wrong


def _told(case: Case, outcome: Outcome) -> str:
    found = outcome.error if outcome.error is not None else json.dumps(outcome.value, ensure_ascii=False)
    return (
        f"{case.id} ({case.type}, {', '.join(case.tags)})\n  {case.raw!r}\n  wanted {case.expected}\n  found  {found}"
    )


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[1])
    made.add_argument("--cases", type=Path, metavar="FOLDER", help="folder with cases.jsonl and types_registry.py")
    made.add_argument("--holdout", type=int, default=1000, metavar="N", help="broken replies to make (%(default)s)")
    made.add_argument("--seed", type=int, default=0, help="of the holdout (%(default)s)")
    made.add_argument(
        "--peers",
        nargs="?",
        const=sys.executable,
        metavar="PYTHON",
        help="also run the libraries that this interpreter has (without a value: the one that runs)",
    )
    made.add_argument("--speed", action="store_true", help="also time the parser, up to a megabyte")
    made.add_argument("--failures", action="store_true", help="print what declm did not read rightly")
    made.add_argument("--out", type=Path, metavar="FILE.jsonl", help="append the figures as a line of JSON")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = parser().parse_args(arguments)
    if given.cases is None and not given.speed:
        print("parsing: nothing to do; give --cases FOLDER, --speed or both", file=sys.stderr)
        return 2
    line: dict[str, Any] = {"parsers": [], "holdout": None, "speed": None, "surroundings": surroundings()}
    wrong = list[str]()
    if given.cases is not None:
        figures, wrong = compare(given.cases, given.holdout, given.seed, given.peers)
        line |= figures
    if given.speed:
        line["speed"] = {"growth": growth(1_000_000), "usual": usual()}
    if given.failures:
        print("\n".join(wrong), end="\n\n")
    print(parsing_table([line]))
    keep(line, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
