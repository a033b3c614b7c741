"""What replies cost, by a row of litellm's table."""

from __future__ import annotations

from typing import Any

import pytest

from declm.lm.prices import Prices
from declm.lm.wire import Reply

ROW = {"input_cost_per_token": 2e-6, "output_cost_per_token": 8e-6, "cache_read_input_token_cost": 5e-7}


def reply(prompt: int | None = 100, said: int | None = 10, cached: int = 0, written: int = 0) -> Reply:
    return Reply("hi", None, "stop", prompt, said, cached, written)


@pytest.mark.parametrize(
    ("row", "given", "usd"),
    [
        (ROW, reply(), 100 * 2e-6 + 10 * 8e-6),
        (ROW, reply(cached=60), 40 * 2e-6 + 60 * 5e-7 + 10 * 8e-6),
        ({**ROW, "cache_read_input_token_cost": None}, reply(cached=60), 100 * 2e-6 + 10 * 8e-6),
        (ROW, reply(cached=500), 100 * 5e-7 + 10 * 8e-6),
        ({**ROW, "cache_creation_input_token_cost": 3e-6}, reply(written=60), 40 * 2e-6 + 60 * 3e-6 + 10 * 8e-6),
        (ROW, reply(cached=80, written=60), 80 * 5e-7 + 20 * 2e-6 + 10 * 8e-6),
        ({**ROW, "cache_creation_input_token_cost_above_1hr": 9e-6}, reply(), 100 * 2e-6 + 10 * 8e-6),
        ({"input_cost_per_token": 0.0, "output_cost_per_token": 0.0}, reply(), 0.0),
    ],
)
def test_tokens_are_priced_by_the_row(row: dict[str, Any], given: Reply, usd: float) -> None:
    assert Prices("openai/m", row).usd(given) == pytest.approx(usd)


def test_what_is_not_known_has_no_price() -> None:
    assert Prices("openai/m", None).usd(reply()) is None
    assert Prices("openai/m", ROW).usd(reply(prompt=None)) is None


def test_tiers_are_left_to_litellm() -> None:
    row = {**ROW, "input_cost_per_token_above_128k_tokens": 4e-6}
    assert Prices("openai/gpt-4o-mini", row).usd(reply()) == pytest.approx(100 * 0.15e-6 + 10 * 0.6e-6)
    assert Prices("openai/no-such-model", row).usd(reply()) is None
