"""litellm: imported here only, lazily, quietly and without the network."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import sys
import threading
import warnings
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from declm.lm import bridge
from declm.lm.traffic import TRAFFIC

_log = logging.getLogger("declm")

# What litellm warns of, about itself, whenever it first uses a part of itself. It has these ignored, but for as long
# only as nobody resets the filters, as every test of pytest does; where warnings are errors, calls would then fail.
_NOISE: tuple[tuple[type[Warning], str], ...] = (
    (UserWarning, ".*`ReadOnly` qualifier"),
    (UserWarning, ".*conflict with protected namespace"),
    (DeprecationWarning, ".*Accessing the .* attribute on the instance is deprecated"),
    # It makes a coroutine in a thread for a call that may be cancelled by then.
    (RuntimeWarning, "coroutine 'BaseLLMHTTPHandler.*' was never awaited"),
)


def load() -> ModuleType:
    """Import litellm, which takes about two seconds, and keep it quiet and off the network.

    Its price table is read from its own wheel unless `LITELLM_LOCAL_MODEL_COST_MAP` says otherwise.
    """
    _hush()
    return _imported()


@functools.cache
def preload() -> None:
    """Start importing litellm in the background, once: two seconds that the first call need not wait.

    Not where warnings are errors: litellm raises some while it is imported and has them ignored, but
    filters belong to the whole process, and if they change meanwhile the import fails for good.
    """
    if any(action == "error" for action, *_ in warnings.filters):
        return
    thread = threading.Thread(target=available, name="declm-litellm")  # no daemon, see Traffic.close
    thread.start()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=thread.join)  # a child of a half-done import could never finish it


@functools.cache
def available() -> ModuleType | None:
    """The same, or None if it can't be imported: servers that speak OpenAI's wire are asked without it."""
    try:
        return load()
    except ImportError as error:
        _log.warning("litellm can't be imported (%s): prices are unknown, and only OpenAI's wire is spoken", error)
        return None


def part(name: str) -> ModuleType:
    """A module inside litellm, which nobody promises to stay as it is."""
    return import_module(f"litellm.{name}")


def loaded() -> ModuleType | None:
    """litellm, if somebody has imported it already."""
    module = sys.modules.get("litellm")
    if module is None or getattr(module.__spec__, "_initializing", False):  # another thread is at it
        return None
    return available()


@functools.cache
def _imported() -> ModuleType:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    atexit.register(TRAFFIC.close)  # after litellm has registered its own clean-up, and so before that runs
    litellm.suppress_debug_info = True
    if litellm.disable_hf_tokenizer_download is None:  # it would, to count the tokens of a stream
        litellm.disable_hf_tokenizer_download = True
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)  # failures reach the caller as exceptions
    # Builds their Pydantic classes now, while the warnings that this raises are ignored.
    litellm.ModelResponse()
    litellm.ModelResponseStream()
    bridge.register(litellm)
    return litellm


def _hush() -> None:
    """Have litellm's warnings about itself ignored, unless they are already."""
    known = {(kind, getattr(pattern, "pattern", None)) for _, pattern, kind, *_ in warnings.filters}
    for kind, message in _NOISE:
        if (kind, message) not in known:
            warnings.filterwarnings("ignore", message, kind)


def register_local() -> None:
    """Let litellm itself, and instructor over it, answer `local/...` with the engines of this process.

    Only a program that calls litellm directly needs this.

    Example:
        >>> register_local()
        >>> litellm.completion("local/smollm2", messages=[...])  # doctest: +SKIP
    """
    load()


@functools.cache
def needing_litellm() -> frozenset[str]:
    """Options that litellm acts upon itself instead of passing them on; none if it can't be imported."""
    litellm = available()
    names: list[str] = [] if litellm is None else litellm.types.utils.all_litellm_params
    return frozenset(names)


def mapped(model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a model of OpenAI's takes them: some models call them otherwise, or refuse them.

    Raises:
        Exception: litellm's; the model does not take an option, and `drop_params` does not say to leave it out.
    """
    aside = {k: v for k, v in options.items() if k in _AROUND}
    found: dict[str, Any] = load().get_optional_params(
        model=model, custom_llm_provider="openai", **{k: v for k, v in options.items() if k not in aside}
    )
    unknown: Mapping[str, Any] = found.pop("extra_body", None) or {}
    return {**found, **unknown, **aside}


_AROUND = frozenset({"extra_body", "extra_headers"})
"""Options that go along with a request, whatever the model."""
