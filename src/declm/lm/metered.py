"""Budgets: every attempt that is sent is charged to each meter in force."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from declm import protocols, settings
from declm.errors import UsageError
from declm.lm.base import Layer, Send, Steps, received
from declm.lm.streams import rough_usage
from declm.messages import Request
from declm.usage import ATTEMPT, Usage


class Metered(Layer):
    """Charges each send, also one that fails; cache hits never get here.

    Args:
        estimate: what a reply that was left unfinished has cost, by its request and the text that
            came; a provider counts only what it finishes.
        ahead: claim what a prompt alone will cost before it is sent, where many calls fly before the first
            is paid for.
    """

    def __init__(
        self,
        inner: protocols.LM,
        estimate: Callable[[Request, str], Usage] = rough_usage,
        *,
        ahead: bool = False,
    ) -> None:
        super().__init__(inner)
        self._estimate = estimate
        self._ahead = ahead

    def steps(self, request: Request) -> Steps:
        """Reserve, send, settle.

        Raises:
            BudgetExceeded: a budget leaves no room; nothing has been sent.
            UsageError: a budget in USD is in force and the price of this LM is unknown.
        """
        self._check_price()
        send = Send(request)
        expected = replace(self._estimate(request, ""), calls=1) if self._ahead else ATTEMPT
        with settings.charged(expected) as bill:
            bill.usage = Usage(calls=1)
            try:
                response = received((yield send))
            except BaseException:
                if send.shown:
                    bill.usage = self._estimate(request, "".join(c.reasoning + c.text for c in send.shown))
                raise
            bill.usage = response.usage
        return response

    def _check_price(self) -> None:
        limited = any(meter.budget.usd is not None for meter in settings.meters())
        if limited and not self.capabilities.priced:
            raise UsageError(
                f"the price of {self.model!r} is unknown, so Budget(usd=...) can't be kept; "
                "limit calls or tokens instead, or give its price to litellm.register_model before the first call"
            )
