"""What replies cost, by a model's row in litellm's table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from declm.lm.library import available
from declm.lm.wire import Reply


@dataclass(frozen=True, slots=True)
class Prices:
    """USD per token of one model; looking them up for every reply would take as long as the rest of a call.

    Args:
        model: name with its provider.
        row: of litellm's table, None if it has none.
    """

    model: str
    row: Mapping[str, Any] | None

    def usd(self, reply: Reply) -> float | None:
        """Of a reply; None if the price is unknown, or the server has not counted."""
        row = self.row
        if row is None or reply.input_tokens is None or reply.output_tokens is None:
            return None
        each, out = row.get("input_cost_per_token"), row.get("output_cost_per_token")
        if each is None or out is None or _has_tiers(row):
            return self._asked(reply)
        read, write = row.get("cache_read_input_token_cost"), row.get("cache_creation_input_token_cost")
        # A server may count what it has cached apart from the prompt, but never more than once.
        again = min(reply.cached_tokens, reply.input_tokens)
        written = min(reply.written_tokens, reply.input_tokens - again)
        fresh = reply.input_tokens - again - written
        apart = again * (each if read is None else read) + written * (each if write is None else write)
        return float(fresh * each + apart + reply.output_tokens * out)

    def _asked(self, reply: Reply) -> float | None:
        """By litellm, which knows tiers."""
        litellm = available()
        if litellm is None:
            return None
        try:
            prices: tuple[float, float] = litellm.cost_per_token(
                self.model,
                prompt_tokens=reply.input_tokens,
                completion_tokens=reply.output_tokens,
                cache_read_input_tokens=reply.cached_tokens,
                cache_creation_input_tokens=reply.written_tokens,
            )
        except Exception:  # noqa: BLE001  # litellm raises a bare one for some models without a price
            return None
        return sum(prices)


def _has_tiers(row: Mapping[str, Any]) -> bool:
    """Whether prices rise from some size of the prompt; what is said of an hour in the cache is not asked for here."""
    return any("_above_" in name and not name.endswith("_above_1hr") and row[name] is not None for name in row)
