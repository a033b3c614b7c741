"""Faults beside DSPy: `python benchmarks/faults.py --peers PYTHON --out FILE.jsonl`.

The server of the tests in `tests/faults` fails on command; each library meets every fault in a process of its own, with
the public API and what comes nearest to the same settings (attempts, deadline or timeout, cache). The table tells what
came of it. The project's promises about these faults, with their full counts, are tests.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from clients import Client, Stuck
from fault_clients import KEY
from fault_server import Answer, FaultServer, completion, failure, serving
from publish import faults_table
from records import keep, surroundings

HERE = Path(__file__).parent
CLIENT = HERE / "fault_clients.py"
PATIENCE_S = 90.0
"""Of the command with one fault; what takes longer is told as such."""

DEADLINE_S = 3.0
MANY = [f"question {n}" for n in range(20)]


class Do(Protocol):
    """Lets a library do a task; `anew` in a fresh process."""

    def __call__(self, task: Mapping[str, Any], /, *, anew: bool = False) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Outcome:
    """What came of a fault: in words, and whether it is what is promised."""

    text: str
    kept: bool


def answering(body: Mapping[str, Any], text: str = "yes") -> Answer:
    """A right reply in the format that the prompt asks for."""
    if "[[ ##" in json.dumps(body):
        return completion(f"[[ ## answer ## ]]\n{text}\n\n[[ ## completed ## ]]")
    return completion(json.dumps({"answer": text}))


def told(found: Mapping[str, Any]) -> str:
    """How one call ended."""
    return str(found["error"]) if "error" in found else f"the value {found['value']!r}"


def counted(found: Mapping[str, Any]) -> str:
    """How many calls ended how."""
    return ", ".join(f"{count} x {kind}" for kind, count in found["kinds"].items())


def warm(do: Do, server: FaultServer) -> None:
    """Let a library import what it needs for its first call, which is no call's time."""
    server.answer = answering
    do({"case": "calls", "questions": ["first"]})


# --- the faults, in the order of the promises


def late(answer: Answer) -> Callable[[Do, FaultServer], Outcome]:
    """Twenty calls with a deadline at a server that never ends."""

    def run(do: Do, server: FaultServer) -> Outcome:
        warm(do, server)
        server.answer = lambda _body: answer
        found = do({"case": "calls", "questions": MANY, "deadline_s": DEADLINE_S, "attempts": 4})
        seconds = found["seconds"]
        kept = seconds <= DEADLINE_S + 0.5 and set(found["kinds"]) == {"DeadlineExceeded"}
        return Outcome(f"{counted(found)} after {seconds:.1f} s", kept)

    return run


def attempts(do: Do, server: FaultServer) -> Outcome:
    """Three attempts at a server that is down."""
    server.answer = lambda _body: failure(500)
    found = do({"case": "calls", "questions": ["?"], "attempts": 3})
    return Outcome(f"{server.count} requests, {counted(found)}", server.count == 3)


def final(status: int, code: str) -> Callable[[Do, FaultServer], Outcome]:
    """A failure that does not pass."""

    def run(do: Do, server: FaultServer) -> Outcome:
        said = "This model's maximum context length is 8192 tokens" if "context" in code else code.replace("_", " ")
        server.answer = lambda _body: failure(status, said, code=code)
        found = do({"case": "calls", "questions": ["?"], "attempts": 4})
        return Outcome(
            f"{server.count} requests, {counted(found)}", server.count == 1 and "a value" not in found["kinds"]
        )

    return run


def cut(do: Do, server: FaultServer) -> Outcome:
    """A reply that was cut at the token limit."""

    def answer(body: Mapping[str, Any]) -> Answer:
        made = answering(body, "The answer is that the")
        made.body["choices"][0]["finish_reason"] = "length"
        return made

    server.answer = answer
    found = do({"case": "calls", "questions": MANY})
    return Outcome(counted(found), set(found["kinds"]) == {"TruncatedOutput"})


def bad_then_good(do: Do, server: FaultServer) -> Outcome:
    """A reply that can't be read, with the cache on, and the same question once more."""
    server.answer = lambda _body: completion("I would rather not say.")
    bad = do({"case": "twice"})
    before = server.count
    server.answer = lambda body: answering(body, "42")
    good = do({"case": "twice"})
    text = f"first {told(bad['first'])}; later {told(good['first'])}, {server.count - before} more requests"
    return Outcome(text, good["first"].get("value") == "42")


def two_endpoints(do: Do, server: FaultServer) -> Outcome:
    """The same model and prompt at two servers, with the cache on."""
    with serving() as other:
        server.answer, other.answer = (lambda body: answering(body, "one")), (lambda body: answering(body, "two"))
        found = do({"case": "endpoints", "other": other.url})
    return Outcome(f"they said {found['values']}", found["values"] == ["one", "two"])


