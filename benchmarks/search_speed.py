"""How long searches take: `python benchmarks/search_speed.py --database postgresql://... --out FILE.jsonl`.

Random search without any latency, the default with many calls in flight, and one search by one and by several
processes that share a database. The LM is a function in process, or behind a server of its own for the processes;
DSPy's figures for the first two are in the issue that set the goals.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gains import Made, Sort, correct, made
from records import keep, surroundings

import declm as dm
from declm.messages import Request, Response
from declm.optimizers import JointSearch, Optimizer, RandomSearch
from declm.testing import FunctionLM

PAUSE_S = 0.2


class Delayed(FunctionLM):
    """Answers after a while, any number of calls at once."""

    def __init__(self, task: Made, pause_s: float) -> None:
        super().__init__(task.rule)
        self._pause_s = pause_s

    async def acomplete(self, request: Request) -> Response:
        """Wait, then answer."""
        await asyncio.sleep(self._pause_s)
        return self.complete(request)


def task(rows: int) -> Made:
    """A task with a gain, and so many rows of val."""
    found = next(made(1, 0.15))
    pool = [*found.train, *found.val]
    more = [Sort(text=f"more {n}", label=("even", "odd")[n % 2]) for n in range(1000, 1000 + rows)]  # type: ignore[arg-type]
    return Made(0, found.base, 0.15, "demos", pool[:150], more)


def seconds(of: Made, lm: Any, optimizer: Optimizer, concurrency: int) -> tuple[float, int]:
    """Time of one search, and its calls."""
    began_s = time.monotonic()
    with dm.context(cache=False):
        best = dm.optimize(
            dm.Predict(Sort, lm=lm),
            train=of.train,
            val=of.val,
            metric=correct,
            optimizer=optimizer,
            concurrency=concurrency,
            progress=False,
        )
    return time.monotonic() - began_s, best.usage.calls


def in_process(runs: int) -> list[dict[str, Any]]:
    """Random search without latency, and the default at 200 ms with 64 in flight; medians of some runs."""
    found: list[dict[str, Any]] = []
    for name, rows, optimizer, pause_s, concurrency in (
        ("random search, 19 x 200 rows, no latency", 200, RandomSearch(candidates=16), 0.0, 16),
        ("light joint search, 64 in flight at 200 ms", 100, JointSearch(trials=10), PAUSE_S, 64),
    ):
        of = task(rows)
        seconds(of, Delayed(of, 0.0), RandomSearch(candidates=0), 16)  # imports
        taken = [seconds(of, Delayed(of, pause_s), optimizer, concurrency) for _ in range(runs)]
        found.append(
            {
                "what": name,
                "seconds": round(statistics.median(s for s, _ in taken), 2),
                "calls": taken[0][1],
                "n": runs,
            }
        )
    return found


@asynccontextmanager
async def serving(of: Made) -> AsyncIterator[tuple[str, list[int]]]:
    """The task's LM behind OpenAI's wire, after a pause; gives the address and a count."""
    from aiohttp import web

    count = [0]

    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        count[0] += 1
        await asyncio.sleep(PAUSE_S)
        messages = tuple(dm.Message(m["role"], m["content"]) for m in body["messages"])
        text = of.rule(dm.Request(messages=messages))
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return web.json_response(
            {"id": "0", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
        )

    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1", count
    finally:
        await runner.cleanup()


def worker(database: str, url: str) -> None:
    """One process of a shared search: imports, waits for a line, searches, and prints how long that took."""
    of = task(200)
    lm = dm.LM("openai/made", api_base=url, api_key="none", cache=False)
    seconds(task(24), Delayed(of, 0.0), JointSearch(trials=1), 16)  # imports
    print("ready", flush=True)
    sys.stdin.readline()
    began_s = time.monotonic()
    best = dm.optimize(
        dm.Predict(Sort, lm=lm),
        train=of.train,
        val=of.val,
        metric=correct,
        name=database,
        progress=False,
        concurrency=16,
    )
    print(json.dumps({"seconds": time.monotonic() - began_s, "score": best.score, "trials": len(best.report.trials)}))


async def shared(database: str, processes: int) -> dict[str, Any]:
    """One search by so many processes."""
    from declm.evaluation.stores import PostgresStore
    from declm.text import Url

    store = PostgresStore(Url(database))
    tables = ("outcomes", "scores", "notes")
    store.write(*((f"DELETE FROM {name} WHERE ? = 1", [(1,)]) for name in tables))
    store.close()
    async with serving(task(200)) as (url, count):
        command = [sys.executable, __file__, "--worker", database, url]
        started = [
            await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for _ in range(processes)
        ]
        for process in started:
            await process.stdout.readline()  # type: ignore[union-attr]
        before = count[0]
        for process in started:
            process.stdin.write(b"go\n")  # type: ignore[union-attr]
        lines = [await process.stdout.readline() for process in started]  # type: ignore[union-attr]
        for process in started:
            process.stdin.close()  # type: ignore[union-attr]
            await process.wait()
        found = [json.loads(line) for line in lines]
        return {
            "what": f"one search by {processes} processes over PostgreSQL, 200 ms a call, 16 in flight each",
            "seconds": round(max(one["seconds"] for one in found), 2),
            "calls": count[0] - before,
            "same": len({json.dumps({**one, "seconds": 0}) for one in found}) == 1,
        }


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    usage = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[1])
    usage.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    usage.add_argument("--database", help="address of a PostgreSQL database; its tables of declm are emptied")
    usage.add_argument("--runs", type=int, default=5, help="of each search in process (%(default)s)")
    usage.add_argument("--out", type=Path, metavar="FILE.jsonl", help="append the figures")
    return usage


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = parser().parse_args(arguments)
    if given.worker:
        worker(*given.worker)
        return 0
    lines = in_process(given.runs) if given.runs else []
    if given.database:
        lines += [asyncio.run(shared(given.database, count)) for count in (1, 4)]
    for line in lines:
        print(line)
        keep({**line, "surroundings": surroundings()}, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
