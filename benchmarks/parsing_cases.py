"""Cases of parsing: raw replies with the values that they mean, and whether a value that was read is that one."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

LEFT_OUT = frozenset({"disputed", "bare-str"})
"""Tags of cases that are not counted: one library's own convention, and texts that are kept as they are."""

Resolve = Callable[[str], Any]
"""Makes the type of a case's `type`."""


@dataclass(frozen=True)
class Case:
    """A raw reply; `expected` is JSON, or `{"error": true}` where it must be refused."""

    id: str
    raw: str
    type: str
    expected: Any
    streaming: bool = False
    tags: tuple[str, ...] = ()

    @property
    def is_refusal(self) -> bool:
        """Whether the reply must be refused."""
        return self.expected == {"error": True}

    @property
    def counts(self) -> bool:
        """Whether the right answer is beyond dispute."""
        return not LEFT_OUT.intersection(self.tags)


@dataclass(frozen=True)
class Outcome:
    """What a parser made of a case: JSON, or the error with which it refused."""

    value: Any = None
    error: str | None = None


def read_cases(folder: Path) -> list[Case]:
    """The cases that count, from `cases.jsonl`."""
    lines = (json.loads(line) for line in (folder / "cases.jsonl").read_text("utf-8").splitlines())
    cases = [
        Case(one["id"], one["raw"], one["python_type"], one["expected"], bool(one["streaming"]), tuple(one["tags"]))
        for one in lines
    ]
    return [case for case in cases if case.counts]


def load_types(folder: Path) -> Resolve:
    """The `resolve` of `types_registry.py`, which is executed: take it from people you trust.

    Raises:
        FileNotFoundError: there is no such file.
    """
    file = folder / "types_registry.py"
    spec = importlib.util.spec_from_file_location(f"types_registry_{crc32(bytes(file.resolve()))}", file)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # so that annotations that are texts find their names
    spec.loader.exec_module(module)
    resolve: Resolve = module.resolve
    return resolve


def agrees(case: Case, outcome: Outcome) -> bool:
    """Whether the outcome is what the case expects.

    With the tag `ws` texts compare without the space around them; in what is still streaming a
    member that is null counts as absent.
    """
    if case.is_refusal or outcome.error is not None:
        return case.is_refusal and outcome.error is not None
    wanted, found = case.expected, outcome.value
    if "ws" in case.tags:
        wanted, found = _stripped(wanted), _stripped(found)
    if case.streaming:
        wanted, found = _known(wanted), _known(found)
    return _same(wanted, found)


def rate(cases: Sequence[Case], outcomes: Mapping[str, Outcome]) -> tuple[int, int]:
    """How many of the cases were read rightly, and of how many."""
    return sum(agrees(case, outcomes[case.id]) for case in cases), len(cases)


def as_line(case: Case) -> str:
    """The case as a line of JSON, for a parser in another process."""
    return json.dumps(asdict(case))


def _same(one: Any, other: Any) -> bool:
    """Equality that tells true from 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stripped(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_stripped(inner) for inner in value]
    return value.strip() if isinstance(value, str) else value


def _known(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _known(inner) for key, inner in value.items() if inner is not None}
    return [_known(inner) for inner in value] if isinstance(value, list) else value
