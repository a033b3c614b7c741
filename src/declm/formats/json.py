"""The `json` format: the reply is one JSON object, constrained to its schema where the LM can."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from declm.formats.base import Prompt, View, dumped
from declm.messages import Fields, Request, Response


class JSON:
    """Inputs as lines of text, outputs as one JSON object; works with any LM."""

    name = "json"

    def render(self, prompt: Prompt, inputs: Mapping[str, Any]) -> Request:
        """Write the request for inputs given as JSON values by key."""
        return prompt.request(self, inputs, prompt.constraint)

    def parse(self, prompt: Prompt, response: Response) -> Fields:
        """Read the outputs.

        Raises:
            ParseError: the reply holds no object with any of the keys.
        """
        return prompt.read_object(response.text)

    def reask(self, prompt: Prompt, request: Request, response: Response, reason: str) -> Request:
        """Write the request that follows a reply which could not be accepted."""
        return prompt.reask(self, request, response, reason)

    def partial(self, prompt: Prompt, text: str) -> dict[str, Any]:
        """The outputs so far."""
        return prompt.partial_object(text)

    def answer(self, prompt: Prompt, outputs: Mapping[str, Any]) -> str:
        """Write the reply that says these outputs, given as JSON values by key."""
        return prompt.answer(self, outputs)

    def guard(self, value: Any, keys: Collection[str]) -> Any:
        """The value itself: nothing that an input holds has a meaning in a JSON reply."""
        return value

    def write(self, field: View, value: Any) -> str:
        """Text as it is, everything else as JSON."""
        return value if isinstance(value, str) else dumped(value)
