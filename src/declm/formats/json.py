"""The `json` format: the reply is one JSON object, constrained to its schema where the LM can."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from declm.formats.base import Prompt, View, dumped
from declm.formats.parsing import parse_object
from declm.messages import Request, Response


class JSON:
    """Inputs as lines of text, outputs as one JSON object; works with any LM."""

    name = "json"

    def render(self, prompt: Prompt, inputs: Mapping[str, Any]) -> Request:
        """Write the request for inputs given as JSON values by key."""
        return prompt.request(self, inputs, prompt.schema if prompt.capabilities.structured else None)

    def parse(self, prompt: Prompt, response: Response) -> dict[str, Any]:
        """Read the output values by key.

        Raises:
            ParseError: the reply holds no JSON object with any of the keys.
        """
        return parse_object(response.text, prompt.keys)

    def reask(self, prompt: Prompt, request: Request, response: Response, reason: str) -> Request:
        """Write the request that follows a reply which could not be accepted."""
        return prompt.reask(self, request, response, reason)

    def guard(self, value: Any) -> Any:
        """The value itself: nothing that an input holds has a meaning in a JSON reply."""
        return value

    def write(self, field: View, value: Any) -> str:
        """Text as it is, everything else as JSON."""
        return value if isinstance(value, str) else dumped(value)
