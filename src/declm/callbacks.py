"""Telling callbacks: who listens, and which span is open here."""

from __future__ import annotations

import functools
import logging
import secrets
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from declm import settings
from declm.events import Event
from declm.text import redact

_log = logging.getLogger("declm")

_span: ContextVar[str | None] = ContextVar("declm_span", default=None)


def listening() -> bool:
    """Whether anybody is told; where nobody is, no event is made."""
    return bool(settings.current().callbacks)


def tell(event: Event) -> None:
    """Call every callback in force; one that raises is logged once, and harms nothing."""
    for callback in settings.current().callbacks:
        _call(callback, event)


def _call(callback: settings.Callback, event: Event) -> None:
    try:
        callback(event)
    except Exception as error:  # noqa: BLE001  # a user's code, which must not break the call
        _complain(repr(callback), redact(repr(error)))


@functools.lru_cache(maxsize=256)
def _complain(callback: str, error: str) -> None:
    _log.warning("the callback %s raised %s; it goes on being called, and this is logged once", callback, error)


def tell_inside(make: Callable[..., Event], **data: Any) -> None:
    """Tell of something that belongs to the span that is open here."""
    if listening():
        span = _span.get()
        tell(make(span=span or "", **data))


@contextmanager
def spanned() -> Generator[tuple[str, str | None]]:
    """Open a span; gives its name and its parent's."""
    parent, span = _span.get(), secrets.token_hex(8)
    token = _span.set(span)
    try:
        yield span, parent
    finally:
        _span.reset(token)
