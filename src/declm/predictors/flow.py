"""One predictor call as a generator of requests, and the two drivers that run it.

The generator knows neither threads nor event loops nor LMs: it yields requests and receives
responses. Everything about retries at the level of meaning (re-asking) stands here, once.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from declm import settings
from declm.errors import ContentFiltered, ParseError, TruncatedOutput
from declm.formats.base import Prompt
from declm.messages import Request, Response
from declm.protocols import LM, Format
from declm.text import clip
from declm.trace import Call

Flow = Generator[Request, Response, "Answer"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A validated reply: the row with its outputs set, the outputs as parsed, and the reasoning.

    `first` is the request that opened the exchange and `last` the response that ended it: what the
    reply cache keeps, so that a re-asked prompt is a hit next time.
    """

    row: BaseModel
    outputs: dict[str, Any]
    reasoning: str | None
    first: Request
    last: Response


def flow(prompt: Prompt, format: Format, row: BaseModel, retries: int) -> Flow:
    """Ask, read and validate; on failure ask again with the exact error, at most `retries` times.

    Raises:
        ParseError: no acceptable reply came; carries the last reply's text.
        TruncatedOutput: a reply was cut at the token limit.
        ContentFiltered: the provider withheld a reply.
    """
    inputs, _ = prompt.spec.dump(row)
    first = request = replace(format.render(prompt, inputs), sample=settings.current().sample)
    for left in reversed(range(retries + 1)):
        response = yield request
        _check(response)
        try:
            outputs = format.parse(prompt, response)
            reasoning = outputs.pop(prompt.reasoning, None) if prompt.reasoning else None
            done = prompt.spec.complete(row, outputs)
        except ParseError as error:
            if not left:
                raise ParseError(error.reason, text=response.text) from error
            request = format.reask(prompt, request, response, error.reason)
            continue
        return Answer(done, outputs, reasoning or response.reasoning, first, response)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _check(response: Response) -> None:
    if response.finish == "length":
        raise TruncatedOutput(
            f"the reply was cut after {response.usage.output_tokens} tokens: {clip(response.text, 200)!r}; "
            "raise max_tokens",
            text=response.text,
            model=response.model,
        )
    if response.finish == "filter":
        raise ContentFiltered("the provider withheld the reply by its content filter", model=response.model)


def drive(steps: Flow, lm: LM, call: Call | None) -> Answer:
    """Run a flow, blocking."""
    try:
        request = next(steps)
        while True:
            response = lm.complete(request)
            if call is not None:
                call.exchanges.append((request, response))
            request = steps.send(response)
    except StopIteration as stop:
        return _finish(stop.value, lm)


async def adrive(steps: Flow, lm: LM, call: Call | None) -> Answer:
    """Run a flow on the event loop."""
    try:
        request = next(steps)
        while True:
            response = await lm.acomplete(request)
            if call is not None:
                call.exchanges.append((request, response))
            request = steps.send(response)
    except StopIteration as stop:
        return _finish(stop.value, lm)


def _finish(answer: Answer, lm: LM) -> Answer:
    if not answer.last.cached:
        lm.commit(answer.first, answer.last)
    return answer
