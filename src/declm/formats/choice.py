"""Which format a predictor uses."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from declm.errors import BadRequest, UsageError
from declm.formats.chat import Chat
from declm.formats.json import JSON
from declm.formats.native import Native
from declm.formats.two_step import TwoStep
from declm.formats.xml import XML
from declm.messages import Capabilities, NativeMode
from declm.protocols import Format
from declm.text import closest

_FORMATS: Mapping[str, Format] = {made.name: made for made in (Native(), JSON(), Chat(), XML(), TwoStep())}

# What `auto` takes, by the best mode of the provider's API.
_TABLE: Mapping[NativeMode | None, tuple[str, str]] = {
    "json_schema": ("native", "its provider holds replies to a JSON schema"),
    "tools": ("native", "its provider takes tools"),
    "json": ("native", "its provider has a JSON mode"),
    None: ("json", "nothing is known of structured output in its provider's API"),
}

_LOG = logging.getLogger("declm")


@dataclass(frozen=True, slots=True)
class Choice:
    """A format for one LM.

    Args:
        format: what was chosen.
        capabilities: of the LM, as far as the format may rely on them.
        fallback: name of the format to go on with if the provider refuses this one's requests; None
            where the user has named the format, which is taken at its word.
    """

    format: Format
    capabilities: Capabilities
    fallback: str | None = None

    def fall_back(self) -> Choice:
        """The choice that follows a refusal: the same LM, held to nothing."""
        plain = replace(self.capabilities, native=None, structured=False)
        return Choice(choose(self.fallback, plain), plain)

    def log(self, model: str, owner: str) -> None:
        """Say what `auto` took for a model, and why."""
        _, why = _TABLE[self.capabilities.native]
        _LOG.info("%s: format %r for %s, since %s", owner, self.format.name, model, why)

    def log_fallback(self, model: str, owner: str, refusal: BadRequest) -> None:
        """Say that a model goes on in another format."""
        _LOG.warning(
            "%s: %s refuses the format %r, so %r is used from now on; name a format to choose it yourself: %s",
            owner,
            model,
            self.format.name,
            self.fallback,
            refusal,
        )


def choose(name: str | None, capabilities: Capabilities) -> Format:
    """The format of that name; None and `auto` take what suits the LM best.

    Raises:
        UsageError: there is no format of that name.
    """
    if name is None or name == "auto":
        name, _ = _TABLE[capabilities.native]
    try:
        return _FORMATS[name]
    except KeyError:
        near = closest(name, list(_FORMATS))
        hint = f"did you mean {near!r}? " if near else ""
        raise UsageError(f"there is no format {name!r}; {hint}known are auto, {', '.join(_FORMATS)}") from None


def chosen(name: str | None, capabilities: Capabilities) -> Choice:
    """The choice of a format for an LM; what `auto` takes may fall back to `json`.

    Raises:
        UsageError: there is no format of that name.
    """
    format = choose(name, capabilities)
    held = capabilities.structured or capabilities.native is not None
    return Choice(format, capabilities, "json" if held and name in (None, "auto") else None)
