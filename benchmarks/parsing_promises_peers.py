"""What DSPy makes of the same types and payloads: run by `parsing_promises.py` in the peers' environment.

Its adapters are asked as a program would ask them: they format the inputs, and parse the reply that they
asked for. No LM is called.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import dspy  # pyright: ignore[reportMissingImports]  # in the peers' environment only
from parsing_injections import PAYLOADS, RIGHT, as_dspy_marks, as_json
from parsing_types import NONE, TYPES
from parsing_types import as_json as dumped

STEPS = ("accepted", "rendered", "parsed", "refused", "read_back")
LIMIT_S = 10
"""Seconds that a step may take."""


def _chat(outputs: Mapping[str, Any]) -> str:
    written = {key: one if isinstance(one, str) else json.dumps(one) for key, one in outputs.items()}
    return "\n\n".join(f"[[ ## {key} ## ]]\n{one}" for key, one in {**written, "completed": ""}.items())


ADAPTERS: Mapping[str, tuple[Any, Callable[[Mapping[str, Any]], str], Callable[[str], str]]] = {
    "ChatAdapter": (dspy.ChatAdapter(), _chat, as_dspy_marks),
    "JSONAdapter": (dspy.JSONAdapter(), json.dumps, as_json),
}
"""Adapters with how an LM that does as it is told writes outputs, and an echo of a mail."""


def steps(adapter: Any, write: Callable[[Mapping[str, Any]], str], type: Any, value: Any, invalid: Any) -> set[str]:
    """What works with a type, as `parsing_promises.steps` tells it."""
    done = set[str]()
    try:
        fields = {"result": (type, dspy.OutputField()), "remark": (str, dspy.OutputField())}
        signature = dspy.Signature({"given": (type, dspy.InputField()), **fields})
        reply = write({"result": dumped(type, value), "remark": "fine"})
        done.add("accepted")
        first = adapter.format(signature, demos=[], inputs={"given": value})
        done.add("rendered")
        got = adapter.parse(signature, reply)["result"]
        if got == value and got.__class__ is value.__class__:
            done.add("parsed")
        if adapter.format(signature, demos=[], inputs={"given": got}) == first and "parsed" in done:
            done.add("read_back")
    except Exception as error:  # noqa: BLE001  # any error is what does not work
        print(f"{type}: {error!r}"[:200], file=sys.stderr)
        return done
    try:
        adapter.parse(
            signature, write({"remark": "fine"} if invalid == NONE else {"result": invalid, "remark": "fine"})
        )
    except Exception:  # noqa: BLE001  # it refuses with errors of several kinds
        done.add("refused")
    return done


def types_of(name: str) -> dict[str, Any]:
    """How many types pass each step."""
    adapter, write, _ = ADAPTERS[name]
    counts = dict.fromkeys(STEPS, 0)
    for type, value, invalid in TYPES.values():
        signal.alarm(LIMIT_S)
        try:
            done = steps(adapter, write, type, value, invalid)
        finally:
            signal.alarm(0)
        for step in STEPS:
            counts[step] += step in done
    return {"name": f"DSPy {dspy.__version__}, {name}", "of": len(TYPES), **counts}


def injections_of(name: str) -> dict[str, Any]:
    """Payloads in a mail that the LM copies into its summary as it was shown, and quotes before its answer."""
    adapter, _, write = ADAPTERS[name]
    fields = {"summary": (str, dspy.OutputField()), "topics": (list[str], dspy.OutputField())}
    signature = dspy.Signature({"mail": (str, dspy.InputField()), **fields, "spam": (bool, dspy.OutputField())})
    echoes = [write(f"Dear all,\n{payload}\nThe end") for payload in PAYLOADS]
    quotes = [f"The mail says:\n{payload}\n\nSo my answer is:\n{write('fine')}" for payload in PAYLOADS]
    overwritten = refused = 0
    for reply in (*echoes, *quotes):
        try:
            got = adapter.parse(signature, reply)
        except Exception:  # noqa: BLE001  # as above
            refused += 1
            continue
        overwritten += sum(got[key] != RIGHT[key] for key in ("topics", "spam"))
    name = f"DSPy {dspy.__version__}, {name}"
    return {"name": name, "replies": 2 * len(PAYLOADS), "overwritten": overwritten, "refused": refused}


def _late(*_: object) -> NoReturn:
    raise TimeoutError(f"took more than {LIMIT_S} s")


def main() -> int:
    """Print the figures as a line of JSON; returns the exit status."""
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGALRM, _late)
    found = {"types": [types_of(name) for name in ADAPTERS], "injections": [injections_of(name) for name in ADAPTERS]}
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