def spoiled_cache(do: Do, server: FaultServer) -> Outcome:
    """Files of the cache overwritten with noise while nobody uses them."""
    server.answer = answering
    with tempfile.TemporaryDirectory() as folder:
        do({"case": "spoiled", "count": 20, "folder": folder})
        for path in Path(folder).rglob("*"):
            if path.is_file():
                path.write_bytes(b"\x07noise" * max(path.stat().st_size // 6, 1))
        found = do({"case": "spoiled", "count": 20, "folder": folder}, anew=True)
    return Outcome(counted(found), set(found["kinds"]) == {"a value"})


def modes(do: Do, server: FaultServer) -> Outcome:
    """Who may read the cache."""
    server.answer = answering
    found = do({"case": "spoiled", "count": 2})
    return Outcome(", ".join(mode[2:] for mode in found["modes"]), set(found["modes"]) <= {"0o700", "0o600"})


def stampede(do: Do, server: FaultServer) -> Outcome:
    """Twenty threads that ask the same at once, with the cache on."""
    server.answer = answering
    found = do({"case": "calls", "questions": ["?"] * 20, "cache": True})
    return Outcome(f"{server.count} requests, {counted(found)}", server.count == 1)


def quadratic(do: Do, server: FaultServer) -> Outcome:
    """A reply of 20 kB that opens objects and texts and closes none."""
    warm(do, server)
    server.answer = lambda _body: completion('["' + "{a" * 10_000)
    found = do({"case": "calls", "questions": ["?"]})
    seconds = found["seconds"]  # of all replies: both libraries ask again
    return Outcome(f"{counted(found)} after {seconds:.2f} s", set(found["kinds"]) == {"ParseError"} and seconds < 0.2)


def huge(do: Do, server: FaultServer) -> Outcome:
    """A reply of 100 MB."""
    server.answer = lambda _body: completion("x" * 100_000_000)
    found = do({"case": "memory"})
    return Outcome(f"{told(found)[:60]}, {found['megabytes']:.0f} MB", found.get("error") == "ReplyTooLarge")


def no_input(do: Do, server: FaultServer) -> Outcome:
    """An input that was forgotten."""
    server.answer = answering
    found = do({"case": "missing"})
    return Outcome(f"{told(found)}, {server.count} requests", server.count == 0 and found.get("error") == "InputError")


def own_thread(do: Do, server: FaultServer) -> Outcome:
    """The LM of a context in a thread of the user's."""
    server.answer = answering
    found = do({"case": "threads"})
    return Outcome(told(found), found.get("value") == "yes")


def secrets(do: Do, server: FaultServer) -> Outcome:
    """A provider that repeats the key in its complaint."""
    server.answer = lambda _body: failure(401, f"Incorrect API key provided: {KEY}")
    found = do({"case": "memory"})
    times = str(found.get("said", "")).count(KEY)
    return Outcome(f"{told(found)}, the key stands in it {times} times", times == 0)


FAULTS: Mapping[str, Callable[[Do, FaultServer], Outcome]] = {
    "1: hangs, deadline of 3 s, 20 calls": late(Answer(hang_s=60)),
    "1: a byte every 0.05 s, the same": late(Answer(body=completion("x" * 400).body, drip_s=0.05)),
    "1: 429 with Retry-After 3600, the same": late(failure(429, "slow down", headers={"Retry-After": "3600"})),
    "2: 500 for ever, 3 attempts": attempts,
    "3: wrong key, 4 attempts": final(401, "invalid_api_key"),
    "3: quota used up, 4 attempts": final(429, "insufficient_quota"),
    "3: prompt too long, 4 attempts": final(400, "context_length_exceeded"),
    "7: replies that were cut, 20 calls": cut,
    "8: an unreadable reply, then a good one, cached": bad_then_good,
    "9: one model at two endpoints, cached": two_endpoints,
    "10: cache overwritten with noise, 20 calls": spoiled_cache,
    "12: modes of the cache's files": modes,
    "13: 20 threads, one prompt, cached": stampede,
    "25: reply of 20 kB, brackets in texts": quadratic,
    "28: reply of 100 MB": huge,
    "29: an input is missing": no_input,
    "34: a thread of the user's (with `dm.carry`)": own_thread,
    "36: the provider repeats the key": secrets,
}
"""By the number of the project's promise."""


def suffered(fault: Callable[[Do, FaultServer], Outcome], python: str, library: str) -> Outcome:
    """What came of a fault in one library."""
    with (
        serving() as server,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        Client(CLIENT, python, library, patience_s=PATIENCE_S, stderr=subprocess.DEVNULL) as client,
    ):

        def do(task: Mapping[str, Any], /, *, anew: bool = False) -> dict[str, Any]:
            if anew:
                client.end()
            return client.do({"url": server.url, "folder": folder, **task})

        try:
            return fault(do, server)
        except Stuck as stuck:
            return Outcome(str(stuck), kept=False)


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[1])
    made.add_argument("--peers", metavar="PYTHON", help="interpreter of the environment that holds DSPy")
    made.add_argument("--only", metavar="WORDS", default="", help="faults whose name holds this")
    made.add_argument("--out", type=Path, metavar="FILE.jsonl", help="append the figures as a line of JSON")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = parser().parse_args(arguments)
    pythons = {"declm": sys.executable} | ({"dspy": given.peers} if given.peers else {})
    rows = list[dict[str, Any]]()
    for name, fault in FAULTS.items():
        if given.only in name:
            found = {library: vars(suffered(fault, python, library)) for library, python in pythons.items()}
            rows.append({"name": name, **found})
            print(f"{name}: {found}", file=sys.stderr, flush=True)
    line = {"rows": rows, "surroundings": surroundings()}
    keep(line, given.out)
    print(faults_table([line]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
