"""What `faults.py` lets a library suffer: `python benchmarks/fault_clients.py LIBRARY`, in that library's environment.

Reads a line of JSON for each task (`case`, `url`, `folder` and what the case needs), lets the library answer
through its public API, and says in a line of JSON what came of it: values, kinds of errors, seconds, bytes.
It judges nothing.
"""

from __future__ import annotations

import resource
import stat
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from clients import answer

Task = Mapping[str, Any]
Found = dict[str, Any]

MODEL = "openai/gpt-4o-mini"
KEY = "sk-canary-0123456789abcdef"
_TRACEBACK = 20_000


class Ours:
    """declm."""

    def __init__(self) -> None:
        import declm as dm

        self._dm = dm

    def lm(self, url: str, folder: str, *, cache: bool, deadline_s: float = 30.0, attempts: int = 1) -> Any:
        """An LM at the server."""
        place = Path(folder) / "replies.db" if cache else False
        return self._dm.LM(MODEL, api_base=url, api_key=KEY, cache=place, deadline=deadline_s, attempts=attempts)

    def ask(self, lm: Any, question: str) -> str:
        """The answer to a question."""
        return str(self._dm.Predict("question -> answer", lm=lm)(question=question).answer)

    def number(self, lm: Any, question: str) -> int:
        """The answer to a question, which is a number."""
        return int(self._dm.Predict("question -> answer: int", lm=lm)(question=question).answer)

    def nothing(self, lm: Any) -> object:
        """Ask without the input that the question needs."""
        return self._dm.Predict("question, context -> answer", lm=lm)(question="?").answer

    def inside(self, lm: Any, function: Callable[[], object]) -> None:
        """Run something with an LM in force."""
        with self._dm.context(lm=lm):
            function()

    def ask_there(self, question: str) -> str:
        """The answer of the LM in force."""
        return str(self._dm.Predict("question -> answer")(question=question).answer)

    def carried(self, function: Callable[[], None]) -> Callable[[], None]:
        """A function as the library wants it for a thread of the user's."""
        carried: Callable[[], None] = self._dm.carry(function)
        return carried


class Theirs:
    """DSPy."""

    def __init__(self) -> None:
        import dspy  # pyright: ignore[reportMissingImports]  # in the peers' environment only

        self._dspy: Any = dspy

    def lm(self, url: str, folder: str, *, cache: bool, deadline_s: float = 30.0, attempts: int = 1) -> Any:
        """An LM at the server."""
        self._dspy.configure_cache(disk_cache_dir=str(Path(folder) / "cache"))
        options: dict[str, Any] = {"cache": cache, "timeout": deadline_s, "num_retries": attempts - 1}
        return self._dspy.LM(MODEL, api_base=url, api_key=KEY, **options)

    def ask(self, lm: Any, question: str) -> str:
        """The answer to a question."""
        with self._dspy.context(lm=lm):
            return str(self._dspy.Predict("question -> answer")(question=question).answer)

    def number(self, lm: Any, question: str) -> int:
        """The answer to a question, which is a number."""
        with self._dspy.context(lm=lm):
            return int(self._dspy.Predict("question -> answer: int")(question=question).answer)

    def nothing(self, lm: Any) -> object:
        """Ask without the input that the question needs."""
        with self._dspy.context(lm=lm):
            return self._dspy.Predict("question, context -> answer")(question="?").answer

    def inside(self, lm: Any, function: Callable[[], object]) -> None:
        """Run something with an LM in force."""
        with self._dspy.context(lm=lm):
            function()

    def ask_there(self, question: str) -> str:
        """The answer of the LM in force."""
        return str(self._dspy.Predict("question -> answer")(question=question).answer)

    def carried(self, function: Callable[[], None]) -> Callable[[], None]:
        """The function as it is: DSPy has nothing for threads that it does not start itself."""
        return function


Library = Ours | Theirs


def tried(function: Callable[[], object]) -> Found:
    """How a call ended: `value` or the `error`'s name, with all that is said of it, and its `seconds`."""
    began_s = time.monotonic()
    try:
        found: Found = {"value": str(function())[:200]}
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the result
        said = "".join(traceback.format_exception(error))
        found = {"error": type(error).__name__, "said": said[-_TRACEBACK:]}
    return found | {"seconds": time.monotonic() - began_s}


def ends(found: list[Found]) -> Found:
    """How many calls ended how, and the longest."""
    kinds = Counter(one.get("error", "a value") for one in found)
    return {"kinds": dict(kinds.most_common()), "seconds": max(one["seconds"] for one in found)}


def calls(library: Library, task: Task) -> Found:
    """Ask questions at once."""
    cache, limit_s = task.get("cache", False), task.get("deadline_s", 30.0)
    lm = library.lm(task["url"], task["folder"], cache=cache, deadline_s=limit_s, attempts=task.get("attempts", 1))
    with ThreadPoolExecutor(max(len(task["questions"]), 1)) as pool:
        return ends(list(pool.map(lambda q: tried(lambda: library.ask(lm, q)), task["questions"])))


def twice(library: Library, task: Task) -> Found:
    """Ask for a number two times."""
    lm = library.lm(task["url"], task["folder"], cache=True)
    first, second = (tried(lambda: library.number(lm, "?")) for _ in range(2))
    return {"first": first, "second": second}


def endpoints(library: Library, task: Task) -> Found:
    """Ask one question of one model at two servers."""
    lms = [library.lm(url, task["folder"], cache=True) for url in (task["url"], task["other"])]
    return {"values": [tried(lambda lm=lm: library.ask(lm, "?")).get("value") for lm in lms]}  # type: ignore[misc]


def spoiled(library: Library, task: Task) -> Found:
    """Ask with the cache on, and look at its files, which may have been spoiled."""

    def ask(number: int) -> str:
        return library.ask(library.lm(task["url"], task["folder"], cache=True), f"question {number}")

    found = ends([tried(partial(ask, number)) for number in range(task["count"])])
    modes = {oct(stat.S_IMODE(path.stat().st_mode)) for path in Path(task["folder"]).rglob("*")}
    return found | {"modes": sorted(modes)}


def missing(library: Library, task: Task) -> Found:
    """Leave an input out."""
    return tried(lambda: library.nothing(library.lm(task["url"], task["folder"], cache=False)))


def memory(library: Library, task: Task) -> Found:
    """Ask once; the most memory that it took, in MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = tried(lambda: library.ask(library.lm(task["url"], task["folder"], cache=False), "?"))
    return found | {"megabytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024}


def threads(library: Library, task: Task) -> Found:
    """Ask the LM in force in a thread of the user's."""
    lm, found = library.lm(task["url"], task["folder"], cache=False), list[Found]()

    def ask() -> None:
        found.append(tried(lambda: library.ask_there("?")))

    def start() -> None:
        thread = threading.Thread(target=library.carried(ask))
        thread.start()
        thread.join()

    library.inside(lm, start)
    return found[0]


CASES: Mapping[str, Callable[[Library, Task], Found]] = {
    "calls": calls,
    "twice": twice,
    "endpoints": endpoints,
    "spoiled": spoiled,
    "missing": missing,
    "memory": memory,
    "threads": threads,
}


def main() -> None:
    """Do one task for each line."""
    library: Library = {"declm": Ours, "dspy": Theirs}[sys.argv[1]]()
    answer(library, CASES)


if __name__ == "__main__":
    main()
