"""LoRA adapters of local models: small files that change what a model was trained for (arXiv 2106.09685)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from declm.errors import UnknownModel, UsageError
from declm.lm.gguf import read_header
from declm.text import clip


@dataclass(frozen=True, slots=True)
class Adapter:
    """A file, and how strongly it acts: 1 is what it was trained for."""

    path: Path
    strength: float = 1.0

    @property
    def identity(self) -> str:
        """Text that changes with the file and the strength."""
        try:
            state = self.path.stat()
        except OSError:
            return f"{self.path} {self.strength:g}"
        return f"{self.path} {state.st_size} {state.st_mtime_ns} {self.strength:g}"

    def check(self) -> None:
        """Raise UnknownModel if there is no such file, or it holds no adapter."""
        kind = read_header(self.path).get("general.type")
        if kind != "adapter":
            raise UnknownModel(f"{str(self.path)!r} is a GGUF file of a {kind or 'model'}, not a LoRA adapter")


def adapters(given: Any) -> tuple[Adapter, ...]:
    """The adapters that an option names: a path, or a mapping from paths to strengths.

    Raises:
        UsageError: it is something else.
    """
    if given is None:
        return ()
    if isinstance(given, str | Path):
        given = {given: 1.0}
    shown = clip(repr(given), 80)
    if not isinstance(given, Mapping):
        raise UsageError(f"lora={shown} must be a path, or a mapping from paths to strengths")
    found: list[Adapter] = []
    for path, strength in cast("Mapping[object, object]", given).items():
        if not isinstance(path, str | Path) or not isinstance(strength, int | float) or not math.isfinite(strength):
            raise UsageError(f"lora={shown} must map paths to numbers")
        found.append(Adapter(Path(path).expanduser().resolve(), float(strength)))
    return tuple(found)
