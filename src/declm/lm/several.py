"""What layers around several LMs share: who answered, what all of them can do, what all of them failed at."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from typing_extensions import Self

from declm import protocols
from declm.errors import LMError, UsageError
from declm.lm.base import Layer
from declm.lm.batches import Batches
from declm.lm.model import resolve
from declm.messages import Capabilities, Request, Response
from declm.usage import Usage


@dataclass(frozen=True, slots=True)
class Answered(Response):
    """A reply, and which of several LMs gave it: that one may keep it."""

    by: protocols.LM | None = None


class Several(Layer):
    """A layer around several LMs; names are resolved as in `declm.configure(lm=...)`.

    Raises:
        UsageError: there is no LM among them.
    """

    def __init__(self, lms: Sequence[protocols.LM | str]) -> None:
        if isinstance(lms, str) or not lms:
            raise UsageError(f"lms={lms!r} must be a list of LMs or of their names")
        self._lms = tuple(resolve(lm) for lm in lms)
        super().__init__(self._lms[0])

    @property
    def model(self) -> str:
        """The names of all."""
        return f"{type(self).__name__.lower()}({', '.join(lm.model for lm in self._lms)})"

    @property
    def identity(self) -> str:
        """That of all, in order."""
        return f"{type(self).__name__}{[lm.identity for lm in self._lms]}"

    @property
    def capabilities(self) -> Capabilities:
        """What each of them can do; a prompt is written once, whoever answers it."""
        return common([lm.capabilities for lm in self._lms])

    def commit(self, request: Request, response: Response) -> None:
        """Hand a validated reply to the LM that gave it."""
        if isinstance(response, Answered) and response.by is not None:
            response.by.commit(request, response)

    def batched(self, batches: Batches) -> Self:
        """The same around the same LMs, each asked through batch jobs.

        Raises:
            UsageError: one of them has no batch API.
        """
        other = copy.copy(self)
        other._lms = tuple(batches.of(lm) for lm in self._lms)
        other._inner = other._lms[0]
        return other

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self._lms)!r})"


def common(each: Sequence[Capabilities]) -> Capabilities:
    """The capabilities that all have; schemas only where all take the same subset."""
    first = each[0]
    windows = [one.context_tokens for one in each if one.context_tokens is not None]
    alike = all(one.schemas == first.schemas for one in each)
    return Capabilities(
        structured=alike and all(one.structured for one in each),
        tools=all(one.tools for one in each),
        native=first.native if alike and all(one.native == first.native for one in each) else None,
        schemas=first.schemas if alike else "all",
        context_tokens=min(windows, default=None),
        concurrency=min(one.concurrency for one in each),
        logprobs=min(one.logprobs for one in each),
        priced=all(one.priced for one in each),
    )


def answered(response: Response, by: protocols.LM, spent: Usage) -> Answered:
    """The reply with who gave it, and with what others have spent on it before."""
    said = response.text, response.reasoning, response.finish, spent + response.usage
    return Answered(*said, response.model, response.cached, response.tokens, by=by)


def note(failures: dict[str, LMError], lm: protocols.LM, error: LMError) -> None:
    """Keep the failure of one of them by its name, numbered where two have the same."""
    failures[f"{lm.model} ({len(failures) + 1})" if lm.model in failures else lm.model] = error


def failed(failures: Mapping[str, LMError]) -> LMError:
    """The error of several: of the kind of the first, naming all."""
    first = copy.copy(next(iter(failures.values())))
    first.calls = sum(error.calls for error in failures.values())
    if len(failures) > 1:
        listed = "; ".join(f"{name}: {type(error).__name__}: {error.message}" for name, error in failures.items())
        first.message = f"none of {len(failures)} LMs has answered: {listed}"
        first.args = (first.message,)
    return first
