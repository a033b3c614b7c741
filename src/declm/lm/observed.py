"""What callbacks are told of the requests to an LM."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from declm.callbacks import spanned, tell
from declm.events import RequestEnded, RequestStarted
from declm.lm.base import Layer, Send, Steps, received
from declm.messages import Request, Response

_MASK = "***"


class Observed(Layer):
    """Tells of each request and how it ended; outside of the cache, so that hits are seen too."""

    def steps(self, request: Request) -> Steps:
        """Ask the LM inside."""
        response: Response | None = None
        error: BaseException | None = None
        asked: dict[str, Any] = {"model": self.model, "request": _public(request)}
        began_s = time.perf_counter()
        with spanned() as (span, parent):
            tell(RequestStarted(span=span, parent=parent, **asked))
            try:
                response = answer = received((yield Send(request)))
            except BaseException as raised:
                error = raised
                raise
            finally:
                said = response if response is None or request.cacheable else _without_words(response)
                seconds = time.perf_counter() - began_s
                tell(RequestEnded(span=span, parent=parent, **asked, response=said, error=error, seconds=seconds))
        return answer


def _public(request: Request) -> Request:
    """The request, without its words where one of them is sensitive."""
    return request if request.cacheable else replace(request, messages=())


def _without_words(response: Response) -> Response:
    return replace(response, text=_MASK, reasoning=None, tokens=())
