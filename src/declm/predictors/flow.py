"""One predictor call as a generator of requests, and the two drivers that run it.

The generator knows neither threads nor event loops nor LMs: it yields requests and receives
responses. Everything about retries at the level of meaning (re-asking) stands here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from declm import settings
from declm.callbacks import tell_inside
from declm.errors import BadRequest, ContentFiltered, ParseError, TruncatedOutput
from declm.events import ReplyRead
from declm.formats.base import Prompt
from declm.messages import Request, Response
from declm.predictors.watching import Show, ahear, hear
from declm.predictors.weighing import Weighed, alternatives, weigh
from declm.protocols import LM, Format, is_drafting
from declm.text import clip
from declm.trace import MASK

Flow = Generator[Request, Response, "Answer"]

Seen = Callable[[Request, Response], None]

Other = Callable[[BadRequest], Flow]

Exchange = tuple[Request, Response]


@dataclass(slots=True)
class Roles:
    """The LMs of a call; the extractor is the task's LM where none is set."""

    task: LM
    extractor: LM | None = None

    def of(self, request: Request) -> LM:
        """The LM that answers a request, by its role."""
        return self.extractor if request.role == "extractor" and self.extractor is not None else self.task


@dataclass(slots=True)
class Answer:
    """A validated reply: the row with its outputs set, the outputs as parsed, and the reasoning.

    `exchanges` is what the reply cache keeps: the request that opened a conversation with the response
    that ended it, so that a re-asked prompt is a hit next time. It is one, two where a draft came first, and
    more where values of closed outputs were weighed.
    """

    row: BaseModel
    outputs: dict[str, Any]
    reasoning: str | None
    exchanges: tuple[Exchange, ...]
    probabilities: dict[str, dict[str, float]]
    repairs: tuple[str, ...]


_UNWEIGHED = Weighed()


def flow(prompt: Prompt, format: Format, row: BaseModel, retries: int, *, weighs: bool = False) -> Flow:
    """Ask, read and validate; on failure ask again with the exact error, at most `retries` times.

    Outputs that were right in a reply need not be repeated in the next one. A format in two steps asks
    for its draft once; what is asked again is the extraction. `weighs` asks how likely the values of closed
    outputs are.

    Raises:
        ParseError: no acceptable reply came; carries the last reply's text.
        TruncatedOutput: a reply was cut at the token limit.
        ContentFiltered: the provider withheld a reply.
    """
    hidden = bool(prompt.spec.sensitive)
    inputs = prompt.spec.given(row)
    now = settings.current()
    drawn = now.sample
    drafted: tuple[Exchange, ...] = ()
    logprobs = alternatives(prompt, format) if weighs or prompt.state.biases else 0
    request = format.render(prompt, inputs)
    if drawn:
        request = replace(request, sample=drawn)
    if is_drafting(format):
        draft = yield request
        _check_draft(draft, hidden)
        drafted = ((request, draft),)
        request = replace(format.extraction(prompt, draft.text), sample=drawn)
    first = request = replace(request, logprobs=logprobs) if logprobs else request
    right: dict[str, Any] = {}
    for left in reversed(range(retries + 1)):
        response = yield request
        _check(response, hidden)
        outputs = dict(right)
        weighed = _UNWEIGHED
        try:
            fields = format.parse(prompt, response)
            if logprobs:
                weighed = yield from weigh(prompt, request, response, fields.values, whole=weighs)
            outputs |= fields.values
            unreadable = {key: why for key, why in fields.problems.items() if key not in right}
            done = prompt.spec.complete(row, outputs, unreadable)
        except ParseError as error:
            problem = MASK if hidden else error.reason
            tell_inside(ReplyRead, format=format.name, problem=problem)
            if not left:
                raise ParseError(error.reason, text=MASK if hidden else response.text) from (None if hidden else error)
            right = {key: value for key, value in outputs.items() if key not in error.fields}
            request = replace(format.reask(prompt, request, response, error.reason), logprobs=first.logprobs)
            continue
        if now.callbacks:
            tell_inside(ReplyRead, format=format.name, repairs=fields.repairs)
        if len(outputs) > len(fields.values):  # the cache must keep a reply that says all of it
            response = replace(response, text=format.answer(prompt, outputs), tokens=())
        reasoning = outputs.pop(prompt.reasoning, None) if prompt.reasoning else None
        exchanges = (*drafted, (first, response), *weighed.exchanges)
        reasoning = reasoning or exchanges[0][1].reasoning
        return Answer(done, outputs, reasoning, exchanges, weighed.probabilities, fields.repairs)
    raise AssertionError("unreachable: the last attempt returns or raises")


def instead(steps: Flow, accepted: Callable[[], None]) -> Flow:
    """The flow that takes the place of one whose request was refused as it stands.

    `accepted` is called as soon as it gets an answer: a provider that refuses this one as well does not
    mind the format.

    Raises:
        BadRequest: it was refused too.
    """
    request, is_new = next(steps), True
    try:
        while True:
            response = yield request
            if is_new:
                accepted()
                is_new = False
            request = steps.send(response)
    except StopIteration as stop:
        answer: Answer = stop.value
        return answer


def _check(response: Response, hidden: bool) -> None:
    if response.finish == "length":
        text = MASK if hidden else response.text
        raise TruncatedOutput(
            f"the reply was cut after {response.usage.output_tokens} tokens: {clip(text, 200)!r}; raise max_tokens",
            text=text,
            model=response.model,
        )
    if response.finish == "filter":
        raise ContentFiltered("the provider withheld the reply by its content filter", model=response.model)


def _check_draft(draft: Response, hidden: bool) -> None:
    _check(draft, hidden)
    if not draft.text.strip():  # an extractor that gets nothing to read would make something up
        raise ParseError("the draft is empty")


def drive(
    steps: Flow, lms: Roles, seen: Seen | None = None, show: Show | None = None, other: Other | None = None
) -> Answer:
    """Run a flow, blocking.

    Args:
        steps: the flow.
        lms: who answers.
        seen: is told of each request and its response.
        show: is told of the text as it is written.
        other: gives the flow that takes over if the provider refuses a request as it stands; once.

    Raises:
        DeclmError: whatever the flow and the LMs raise.
    """
    try:
        request = next(steps)
        while True:
            try:
                lm = lms.of(request)
                response = lm.complete(request) if show is None else hear(lm, request, show)
            except BadRequest as error:
                if other is None:
                    raise
                steps, other = other(error), None
                request = next(steps)
                continue
            if seen is not None:
                seen(request, response)
            request = steps.send(response)
    except StopIteration as stop:
        return _finish(stop.value, lms)


async def adrive(
    steps: Flow, lms: Roles, seen: Seen | None = None, show: Show | None = None, other: Other | None = None
) -> Answer:
    """Run a flow on the event loop; as `drive`."""
    try:
        request = next(steps)
        while True:
            try:
                lm = lms.of(request)
                response = await (lm.acomplete(request) if show is None else ahear(lm, request, show))
            except BadRequest as error:
                if other is None:
                    raise
                steps, other = other(error), None
                request = next(steps)
                continue
            if seen is not None:
                seen(request, response)
            request = steps.send(response)
    except StopIteration as stop:
        return _finish(stop.value, lms)


def _finish(answer: Answer, lms: Roles) -> Answer:
    for request, response in answer.exchanges:
        if not response.cached:
            lms.of(request).commit(request, response)
    return answer
