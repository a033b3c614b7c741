"""The transport to providers: `Gateway`, through litellm. The only module that imports litellm."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from declm.errors import LMError, TimedOut
from declm.lm.failures import read_failure, translate
from declm.lm.masking import is_secret
from declm.lm.traffic import TRAFFIC
from declm.messages import Capabilities, Finish, Request, Response
from declm.text import canonical, digest
from declm.usage import Usage


@functools.cache
def load() -> ModuleType:
    """Import litellm, which takes about two seconds, and keep it quiet and off the network.

    Its price table is read from its own wheel unless `LITELLM_LOCAL_MODEL_COST_MAP` says otherwise.
    """
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)  # failures reach the caller as exceptions
    return litellm


@functools.cache
def preload() -> None:
    """Start importing litellm in the background, once: two seconds that the first call need not wait."""
    threading.Thread(target=load, name="declm-litellm", daemon=True).start()


@dataclass(frozen=True, slots=True)
class Facts:
    """What litellm's table says about a model."""

    capabilities: Capabilities
    variables: tuple[str, ...]


@dataclass(frozen=True)
class Gateway:
    """Sends each request once, without retries; satisfies `declm.protocols.LM`."""

    model: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    api_base: str | None = None
    api_key: str | None = field(default=None, repr=False)
    structured: bool | None = None

    @property
    def identity(self) -> str:
        """Model, endpoint and options; secrets only as far as they tell endpoints apart, as a hash."""
        plain = {k: v for k, v in self.options.items() if not is_secret(k) and k != "timeout"}
        return f"{self.model} {_endpoint(self.model, self.api_base)} {canonical(_described(plain))}"

    @property
    def capabilities(self) -> Capabilities:
        """By litellm's table; see `structured` in `declm.LM` for a model that is not in it."""
        return self._facts.capabilities
