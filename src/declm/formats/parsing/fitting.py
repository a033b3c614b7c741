"""What fitting raw values to shapes yields: a value with its cost, or a misfit; what each repair costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from declm.formats.parsing.labels import SENTENCE
from declm.formats.parsing.nodes import Raw, Repair
from declm.formats.parsing.shapes import Shape

COSTS: Mapping[str, float] = {
    "": 0.0,
    "number for a decimal": 0.05,
    "default": 0.1,
    "case": 0.2,
    "unquoted": 0.3,
    "spelling of a key": 0.5,
    "number": 1,
    "truth value": 1,
    "decoration": 1,
    "spelling": 1.5,
    "text for a number": 1,
    "date": 1,
    "time": 1,
    "duration": 1,
    "extra key": 1.5,
    "number for a text": 2,
    "JSON inside a text": 2,
    "no value": 3,
    SENTENCE: 4,
    "single value for a list": 4,
    "list of one for a value": 4,
    "list in words": 4,
    "field without its object": 6,
    "object around a value": 6,
    "object for a text": 8,
}


class Misfit(Exception):
    """A value does not fit; `reason` says why, `path` where."""

    def __init__(self, reason: str, path: str) -> None:
        super().__init__(reason)
        self.reason, self.path = reason, path

    @property
    def told(self) -> str:
        """Place and reason."""
        return f"{self.path}: {self.reason}" if self.path else self.reason


@dataclass(frozen=True, slots=True)
class Fit:
    """A value that a type may be validated with (JSON, but for what Pydantic reads from texts)."""

    value: Any
    cost: float = 0.0
    repairs: tuple[Repair, ...] = ()

    def with_repair(self, kind: str, path: str, detail: object = "") -> Fit:
        """The same fit at the cost of one more repair."""
        if not kind:
            return self
        return Fit(self.value, self.cost + COSTS[kind], (*self.repairs, Repair(kind, path, str(detail)[:80])))


class Fitter(Protocol):
    """Fits raw values to shapes."""

    def fit(self, raw: Raw, shape: Shape, path: str = "") -> Fit:
        """The cheapest way to read `raw` as `shape`; a Misfit if there is none."""
        ...

    def inside(self, raw: str) -> Iterable[Raw]:
        """The values that a text may hold as JSON."""
        ...


def cheapest(ways: Iterable[Callable[[], Fit]], refused: Misfit | None = None) -> Fit:
    """The fit of the way that costs least.

    Raises:
        Misfit: `refused`, or else that of the first way, where none leads to a fit.
    """
    best: Fit | None = None
    for way in ways:
        try:
            found = way()
        except Misfit as misfit:
            refused = refused or misfit
            continue
        best = found if best is None or found.cost < best.cost else best
    if best is None:
        raise refused or Misfit("nothing fits", "")
    return best
