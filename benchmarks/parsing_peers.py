"""What other libraries make of the cases: `python benchmarks/parsing_peers.py --types FOLDER < cases`.

Runs in an environment of the peers' own (see `README.md`): reads cases from standard input, one JSON object a
line, and writes a line for each library that is installed. Only how a library turns text into a typed
value is compared, no prompts.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

from parsing_baml import Baml
from parsing_cases import Case, Outcome, Resolve, load_types
from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_jsonable_python

Read = Callable[[str, Any], Any]
"""Reads a text as a value of a type; any exception is a refusal."""

LIMIT_S = 5
"""Seconds that a library may take for one reply."""


def _by_pydantic(text: str, wanted: Any) -> Any:
    return TypeAdapter(wanted).validate_json(text)


def _by_pydantic_so_far(text: str, wanted: Any) -> Any:
    return TypeAdapter(wanted).validate_json(text, experimental_allow_partial="trailing-strings")


def _by_json_repair(text: str, wanted: Any) -> Any:
    import json_repair  # pyright: ignore[reportMissingImports]  # in the peers' environment only

    return TypeAdapter(wanted).validate_python(json_repair.loads(text))


def _by_json_repair_so_far(text: str, _: Any) -> Any:
    import json_repair  # pyright: ignore[reportMissingImports]  # as above

    return json_repair.loads(text, stream_stable=True)


def _by_instructor(text: str, wanted: Any) -> Any:
    from instructor.utils import extract_json_from_codeblock  # pyright: ignore[reportMissingImports]  # as above

    return TypeAdapter(wanted).validate_json(extract_json_from_codeblock(text))


def _by_dspy_chat(text: str, wanted: Any) -> Any:
    """The reply is the one marked section of a field."""
    import dspy  # pyright: ignore[reportMissingImports]  # as above

    reply = f"[[ ## result ## ]]\n{text}\n\n[[ ## completed ## ]]"
    return dspy.ChatAdapter().parse(_dspy_signature({"result": wanted}), reply)["result"]


def _by_dspy_json(text: str, wanted: Any) -> Any:
    """The reply is the object of all fields where a model is wanted; else the value of one field."""
    import dspy  # pyright: ignore[reportMissingImports]  # as above

    adapter = dspy.JSONAdapter()
    if isinstance(wanted, type) and issubclass(wanted, BaseModel):
        fields = {name: field.annotation for name, field in wanted.model_fields.items()}
        return wanted.model_validate(adapter.parse(_dspy_signature(fields), text))
    return adapter.parse(_dspy_signature({"result": wanted}), f'{{"result": {text}}}')["result"]


def _dspy_signature(outputs: Mapping[str, Any]) -> Any:
    import dspy  # pyright: ignore[reportMissingImports]  # as above

    fields: dict[str, Any] = {name: (annotation, dspy.OutputField()) for name, annotation in outputs.items()}
    return dspy.Signature({"the_input": (str, dspy.InputField()), **fields})


def _by_baml(text: str, wanted: Any) -> Any:
    adapter = TypeAdapter(wanted)
    return adapter.validate_python(Baml(adapter.json_schema()).read(text, partial=False))


def _by_baml_so_far(text: str, wanted: Any) -> Any:
    return Baml(TypeAdapter(wanted).json_schema()).read(text, partial=True)


@dataclass(frozen=True)
class Peer:
    """A library: how it reads a reply, and one that is still being written (None: it does not)."""

    name: str
    package: str
    read: Read
    so_far: Read | None = None


PEERS: Sequence[Peer] = (
    Peer("Pydantic", "pydantic", _by_pydantic, _by_pydantic_so_far),
    Peer("json_repair, then Pydantic", "json_repair", _by_json_repair, _by_json_repair_so_far),
    Peer("instructor", "instructor", _by_instructor),
    Peer("DSPy ChatAdapter", "dspy", _by_dspy_chat),
    Peer("DSPy JSONAdapter", "dspy", _by_dspy_json),
    Peer("BAML", "baml-py", _by_baml, _by_baml_so_far),
)


def outcome(read: Read, case: Case, wanted: Any) -> Outcome:
    """What a library makes of a case, within the limit of time."""
    signal.alarm(LIMIT_S)
    try:
        return Outcome(as_json(read(case.raw, wanted), wanted))
    except Exception as error:  # noqa: BLE001  # libraries refuse with errors of all kinds
        return Outcome(error=f"{type(error).__name__}: {error}"[:200])
    finally:
        signal.alarm(0)


def as_json(value: Any, wanted: Any) -> Any:
    """A value as the type dumps it."""
    if isinstance(value, BaseModel | list | dict):
        return TypeAdapter(wanted).dump_python(value, mode="json", warnings=False)
    return to_jsonable_python(value)


def _late(*_: object) -> NoReturn:
    raise TimeoutError(f"took more than {LIMIT_S} s")


@cache
def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def run(peer: Peer, cases: Sequence[Case], resolve: Resolve) -> dict[str, Any]:
    """All outcomes of one library, by the case's id; streaming cases only where it reads those."""
    found = dict[str, Any]()
    for case in cases:
        read = peer.so_far if case.streaming else peer.read
        if read is not None:
            found[case.id] = asdict(outcome(read, case, resolve(case.type)))
    return {"name": peer.name, "version": f"{peer.package} {_installed(peer.package)}", "outcomes": found}


def main() -> int:
    """Run the command; returns the exit status."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    made.add_argument("--types", type=Path, required=True, metavar="FOLDER", help="folder with types_registry.py")
    given = made.parse_args()
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGALRM, _late)
    resolve = load_types(given.types)
    cases = [Case(**json.loads(line)) for line in sys.stdin]
    for peer in PEERS:
        if _installed(peer.package) is not None:
            print(json.dumps(run(peer, cases, resolve)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
