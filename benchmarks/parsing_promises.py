"""What parsing promises, counted: `python benchmarks/parsing_promises.py --peers PYTHON --out FILE.jsonl`.

Round trips of random types and values, arbitrary texts, types in and out of signatures, and payloads that
are echoed by an LM. Strategies, types and payloads are those of the tests.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parsing_injections import PAYLOADS, RIGHT, as_json, as_marks, as_tags
from parsing_properties import (
    FORMATS,
    MANY_TYPES,
    ODD,
    TEXTS,
    any_text,
    grows,
    lone_round_trip,
    reads_json,
    round_trip,
    typed,
)
from parsing_types import NONE, TYPES
from parsing_types import as_json as dumped
from publish import promises_table
from pydantic import create_model
from records import keep, surroundings

import declm as dm
from declm import __version__
from declm.errors import ParseError
from declm.formats import choose
from declm.formats.base import Prompt
from declm.messages import Capabilities, Request
from declm.specs import spec
from declm.testing import FunctionLM

PEERS = Path(__file__).with_name("parsing_promises_peers.py")
EVERY_CHECK: Sequence[HealthCheck] = tuple(HealthCheck)  # pyright: ignore[reportAssignmentType]  # its metaclass hides the kind
STEPS = ("accepted", "rendered", "parsed", "refused", "read_back")

# Properties

PROPERTIES: Mapping[str, tuple[Callable[..., None], tuple[st.SearchStrategy[Any], ...]]] = {
    "an ideal reply of two outputs is read back in all formats": (round_trip, (typed(), TEXTS)),
    "an ideal reply of one output is read back in all formats": (lone_round_trip, (typed(),)),
    "JSON is read as it stands and in a fence": (
        reads_json,
        (typed(), st.sampled_from([None, 2]), st.booleans()),
    ),
    "the beginning of JSON shows what its end goes on with": (grows, (typed(), st.floats(0, 1), st.booleans())),
    "any text is a value or a ParseError": (any_text, (ODD, st.sampled_from(MANY_TYPES))),
}


def held(name: str, examples: int, seed: int) -> dict[str, Any]:
    """How many examples of a property held, and what hypothesis says of one that did not (None for none)."""
    check, strategies = PROPERTIES[name]
    count = 0

    @hypothesis.seed(seed)
    @settings(max_examples=examples, database=None, deadline=None, suppress_health_check=EVERY_CHECK)
    @given(st.tuples(*strategies))
    def run(drawn: tuple[Any, ...]) -> None:
        nonlocal count
        check(*drawn)
        count += 1

    try:
        run()
    except Exception as error:  # noqa: BLE001  # whatever a property that does not hold raises
        return {"name": name, "examples": count, "falsified": f"{type(error).__name__}: {error}"[:500]}
    return {"name": name, "examples": count, "falsified": None}


# Types


def signature_of(type: Any) -> Any:
    """A signature with an input and an output of a type, and another output."""
    return create_model(
        "Echo",
        __base__=dm.Signature,
        given=(type, dm.Input()),
        result=(type, dm.Output()),
        remark=(str, dm.Output()),
    )


def predictor(signature: Any, format: str, outputs: Mapping[str, Any]) -> tuple[Any, FunctionLM]:
    """A predictor whose LM says these outputs, in the form that the format asks for."""
    reply = choose(format, Capabilities()).answer(Prompt(spec(signature)), outputs)
    lm = FunctionLM(lambda _: reply)
    return dm.Predict(signature, lm=lm, format=format, retries=0), lm


def steps(type: Any, value: Any, invalid: Any, format: str) -> set[str]:
    """What works with a type: steps that fail are left out, and so are those that need them."""
    done = set[str]()
    try:
        signature, json_value = signature_of(type), dumped(type, value)
        done.add("accepted")
        predict, lm = predictor(signature, format, {"result": json_value, "remark": "fine"})
        predict.render(given=value)
        done.add("rendered")
        row = predict(given=value)
        if row.result == value and row.result.__class__ is value.__class__:
            done.add("parsed")
        again = predict(given=row.result)
        first, second = (request.messages[-1] for request in lm.requests if request.role == "task")
        if again == row and first == second:
            done.add("read_back")
        outputs = {"remark": "fine"} if invalid == NONE else {"result": invalid, "remark": "fine"}
        predict, _ = predictor(signature, format, outputs)
        predict(given=value)
    except ParseError:
        done |= {"refused"} if "read_back" in done else set()
    except Exception as error:  # noqa: BLE001  # any other error is what does not work
        print(f"{type}: {error!r}", file=sys.stderr)
    return done


def types_of_declm() -> dict[str, Any]:
    """How many types pass each step; parsing in all formats, refusing in those that differ in how they read values."""
    counts = dict.fromkeys(STEPS, 0)
    for type, value, invalid in TYPES.values():
        done = {format: steps(type, value, invalid, format) for format in FORMATS}
        for step in STEPS:
            of = ("json", "chat") if step == "refused" else FORMATS
            counts[step] += all(step in done[format] for format in of)
    return {"name": f"declm {__version__}, all formats", "of": len(TYPES), **counts}


# Injections


class Mail(dm.Signature):
    """Say what the mail is about and whether it is spam."""

    mail: str
    thread: list[str] = dm.Input(default_factory=list)
    summary: str = dm.Output()
    topics: list[str] = dm.Output()
    spam: bool = dm.Output()


WRITERS: Mapping[str, Callable[[str], str]] = {"chat": as_marks, "xml": as_tags}
"""How an LM writes the reply that is meant, by format; others get JSON."""


class MailReader:
    """A predictor of mails whose LM replies as it is told to."""

    def __init__(self, format: str) -> None:
        self._said: Callable[[Request], str] = lambda _: ""
        self.write = WRITERS.get(format, as_json)
        self._predict = dm.Predict(Mail, lm=FunctionLM(self._say), format=format, retries=0)

    def ask(self, mail: str, reply: Callable[[Request], str]) -> Any:
        """The row for a mail."""
        self._said = reply
        return self._predict(mail=mail, thread=["real"])

    def _say(self, request: Request) -> str:
        return self._said(request)

    def overwritten(self, mail: str, reply: Callable[[Request], str]) -> list[str] | None:
        """The fields that say something else than what is right; None if the reply is refused."""
        try:
            row = self.ask(mail, reply)
        except ParseError:
            return None
        return [key for key, got in (("topics", row.topics), ("spam", row.spam)) if got != RIGHT[key]]

    def is_fooled(self, reply: str) -> bool:
        """Whether a reply that means to say what is right says something else; it may be refused."""
        return bool(self.overwritten("x", lambda _: reply))


def shown(request: Request) -> str:
    """The mail as the prompt shows it, or the draft that repeats it."""
    message = request.messages[-1].content
    if request.role == "extractor":
        return message.partition("<draft>\n")[2].rpartition("\n</draft>")[0]
    block = message.partition("mail:")[2].partition("\nthread:")[0]
    return "".join(line.removeprefix("  ") for line in block[1:].splitlines(keepends=True))


def injections_of_declm(format: str) -> dict[str, Any]:
    """Payloads in a mail that the LM copies into its summary as it was shown, and quotes before its answer."""
    reader = MailReader(format)

    def echo(request: Request) -> str:
        is_draft = format == "two_step" and request.role != "extractor"
        return shown(request) if is_draft else reader.write(shown(request))

    found = [reader.overwritten(f"Dear all,\n{payload}\nThe end", echo) for payload in PAYLOADS]
    for payload in PAYLOADS:
        quoted = f"The mail says:\n{payload}\n\nSo my answer is:\n{reader.write('fine')}"
        found.append(reader.overwritten("x", lambda _, quoted=quoted: quoted))
    return counted(f"declm {__version__}, {format}", found)


def counted(name: str, found: Sequence[Sequence[str] | None]) -> dict[str, Any]:
    """The figures of a library in one format."""
    fields = sum(len(one) for one in found if one is not None)
    return {"name": name, "replies": len(found), "overwritten": fields, "refused": found.count(None)}


def of_peers(python: str) -> dict[str, Any]:
    """The figures of the libraries that another interpreter has.

    Raises:
        CalledProcessError: it fails, for instance because it has no DSPy.
    """
    done = subprocess.run([python, str(PEERS)], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[1])
    made.add_argument("--examples", type=int, default=10_000, metavar="N", help="of each property (%(default)s)")
    made.add_argument("--seed", type=int, default=0, help="of the properties (%(default)s)")
    made.add_argument("--peers", metavar="PYTHON", help="also measure DSPy, as this interpreter has it")
    made.add_argument("--out", type=Path, metavar="FILE.jsonl", help="append the figures as a line of JSON")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 1 if a promise is broken."""
    given_ = parser().parse_args(arguments)
    line: dict[str, Any] = {
        "seed": given_.seed,
        "formats": len(FORMATS),
        "payloads": len(PAYLOADS),
        "properties": [held(name, given_.examples, given_.seed) for name in PROPERTIES],
        "types": [types_of_declm()],
        "injections": [injections_of_declm(format) for format in FORMATS],
        "surroundings": surroundings(),
    }
    is_kept = not any(one["falsified"] for one in line["properties"])
    is_kept = is_kept and all(line["types"][0][step] == len(TYPES) for step in STEPS)
    is_kept = is_kept and not any(one["overwritten"] for one in line["injections"])
    if given_.peers is not None:
        peers = of_peers(given_.peers)
        line["types"] += peers["types"]
        line["injections"] += peers["injections"]
    for one in line["properties"]:
        if one["falsified"]:
            print(f"{one['name']}: {one['falsified']}", file=sys.stderr)
    print(promises_table([line]))
    keep(line, given_.out)
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
