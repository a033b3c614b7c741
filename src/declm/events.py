"""What callbacks are told: typed events, each with the span that it belongs to.

A span is one thing that takes time: a call of a program or predictor, or a request to an LM with all its
attempts. Its start and its end carry the same `span`; `parent` is the span around it, None for none.
What stands in sensitive fields is in no event, and no key is in any message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from declm.messages import Request, Response
from declm.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something has happened."""

    span: str
    parent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStarted(Event):
    """A program or predictor was called; `path` is its dotted path where that is known, else its name."""

    path: str
    name: str
    is_predictor: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnded(CallStarted):
    """It has returned, or raised `error`; inputs and outputs are JSON values of predictors, by key."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    error: BaseException | None
    usage: Usage
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestStarted(Event):
    """An LM is asked; the cache may know the answer."""

    model: str
    request: Request


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEnded(RequestStarted):
    """It has answered (`response.cached` says whether from the cache), or raised `error` after all attempts."""

    response: Response | None
    error: BaseException | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying(Event):
    """An attempt, counted from 1, has failed; the next one follows after `wait_s` seconds."""

    model: str
    attempt: int
    error: BaseException
    wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited(Event):
    """A call had to wait for a place among those that its account may have in flight or send in a minute."""

    model: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyRead(Event):
    """A reply was read, with what had to be mended in it; `problem` says why it will be asked again, or fails."""

    format: str
    repairs: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProgress(Event):
    """A batch job, by the provider's id and in its words, has outcomes for `done` of `total` requests."""

    model: str
    job: str
    status: str
    done: int
    total: int
