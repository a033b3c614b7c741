"""What a call costs past litellm: `python benchmarks/codecs_beside_litellm.py --out benchmarks/results/codecs.jsonl`.

The same call goes to one server on loopback by turns: through declm, with litellm's codec over its own connections,
and through `litellm.acompletion`. Neither retries nor caches.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from fault_server import completion
from publish import codecs_table
from records import keep, surroundings
from runtime import HEAD

import declm as dm
from declm.lm.library import available
from declm.messages import Message, Request

_CLAUDE = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 11, "output_tokens": 3},
}
_QUESTION, _WARM_UP = "Say hello.", 5

Ask: TypeAlias = Callable[[], Awaitable[object]]

_CHAT: Mapping[str, Any] = completion().body


@dataclass(frozen=True)
class Model:
    """One model, and what its provider answers; `route` is what its address is without."""

    name: str
    answer: Mapping[str, Any]
    route: str = ""


MODELS = (
    Model("anthropic/claude-haiku-4-5", _CLAUDE, "/v1"),
    Model("mistral/mistral-small-latest", _CHAT),
    Model("groq/openai/gpt-oss-20b", {**_CHAT, "service_tier": "default"}),
    Model("deepseek/deepseek-chat", _CHAT),
)


async def serve(body: bytes, port: Connection) -> None:
    """Answer every request with one body until the process is ended."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
                writer.write(HEAD % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _serve(body: bytes, port: Connection) -> None:
    asyncio.run(serve(body, port))


@contextmanager
def serving(answer: Mapping[str, Any]) -> Iterator[str]:
    """The address of a server in a process of its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(json.dumps(answer).encode(), there), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}/v1"
    finally:
        process.terminate()
        process.join()


def _through_declm(model: Model, base: str) -> Ask:
    lm = dm.LM(model.name, api_base=base, api_key="k", cache=False)
    request = Request((Message("user", _QUESTION),))
    return lambda: lm.acomplete(request)


def _through_litellm(model: Model, base: str) -> Ask:
    litellm = available()
    if litellm is None:
        raise SystemExit("codecs: litellm is not installed")
    messages = [{"role": "user", "content": _QUESTION}]
    call: dict[str, Any] = {"model": model.name, "messages": messages, "api_base": base, "api_key": "k"}
    return lambda: litellm.acompletion(**call, num_retries=0, max_retries=0)


WAYS: Mapping[str, Callable[[Model, str], Ask]] = {"declm": _through_declm, "litellm": _through_litellm}


async def timed(ask: Ask, calls: int) -> list[float]:
    """Seconds of each call, after some that warm up."""
    seconds = list[float]()
    for number in range(calls + _WARM_UP):
        began_s = time.perf_counter()
        await ask()
        if number >= _WARM_UP:
            seconds.append(time.perf_counter() - began_s)
    return seconds


def _work(way: str, calls: int, pipe: Connection) -> None:
    """Time what the pipe asks for, until it asks for nothing."""
    while (task := pipe.recv()) is not None:
        model, base = task
        pipe.send(asyncio.run(timed(WAYS[way](model, base), calls)))


@contextmanager
def working(calls: int) -> Iterator[Mapping[str, Connection]]:
    """A process for each way: what litellm does after a call must not fall into the time of another's."""
    context = multiprocessing.get_context("spawn")
    pipes = {way: context.Pipe() for way in WAYS}
    processes = [context.Process(target=_work, args=(way, calls, pipes[way][1]), daemon=True) for way in WAYS]
    for process in processes:
        process.start()
    yield {way: here for way, (here, _) in pipes.items()}
    for here, _ in pipes.values():
        here.send(None)
    for process in processes:
        process.join()


def compare(model: Model, rounds: int, workers: Mapping[str, Connection]) -> Mapping[str, Any]:
    """Medians of the milliseconds of a call, each way, by turns."""
    seconds: dict[str, list[float]] = {way: [] for way in workers}
    with serving(model.answer) as url:
        for _ in range(rounds):
            for way, worker in workers.items():
                worker.send((model, url.removesuffix(model.route)))
                seconds[way] += worker.recv()
    return {"model": model.name, **{way: 1000.0 * median(each) for way, each in seconds.items()}}


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[1])
    made.add_argument("--calls", type=int, default=100, help="of each model and way in a round (%(default)s)")
    made.add_argument("--rounds", type=int, default=3, help="in which the ways take turns (%(default)s)")
    made.add_argument("--out", type=Path, metavar="FILE.jsonl", help="append the figures as a line of JSON")
    return made


def main(arguments: Sequence[str] | None = None, models: Sequence[Model] = MODELS) -> int:
    """Run the command; returns the exit status."""
    given = parser().parse_args(arguments)
    with working(given.calls) as workers:
        measured = [compare(model, given.rounds, workers) for model in models]
    line = {"calls": given.calls * given.rounds, "measured": measured, "surroundings": surroundings()}
    print(codecs_table([line]))
    keep(line, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
