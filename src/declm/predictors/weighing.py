"""How likely the LM found each value of closed outputs, and decisions by that.

Steps of a `flow`: they yield requests and receive responses.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Any

from declm.errors import UsageError
from declm.formats.base import Prompt
from declm.formats.choices import Ranked, narrowed, rank
from declm.messages import Request, Response
from declm.protocols import Format, is_drafting
from declm.types import closed_values


@dataclass(slots=True)
class Weighed:
    """Probabilities by output and value, and what else was asked to find them."""

    probabilities: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    exchanges: tuple[tuple[Request, Response], ...] = ()


_UNMARKED = frozenset({"chat", "xml"})
"""Formats whose replies are no JSON, in which `rank` finds no value."""

Steps = Generator[Request, Response, Weighed]


def alternatives(prompt: Prompt, format: Format) -> int:
    """How many log-probabilities per token are asked for.

    Raises:
        UsageError: the LM gives none, or the replies of the format don't show where a value stands.
    """
    if format.name in _UNMARKED:
        raise UsageError(
            f"values are weighed in JSON replies only: format={format.name!r} can't tell how likely they are"
        )
    asked = (prompt.extractor if is_drafting(format) else None) or prompt.capabilities
    if asked.logprobs:
        return asked.logprobs
    if not prompt.state.biases:
        raise UsageError(
            f"{prompt.spec.name} is asked for probabilities, and this LM gives no log-probabilities; a local model does"
        )
    raise UsageError(
        f"the state of {prompt.spec.name} corrects label biases by log-probabilities, which this LM does not give; "
        "optimize the program for this LM, or clear `biases` in its state"
    )


def weigh(prompt: Prompt, request: Request, response: Response, outputs: dict[str, Any], *, whole: bool) -> Steps:
    """Find the probabilities of closed outputs, and replace those by the values that win once biases are added.

    Args:
        prompt: whose state may hold biases.
        request: that was answered.
        response: with its tokens.
        outputs: as read from the response; changed in place.
        whole: weigh every value of every closed output. Values that share a score, since the reply went another
            way before they part from each other, are asked for once more among themselves.
    """
    found, biases = Weighed(), prompt.state.biases
    for key in prompt.spec.outputs if whole else biases:
        values = closed_values(prompt.spec.outputs[key].schema) if key in prompt.spec.outputs else None
        ranked = rank(response.tokens, key, values, spelled=whole) if values else None
        if values is None or ranked is None:
            continue
        if whole:
            ranked = yield from _parted(request, key, values, ranked, found)
        found.probabilities[key] = ranked.probabilities(biases.get(key, {}))
        if key not in biases:
            continue
        winner = ranked.best(biases[key])
        group = ranked.together[winner]
        if len(group) > 1:
            closer = yield from _among(request, key, {name: values[name] for name in group}, found, spelled=False)
            winner = closer.best(biases[key]) if closer else winner
        outputs[key] = values[winner]
    return found


def _parted(
    request: Request, key: str, values: dict[str, Any], ranked: Ranked, found: Weighed
) -> Generator[Request, Response, Ranked]:
    """A score of its own for each value."""
    scores, todo = dict(ranked.scores), _shared(ranked)
    while todo:
        group = todo.pop()
        closer = yield from _among(request, key, {name: values[name] for name in group}, found, spelled=True)
        if closer is not None:
            scores |= closer.scores
            todo += [smaller for smaller in _shared(closer) if len(smaller) < len(group)]
    return Ranked(scores, {name: (name,) for name in scores})


def _shared(ranked: Ranked) -> list[tuple[str, ...]]:
    return [group for group in dict.fromkeys(ranked.together.values()) if len(group) > 1]


def _among(
    request: Request, key: str, values: dict[str, Any], found: Weighed, *, spelled: bool
) -> Generator[Request, Response, Ranked | None]:
    """Ask once more, for some of the values only."""
    asked = replace(request, schema=narrowed(request.schema, key, list(values.values())))
    again = yield asked
    closer = rank(again.tokens, key, values, spelled=spelled)
    if closer is not None:
        found.exchanges += ((asked, again),)
    return closer
