"""What a predictor shows of a reply while it is written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing, closing
from typing import Any

from pydantic import BaseModel

from declm.messages import Request, Response
from declm.predictors.planning import Plan
from declm.protocols import LM, is_drafting

Show = Callable[[Request, str], None]
"""Takes a request and the text of its reply as far as it has come."""

_STEPS = 200
"""A reply is read anew whenever it has grown by one part in this many, so that long ones take linear time."""


class View:
    """Reads the outputs from the text so far and tells them whenever they have changed."""

    def __init__(self, plan: Callable[[], Plan], row: BaseModel, tell: Callable[[BaseModel], None]) -> None:
        self._plan, self._row, self._tell = plan, row, tell
        self._read = 0
        self._last: dict[str, Any] = {}

    def __call__(self, request: Request, text: str) -> None:
        """Show a text that begins with the last one, or a new one."""
        if self._read <= len(text) < self._read + max(1, len(text) // _STEPS):
            return
        self._read = len(text)
        plan = self._plan()  # which may have fallen back to another format
        prompt, format = plan.prompt, plan.choice.format
        if is_drafting(format) and request.role != "extractor":
            return  # a draft holds no outputs yet
        found, outputs = format.partial(prompt, text), prompt.spec.outputs
        values = {outputs[key].name: value for key, value in found.items() if key in outputs}
        if values and values != self._last:
            self._last = values
            self._tell(self._row.model_copy(update=values))


def hear(lm: LM, request: Request, show: Show) -> Response:
    """Ask for a stream, and show the text as it grows."""
    text = ""
    with closing(lm.stream(request)) as chunks:
        for chunk in chunks:
            if chunk.response is not None:
                return chunk.response
            if chunk.text:
                text += chunk.text
                show(request, text)
    raise AssertionError("unreachable: a stream ends with its response")


async def ahear(lm: LM, request: Request, show: Show) -> Response:
    """The same on the event loop."""
    text = ""
    async with aclosing(lm.astream(request)) as chunks:
        async for chunk in chunks:
            if chunk.response is not None:
                return chunk.response
            if chunk.text:
                text += chunk.text
                show(request, text)
    raise AssertionError("unreachable: a stream ends with its response")
