"""A search whose calls are counted, in a file or by a server: run by `test_resume.py`, in this process and in others.

`python resumed_search.py LEDGER CALLS`: prints what the search came to, as JSON; `CALLS` is a file, or the
address of a server that speaks OpenAI's wire.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from search_cases import QUESTIONS, TwoSteps, same_answer, told, two_steps

import declm as dm
from declm.messages import Request
from declm.optimizers import JointSearch
from declm.testing import FunctionLM


class CountedLM(FunctionLM):
    """Adds a line to a file for each call, before it answers."""

    def __init__(self, calls: Path, pause_s: float = 0.0) -> None:
        super().__init__(self._reply)
        self._calls, self._pause_s = calls, pause_s

    def _reply(self, request: Request) -> str:
        handle = os.open(self._calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, b"call\n")
        os.close(handle)
        time.sleep(self._pause_s)
        return two_steps(request)


def at_server(url: str) -> dm.LM:
    """The LM at a server, without the reply cache: only the ledger may save calls."""
    return dm.LM("openai/double", api_base=url, api_key="none", cache=False)


def run(ledger: str | None, calls: Path | str, pause_s: float = 0.0, **options: Any) -> dict[str, Any]:
    """The search, and what must be the same however often it was killed."""
    program = TwoSteps()
    with dm.context(lm=at_server(calls) if isinstance(calls, str) else CountedLM(calls, pause_s)):
        best = dm.optimize(
            program,
            train=QUESTIONS[:26],
            val=QUESTIONS[26:],
            metric=same_answer,
            budget=dm.Budget(calls=900),
            optimizer=JointSearch(trials=8, proposals=2),
            name=ledger,
            progress=False,
            **options,
        )
    return {
        "trials": json.loads(json.dumps(told(best))),
        "state": best.program.state.model_dump(mode="json"),
        "scores": [best.score, best.baseline],
        "p": best.report.verdict.p_value if best.report.verdict else None,
        "usage": [best.usage.calls, best.usage.input_tokens, best.usage.output_tokens],
    }


if __name__ == "__main__":
    counted = sys.argv[2] if sys.argv[2].startswith("http") else Path(sys.argv[2])
    print(json.dumps(run(sys.argv[1], counted, pause_s=0.002)))  # noqa: T201  # read by the test
