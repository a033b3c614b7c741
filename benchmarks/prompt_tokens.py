"""Prompt tokens of ten typical signatures: `python benchmarks/prompt_tokens.py --peers /path/to/peers/bin/python`.

The messages of one call without demonstrations are counted with the tokenizer of GPT-4, for each format of
declm's and for DSPy's adapters. Prompts alone are compared; what a model makes of them is not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from prompt_signatures import SIGNATURES, Typical
from publish import prompts_table
from records import keep, surroundings

import declm as dm

FORMATS = ("json", "chat", "xml", "native")
HERE = Path(__file__).parent


def signature(typical: Typical) -> Callable[..., Any]:
    """The signature class for declm."""
    annotations = {name: kind for name, (kind, _) in (*typical.inputs.items(), *typical.outputs.items())}
    fields: dict[str, Any] = {name: dm.Input(words) for name, (_, words) in typical.inputs.items()}
    fields |= {name: dm.Output(words) for name, (_, words) in typical.outputs.items()}
    metaclass = cast("Callable[..., Callable[..., Any]]", type(dm.Signature))
    namespace = {"__module__": __name__, "__doc__": typical.instructions, "__annotations__": annotations, **fields}
    return metaclass(typical.name, (dm.Signature,), namespace)


def counted(messages: Sequence[Mapping[str, str]]) -> int:
    """Tokens of the messages' texts."""
    import litellm  # takes seconds to import

    counter: Any = litellm
    return sum(counter.token_counter(model="gpt-4", text=one["content"]) for one in messages)


def ours() -> list[dict[str, Any]]:
    """Tokens of declm's formats."""
    made = [(signature(typical), typical.values) for typical in SIGNATURES]
    lines = list[dict[str, Any]]()
    for name in FORMATS:
        shown = [dm.Predict(cls, format=name, lm="openai/gpt-4").render(**values) for cls, values in made]
        tokens = [counted([{"content": one.content} for one in messages]) for messages in shown]
        lines.append({"name": f"declm {name}", "tokens": tokens})
    return lines


def theirs(python: str) -> list[dict[str, Any]]:
    """Tokens of the peers' adapters."""
    done = subprocess.run([python, str(HERE / "prompt_peers.py")], capture_output=True, text=True, check=True, cwd=HERE)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [{"name": one["name"], "tokens": [counted(messages) for messages in one["prompts"]]} for one in found]


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[1])
    made.add_argument("--peers", metavar="PYTHON", help="interpreter of the environment that holds DSPy")
    made.add_argument("--out", type=Path, metavar="FILE.jsonl", help="append the figures as a line of JSON")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = parser().parse_args(arguments)
    lines = ours() + (theirs(given.peers) if given.peers else [])
    line = {"signatures": [typical.name for typical in SIGNATURES], "lines": lines, "surroundings": surroundings()}
    keep(line, given.out)
    print(prompts_table([line]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
