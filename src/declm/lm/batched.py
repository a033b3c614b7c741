"""The transport to a provider's batch API: half the price, and answers within a day."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from declm.errors import BadRequest
from declm.lm.batch_apis import BatchAPI, batch_api
from declm.lm.batches import Account, Batches
from declm.lm.codecs import NotCoded
from declm.lm.gateway import Gateway
from declm.lm.keys import Keys
from declm.lm.lanes import Put, Question
from declm.lm.wire import Refused, Reply
from declm.messages import Capabilities, Chunk, Request
from declm.usage import Usage

_DISCOUNT = 0.5
"""Of every provider whose batch API is spoken here."""

_CONCURRENCY = 50_000
"""Rows that may wait for a job at once; nothing is held for them but their prompts."""


@dataclass(frozen=True, eq=False)
class BatchGateway(Gateway):
    """Sends requests as parts of batch jobs; a reply that is streamed comes in one piece."""

    batches: Batches = field(default_factory=Batches)
    _keys: Keys = field(default_factory=Keys)

    @functools.cached_property
    def _capabilities(self) -> Capabilities:
        return replace(super()._capabilities, concurrency=_CONCURRENCY)

    def estimate(self, request: Request, text: str) -> Usage:
        """What a reply costs, roughly."""
        usage = super().estimate(request, text)
        return replace(usage, usd=usage.usd * _DISCOUNT)

    async def _ask(
        self, request: Request, options: Mapping[str, Any], limit_s: float | None, put: Put | None
    ) -> tuple[Reply, float | None]:
        question, api = self._planned(request, options)
        key = self._keys.of(self.identity, request) if request.cacheable else None
        account = Account(api, self.model, self.account, self._translated)
        outcome = await self.batches.ask(account, key, question)
        if isinstance(outcome, Refused):
            raise outcome
        reply = self._counted(request, question.read(outcome))
        if put is not None:
            put(Chunk(reply.text, reply.reasoning or ""))
        usd = self._prices.usd(reply)
        return reply, None if usd is None else usd * _DISCOUNT

    def _planned(self, request: Request, options: Mapping[str, Any]) -> tuple[Question, BatchAPI]:
        """What is asked, and where.

        Raises:
            BadRequest: it can't be asked in batches.
        """
        with suppress(NotCoded):
            question = self.question(request, options, stream=False)
            api = batch_api(self._provider, self.model.partition("/")[2], question)
            if api is not None:
                return question, api
        raise BadRequest(
            f"{self.model!r} can't be asked through a batch API here: OpenAI, Anthropic, Groq, Mistral and "
            "servers with OpenAI's /batches can, for plain chat completions; leave out batch=True",
            model=self.model,
        )


def through(batches: Batches, gateway: Gateway) -> BatchGateway:
    """The same model and options, through batch jobs."""
    endpoint = gateway.api_base, gateway.api_key
    return BatchGateway(
        gateway.model, gateway.options, *endpoint, gateway.structured, gateway.prompt_cache, batches=batches
    )
