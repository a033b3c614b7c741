"""The progress bar of evaluations and searches."""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any


class Progress:
    """A bar with a few figures behind it; silent where nobody watches."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    @property
    def is_shown(self) -> bool:
        """Whether anybody watches."""
        return self._bar is not None

    def advance(self, steps: int = 1, figures: Mapping[str, str] | None = None) -> None:
        """Move on and show figures such as `{"score": "0.71"}`."""
        if self._bar is None:
            return
        if figures is not None:
            self._bar.set_postfix(figures, refresh=False)
        self._bar.update(steps)

    def describe(self, text: str) -> None:
        """Change the words before the bar."""
        if self._bar is not None:
            self._bar.set_description(text)

    def write(self, text: str) -> None:
        """Print a line above the bar; nothing is printed where there is no bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)


@contextmanager
def progress(
    total: int | None, description: str, show: bool | None, unit: str = "row"
) -> Generator[Progress, None, None]:
    """Show a bar inside the block.

    Args:
        total: steps to go; None if nobody knows.
        description: words before the bar.
        show: None shows it on a terminal and in a notebook.
        unit: what a step is.
    """
    if show is False or (show is None and not _is_watched()):
        yield Progress(None)
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=description, unit=unit, dynamic_ncols=True) as bar:
        yield Progress(bar)


def _is_watched() -> bool:
    return "ipykernel" in sys.modules or sys.stderr.isatty()
