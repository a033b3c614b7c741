"""The work that `runtime.py` times: `python benchmarks/runtime_clients.py LIBRARY`, in that library's environment.

Reads a line of JSON for each task (`case`, `demos`, `calls`, `width`, `url`, `folder`), does it, and answers with a
line: the seconds that it took, and what it had to do first is not in them. Both libraries are used through
their public API with their default settings, apart from the cache where a case is about calls.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from clients import answer

Task = Mapping[str, Any]

FIELDS = {"narrow": (["question"], ["answer"]), "wide": ([f"in{n}" for n in range(10)], [f"out{n}" for n in range(10)])}
"""Inputs and outputs of the signatures, all of them texts."""

DEMO_WORDS = "a sentence of a dozen words, as one would find it in a text"


def resident() -> int:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def values(names: list[str], index: int) -> dict[str, str]:
    """A text for each field, another one for each index."""
    return dict.fromkeys(names, f"{DEMO_WORDS} {index}")


class Ours:
    """declm."""

    def __init__(self) -> None:
        import declm as dm

        self._dm = dm

    def predictor(self, task: Task, kind: str, *, thinks: bool = False) -> Any:
        """A predictor with demonstrations."""
        inputs, outputs = FIELDS[kind]
        signature = self._dm.define(f"{', '.join(inputs)} -> {', '.join(outputs)}")
        made: Any = (self._dm.ChainOfThought if thinks else self._dm.Predict)(signature)
        rows = [signature(**values(inputs + outputs, n)) for n in range(task["demos"])]
        return made.with_demos(rows) if rows else made

    def scripted(self, kind: str) -> None:
        """Answer everything in this process."""
        from declm.testing import FunctionLM

        reply = json.dumps(values(FIELDS[kind][1], 0))
        self._dm.configure(lm=FunctionLM(lambda _request: reply))

    def served(self, task: Task, *, cache: bool) -> None:
        """Ask the server."""
        place = str(Path(task["folder"]) / "replies.db") if cache else False
        self._dm.configure(lm=self._dm.LM("openai/any", api_base=task["url"], api_key="none", cache=place))

    def evaluate(self, program: Any, count: int, width: int) -> None:
        """Score rows."""
        signature = program.spec.cls
        rows = [signature(question=f"row {n}", answer="yes") for n in range(count)]

        def right(gold: Any, got: Any) -> bool:
            return bool(gold.answer == got.answer)

        report = self._dm.evaluate(program, rows, metric=right, concurrency=width, progress=False)
        assert report.score == 1.0


class Theirs:
    """DSPy."""

    def __init__(self) -> None:
        import dspy  # pyright: ignore[reportMissingImports]  # in the peers' environment only

        self._dspy: Any = dspy

    def predictor(self, task: Task, kind: str, *, thinks: bool = False) -> Any:
        """A predictor with demonstrations."""
        inputs, outputs = FIELDS[kind]
        made: Any = (self._dspy.ChainOfThought if thinks else self._dspy.Predict)(
            f"{', '.join(inputs)} -> {', '.join(outputs)}"
        )
        demos = [self._dspy.Example(**values(inputs + outputs, n)) for n in range(task["demos"])]
        (made.predict if thinks else made).demos = demos
        return made

    def scripted(self, kind: str) -> None:
        """Answer everything in this process."""
        reply = "\n\n".join(f"[[ ## {k} ## ]]\n{v}" for k, v in values(FIELDS[kind][1], 0).items())
        text = f"{reply}\n\n[[ ## completed ## ]]"

        class Scripted(self._dspy.BaseLM):  # type: ignore[misc,name-defined]
            def __call__(self, prompt: Any = None, messages: Any = None, **options: Any) -> list[str]:
                return [text]

        self._dspy.configure(lm=Scripted(model="scripted"))

    def served(self, task: Task, *, cache: bool) -> None:
        """Ask the server."""
        if cache:
            self._dspy.configure_cache(disk_cache_dir=task["folder"])
        self._dspy.configure(lm=self._dspy.LM("openai/any", api_base=task["url"], api_key="none", cache=cache))

    def evaluate(self, program: Any, count: int, width: int) -> None:
        """Score rows."""
        rows = [self._dspy.Example(question=f"row {n}", answer="yes").with_inputs("question") for n in range(count)]

        def right(gold: Any, got: Any, *_: Any) -> bool:
            return bool(gold.answer == got.answer)

        score = self._dspy.Evaluate(devset=rows, metric=right, num_threads=width, display_progress=False)(program)
        assert float(getattr(score, "score", score)) == 100.0


Library = Ours | Theirs


def calls(library: Library, task: Task) -> float:
    """Seconds a call over loopback, without a cache."""
    library.served(task, cache=False)
    return _each(library.predictor(task, "narrow", thinks=True), task)


def scripted(library: Library, task: Task) -> float:
    """Seconds a call with an LM in this process."""
    library.scripted(task["kind"])
    return _each(library.predictor(task, task["kind"]), task)


def hits(library: Library, task: Task) -> float:
    """Seconds a call that the cache answers."""
    library.served(task, cache=True)
    return _each(library.predictor(task, "narrow"), task, same=True)


def rows(library: Library, task: Task) -> float:
    """Seconds to evaluate rows that are all in the cache."""
    library.served(task, cache=True)
    program = library.predictor(task, "narrow")
    library.evaluate(program, task["calls"], task["width"])
    began_s = time.perf_counter()
    library.evaluate(program, task["calls"], task["width"])
    return time.perf_counter() - began_s


def flight(library: Library, task: Task) -> float:
    """Seconds to evaluate rows at a slow server, as a multiple of the least possible."""
    library.served(task, cache=False)
    program = library.predictor(task, "narrow")
    library.evaluate(program, 4, 4)
    began_s = time.perf_counter()
    library.evaluate(program, task["calls"], task["width"])
    return (time.perf_counter() - began_s) / (-(-task["calls"] // task["width"]) * task["delay_s"])


def memory(library: Library, task: Task) -> float:
    """Bytes that so many calls leave behind, after as many tenths to warm up."""
    library.served(task, cache=False)
    program = library.predictor(task, "narrow")
    for index in range(task["calls"] // 10):
        program(question=f"warm {index}")
    before = resident()
    for index in range(task["calls"]):
        program(question=f"row {index}")
    return float(resident() - before)


def _each(program: Any, task: Task, *, same: bool = False) -> float:
    inputs, _ = FIELDS[task.get("kind", "narrow")]
    for index in range(20):
        program(**values(inputs, 0 if same else index))
    asked = [values(inputs, 0 if same else 100 + index) for index in range(task["calls"])]
    began_s = time.perf_counter()
    for one in asked:
        program(**one)
    return (time.perf_counter() - began_s) / task["calls"]


CASES: Mapping[str, Callable[[Library, Task], float]] = {
    "calls": calls,
    "scripted": scripted,
    "hits": hits,
    "rows": rows,
    "flight": flight,
    "memory": memory,
}


def main() -> None:
    """Do one task for each line."""
    library: Library = {"declm": Ours, "dspy": Theirs}[sys.argv[1]]()
    answer(library, {name: partial(_figure, case) for name, case in CASES.items()})


def _figure(case: Callable[[Library, Task], float], library: Library, task: Task) -> dict[str, float]:
    return {"figure": case(library, task)}


if __name__ == "__main__":
    main()
