"""Many calls in one process: `python benchmarks/soak.py --calls 50000 --out benchmarks/results/soak.jsonl`.

A predictor asks a server on loopback, which is a process of its own, another question with each call: by turns from
threads and from tasks of an event loop, with the reply cache in a new folder. Memory, descriptors and threads of this
process are read after each block of calls; the slope of the memory is that of a straight line through the blocks after
the warm-up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from publish import soak_table
from records import keep, surroundings

import declm as dm

BLOCKS = 50
WARM_UP = 0.2
"""Share of the blocks whose memory is left out of the slope."""


@dataclass(frozen=True)
class State:
    """This process after so many calls; -1 where the system does not tell."""

    calls: int
    bytes: int
    descriptors: int
    threads: int


def observed(calls: int) -> State:
    """Read the process's state."""
    status = Path("/proc/self/statm")
    resident = int(status.read_text().split()[1]) * 4096 if status.exists() else -1
    folder = Path("/proc/self/fd")
    return State(calls, resident, len(list(folder.iterdir())) if folder.exists() else -1, threading.active_count())


def slope(states: Sequence[State]) -> float:
    """Bytes a call, by least squares over the blocks after the warm-up."""
    kept = states[int(len(states) * WARM_UP) :]
    calls, size = [s.calls for s in kept], [s.bytes for s in kept]
    mean = sum(calls) / len(calls)
    spread = sum((x - mean) ** 2 for x in calls)
    return sum((x - mean) * y for x, y in zip(calls, size, strict=True)) / spread if spread else 0.0


def soak(url: str, calls: int, width: int, cache: Path | bool) -> Iterator[State]:
    """Call, block after block; the state after each."""
    lm = dm.LM("openai/any", api_base=url, api_key="none", cache=str(cache) if isinstance(cache, Path) else cache)
    ask = dm.Predict("question -> answer", lm=lm)
    each = max(calls // BLOCKS, 1)

    async def tasks(questions: Sequence[str]) -> None:
        gate = asyncio.Semaphore(width)

        async def one(question: str) -> None:
            async with gate:
                await ask.acall(question=question)

        await asyncio.gather(*map(one, questions))

    with ThreadPoolExecutor(width) as threads:
        for block in range(BLOCKS):
            questions = [f"question {block * each + index}" for index in range(each)]
            if block % 2:
                asyncio.run(tasks(questions))
            else:
                list(threads.map(lambda question: ask(question=question), questions))
            yield observed((block + 1) * each)


# --- the server


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request of a connection with the same completion."""
    message = {"role": "assistant", "content": '{"answer": "yes"}'}
    usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
    body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    try:
        while True:
            asked = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(asked.split(b"content-length:")[1].split(b"\r\n")[0]))
            writer.write(head + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def serve() -> None:
    """Print the port and serve until the process is ended."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def serving() -> Iterator[str]:
    """Run the server in a process of its own; the base of its API."""
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(child.stdout.readline())}/v1"
        finally:
            child.terminate()


# --- the command


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[1])
    made.add_argument("--calls", type=int, default=50_000, help="calls in all (%(default)s)")
    made.add_argument("--width", type=int, default=32, help="calls in flight (%(default)s)")
    made.add_argument("--no-cache", action="store_true", help="without the reply cache")
    made.add_argument("--out", type=Path, metavar="FILE.jsonl", help="append the figures as a line of JSON")
    made.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = parser().parse_args(arguments)
    if given.serve:
        asyncio.run(serve())
        return 0
    with tempfile.TemporaryDirectory() as folder, serving() as url:
        began_s = time.monotonic()
        states = list(soak(url, given.calls, given.width, False if given.no_cache else Path(folder) / "replies.db"))
        seconds = time.monotonic() - began_s
    line: dict[str, Any] = {
        "calls": states[-1].calls,
        "width": given.width,
        "cache": not given.no_cache,
        "seconds": seconds,
        "slope": slope(states),
        "states": [asdict(state) for state in states],
        "surroundings": surroundings(),
    }
    keep(line, given.out)
    print(soak_table([line]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
