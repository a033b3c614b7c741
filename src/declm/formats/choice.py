"""Which format a predictor uses."""

from __future__ import annotations

from declm.errors import UsageError
from declm.formats.chat import Chat
from declm.formats.json import JSON
from declm.formats.native import Native
from declm.messages import Capabilities
from declm.protocols import Format
from declm.text import closest

_FORMATS: dict[str, Format] = {made.name: made for made in (Native(), JSON(), Chat())}


def choose(name: str | None, capabilities: Capabilities) -> Format:
    """The format of that name; None and `auto` take what suits the LM best.

    Raises:
        UsageError: there is no format of that name.
    """
    if name is None or name == "auto":
        name = "native" if capabilities.native else "json"
    try:
        return _FORMATS[name]
    except KeyError:
        near = closest(name, list(_FORMATS))
        hint = f"did you mean {near!r}? " if near else ""
        raise UsageError(f"there is no format {name!r}; {hint}known are auto, {', '.join(_FORMATS)}") from None
