"""A process that asks prompts through a reply cache: `cache_worker.py URL CACHE CALLS PROMPTS SEED`.

Its transport is a plain HTTP request, for litellm takes longer to import than the test to run. With the
seed 0 the prompts come in order, else at random.
"""

from __future__ import annotations

import json
import random
import sys
import urllib.request

from declm.lm.cached import Cached
from declm.messages import Request
from declm.predictors.predict import Predict
from declm.settings import cache_place
from declm.testing import FunctionLM


def work(url: str, cache: str, calls: int, prompts: int, seed: int) -> None:
    """Ask, and check that each prompt gets its own answer."""

    def send(request: Request) -> str:
        body = json.dumps({"prompt": request.messages[-1].content}).encode()
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as reply:
            return str(json.load(reply)["reply"])

    place = cache_place(cache)
    ask = Predict("question -> answer", lm=Cached(FunctionLM(send, name="worker"), place, 60.0))
    draw = random.Random(seed)
    for index in range(calls):
        question = f"number {draw.randrange(prompts) if seed else index % prompts}"
        answer = ask(question=question).answer
        if question not in answer:
            raise SystemExit(f"{question!r} got {answer!r}")


if __name__ == "__main__":
    address, place, *numbers = sys.argv[1:]
    work(address, place, *map(int, numbers))
