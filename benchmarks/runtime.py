"""Calls, cache, concurrency and memory beside DSPy: `python benchmarks/runtime.py --peers PYTHON --out FILE.jsonl`.

Both libraries ask one mock server on loopback, which is a process of its own, each from a process of its own. They
take turns, case by case and round by round, so that a slow moment of the machine hits both; figures are medians of
rounds. The goals are the project's own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from clients import Client
from publish import runtime_table
from records import keep, surroundings

HERE = Path(__file__).parent
CLIENT = HERE / "runtime_clients.py"
DELAY_S = 0.2
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Args:
        name: what is measured.
        task: what the clients are told.
        unit: of the figures: `us`, `ms` or `s`, `x` for a multiple of the least possible, `MB`.
        goal: at most so much, in that unit.
        share: at most so much of DSPy's figure.
        reference: DSPy's figure on the machine for which the goal was set, in the same unit.
        rounds: how often, None for as often as the command says.
    """

    name: str
    task: Mapping[str, Any]
    unit: str
    goal: float | None = None
    share: float | None = None
    reference: float | None = None
    rounds: int | None = None
    delay_s: float = field(default=0.0)


CASES = (
    Case("one call over loopback, 0 demos", {"case": "calls", "demos": 0, "calls": 300}, "us", share=0.65),
    Case("one call over loopback, 64 demos", {"case": "calls", "demos": 64, "calls": 100}, "us", share=0.2),
    Case(
        "in process, 2 fields, 0 demos",
        {"case": "scripted", "kind": "narrow", "demos": 0, "calls": 500},
        "us",
        60,
        reference=315,
    ),
    Case(
        "in process, 2 fields, 64 demos",
        {"case": "scripted", "kind": "narrow", "demos": 64, "calls": 200},
        "us",
        80,
        reference=3909,
    ),
    Case(
        "in process, 20 fields, 64 demos",
        {"case": "scripted", "kind": "wide", "demos": 64, "calls": 100},
        "us",
        150,
        reference=22_400,
    ),
    Case("cache hit, 0 demos", {"case": "hits", "demos": 0, "calls": 500}, "us", 40, reference=330),
    Case("cache hit, 64 demos", {"case": "hits", "demos": 64, "calls": 200}, "us", 40, reference=3_900),
    Case(
        "evaluate 1,000 cached rows",
        {"case": "rows", "demos": 0, "calls": 1000, "width": 16},
        "s",
        0.06,
        reference=0.36,
    ),
    Case(
        "500 rows of 200 ms, 64 in flight",
        {"case": "flight", "demos": 0, "calls": 500, "width": 64, "delay_s": DELAY_S},
        "x",
        1.08,
        reference=1.10,
        rounds=3,
        delay_s=DELAY_S,
    ),
    Case(
        "500 rows of 200 ms, 256 in flight",
        {"case": "flight", "demos": 0, "calls": 500, "width": 256, "delay_s": DELAY_S},
        "x",
        1.5,
        reference=3.1,
        rounds=3,
        delay_s=DELAY_S,
    ),
    Case(
        "memory after 10,000 calls", {"case": "memory", "demos": 0, "calls": 10_000}, "MB", 2.0, reference=112, rounds=1
    ),
)
SCALES = {"us": 1e6, "ms": 1e3, "s": 1.0, "x": 1.0, "MB": 1e-6}


def measured(
    clients: Mapping[str, Client], urls: Mapping[float, str], cases: Sequence[Case], rounds: int
) -> list[dict[str, Any]]:
    """The rows of the table."""
    found = list[dict[str, Any]]()
    for case in cases:
        figures = {library: list[float]() for library in clients}
        for round_ in range(case.rounds or rounds):
            order = list(clients) if round_ % 2 == 0 else list(clients)[::-1]
            for library in order:
                with tempfile.TemporaryDirectory() as folder:
                    task = {**case.task, "url": urls[case.delay_s], "folder": folder}
                    figures[library].append(clients[library].do(task)["figure"] * SCALES[case.unit])
        medians = {library: median(values) for library, values in figures.items()}
        ours, theirs = medians["declm"], medians.get("dspy")
        limit = case.goal if case.goal is not None else (case.share or 0) * theirs if theirs is not None else None
        row = {"name": case.name, "unit": case.unit, "goal": case.goal, "share": case.share}
        row["reference"] = case.reference
        found.append({**row, "ours": ours, "theirs": theirs, "met": None if limit is None else ours <= limit})
        print(f"{case.name}: {ours:.3g} {case.unit}, DSPy {theirs and round(theirs, 3)}", file=sys.stderr, flush=True)
    return found


# --- the server


def reply(asked: bytes) -> bytes:
    """A completion in the format that the prompt asks for."""
    fields = {"reasoning": "so it is", "answer": "yes"}
    text = json.dumps(fields)
    if b"[[ ##" in asked:
        text = "\n\n".join(
            [*(f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items()), "[[ ## completed ## ]]"]
        )
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "any", "choices": [choice], "usage": usage}
    return json.dumps(body).encode()


async def serve(delay_s: float) -> None:
    """Print the port and serve until the process is ended."""
    replies = {marked: reply(b"[[ ##" if marked else b"") for marked in (False, True)}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                asked = await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
                await asyncio.sleep(delay_s)
                body = replies[b"[[ ##" in asked]
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
                    + body
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024, limit=2**24)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def serving(delay_s: float) -> Iterator[str]:
    """Run the server in a process of its own; the base of its API."""
    command = [sys.executable, __file__, "--serve", str(delay_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(child.stdout.readline())}/v1"
        finally:
            child.terminate()


# --- the command


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[1])
    made.add_argument("--peers", metavar="PYTHON", help="interpreter of the environment that holds DSPy")
    made.add_argument("--rounds", type=int, default=7, help="of each case (%(default)s)")
    made.add_argument("--only", metavar="WORDS", default="", help="cases whose name holds this")
    made.add_argument("--scale", type=float, default=1.0, help="calls, as a share of the usual (%(default)s)")
    made.add_argument("--out", type=Path, metavar="FILE.jsonl", help="append the figures as a line of JSON")
    made.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = parser().parse_args(arguments)
    if given.serve is not None:
        asyncio.run(serve(given.serve))
        return 0
    chosen = [case for case in CASES if given.only in case.name]
    cases = [
        Case(**{**vars(case), "task": {**case.task, "calls": max(int(case.task["calls"] * given.scale), 10)}})
        for case in chosen
    ]
    with ExitStack() as stack:
        urls = {delay_s: stack.enter_context(serving(delay_s)) for delay_s in (0.0, DELAY_S)}
        pythons = {"declm": sys.executable} | ({"dspy": given.peers} if given.peers else {})
        clients = {name: stack.enter_context(Client(CLIENT, python, name)) for name, python in pythons.items()}
        rows = measured(clients, urls, cases, given.rounds)
    line: dict[str, Any] = {"rounds": given.rounds, "rows": rows, "surroundings": surroundings()}
    keep(line, given.out)
    print(runtime_table([line]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
