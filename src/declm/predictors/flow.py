"""One predictor call as a generator of requests, and the two drivers that run it.

The generator knows neither threads nor event loops nor LMs: it yields requests and receives
responses. Everything about retries at the level of meaning (re-asking) stands here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel

from declm import settings
from declm.errors import ContentFiltered, ParseError, TruncatedOutput, UsageError
from declm.formats.base import Prompt
from declm.formats.choices import narrowed, rank
from declm.messages import Request, Response
from declm.protocols import LM, Format
from declm.text import canonical, clip
from declm.trace import MASK
from declm.types import closed_values

Flow = Generator[Request, Response, "Answer"]

Seen = Callable[[Request, Response], None]


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
    probabilities: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])


def flow(prompt: Prompt, format: Format, row: BaseModel, retries: int) -> Flow:
    """Ask, read and validate; on failure ask again with the exact error, at most `retries` times.

    Raises:
        ParseError: no acceptable reply came; carries the last reply's text.
        TruncatedOutput: a reply was cut at the token limit.
        ContentFiltered: the provider withheld a reply.
    """
    hidden = bool(prompt.spec.sensitive)
    inputs, _ = prompt.spec.dump(row)
    drawn = settings.current().sample
    first = request = replace(format.render(prompt, inputs), sample=drawn, logprobs=_alternatives(prompt))
    for left in reversed(range(retries + 1)):
        response = yield request
        _check(response, hidden)
        try:
            outputs = format.parse(prompt, response)
            reasoning = _text(outputs.pop(prompt.reasoning, None)) if prompt.reasoning else None
            probabilities = yield from _decide(prompt, request, response, outputs)
            done = prompt.spec.complete(row, outputs)
        except ParseError as error:
            if not left:
                raise ParseError(error.reason, text=MASK if hidden else response.text) from (None if hidden else error)
            request = replace(format.reask(prompt, request, response, error.reason), logprobs=first.logprobs)
            continue
        return Answer(done, outputs, reasoning or response.reasoning, first, response, probabilities)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _alternatives(prompt: Prompt) -> int:
    """How many log-probabilities per token the biases need."""
    if not prompt.state.biases:
        return 0
    given = prompt.capabilities.logprobs
    if not given:
        raise UsageError(
            f"the state of {prompt.spec.name} corrects label biases by log-probabilities, which this LM does not give; "
            "optimize the program for this LM, or clear `biases` in its state"
        )
    return given


def _decide(
    prompt: Prompt, request: Request, response: Response, outputs: dict[str, Any]
) -> Generator[Request, Response, dict[str, dict[str, float]]]:
    """Replace closed outputs by the values that win once the biases are added; returns probabilities.

    Where the winner shares its score with others (`card_arrival`, `card_linking` after a reply of
    `declined_transfer`) the question is asked once more for these alone.
    """
    found = dict[str, dict[str, float]]()
    for key, biases in prompt.state.biases.items():
        values = closed_values(prompt.spec.outputs[key].schema) if key in prompt.spec.outputs else None
        ranked = rank(response.tokens, key, values) if values else None
        if values is None or ranked is None:
            continue
        winner, found[key] = ranked.best(biases), ranked.probabilities(biases)
        group = ranked.together[winner]
        if len(group) > 1:
            among = {name: values[name] for name in group}
            again = yield replace(request, schema=narrowed(request.schema, key, list(among.values())))
            closer = rank(again.tokens, key, among)
            winner = closer.best(biases) if closer else winner
        outputs[key] = values[winner]
    return found


def _text(reasoning: Any) -> str | None:
    """Reasoning that a model has written as a list or an object, as JSON."""
    return reasoning if reasoning is None or isinstance(reasoning, str) else canonical(reasoning)


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


def drive(steps: Flow, lm: LM, seen: Seen | None) -> Answer:
    """Run a flow, blocking; `seen` is told of each request and its response."""
    try:
        request = next(steps)
        while True:
            response = lm.complete(request)
            if seen is not None:
                seen(request, response)
            request = steps.send(response)
    except StopIteration as stop:
        return _finish(stop.value, lm)


async def adrive(steps: Flow, lm: LM, seen: Seen | None) -> Answer:
    """Run a flow on the event loop; `seen` is told of each request and its response."""
    try:
        request = next(steps)
        while True:
            response = await lm.acomplete(request)
            if seen is not None:
                seen(request, response)
            request = steps.send(response)
    except StopIteration as stop:
        return _finish(stop.value, lm)


def _finish(answer: Answer, lm: LM) -> Answer:
    if not answer.last.cached:
        lm.commit(answer.first, answer.last)
    return answer
