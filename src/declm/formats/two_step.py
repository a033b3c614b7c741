"""The `two_step` format: the LM answers in its own words, and another one reads the outputs from that.

For LMs that lose quality when they must write a form (reasoning models, very small ones). The second
request goes to the LM of the role `extractor`, which is held to the JSON schema where it can be. What
it is given to read stands in a message of its own, between tags that the draft can't close.
Source: "Let Me Speak Freely?" (arXiv 2408.02442), natural language to format.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from typing import Any

from declm.formats.base import Prompt, View, dumped
from declm.formats.marked import over_texts
from declm.formats.tags import guarded, unguarded
from declm.messages import Fields, Message, Request, Response

_TAGS = ("draft",)
"""The tags that `two_step/draft.jinja` puts around a draft."""


class TwoStep:
    """A draft in free words, then its outputs as one JSON object; satisfies `declm.protocols.Drafting`."""

    name = "two_step"

    def render(self, prompt: Prompt, inputs: Mapping[str, Any]) -> Request:
        """Write the request for a draft, for inputs given as JSON values by key."""
        return prompt.request(self, inputs)

    def extraction(self, prompt: Prompt, text: str) -> Request:
        """Write the request that has the outputs read from a draft."""
        words = prompt.part(self.name, "extract").render(prompt.shared)
        quoted = {**prompt.shared, "text": guarded(text, _TAGS)}
        return Request(
            messages=(Message("system", words), Message("user", prompt.part(self.name, "draft").render(quoted))),
            schema=prompt.sayable(prompt.extractor or prompt.capabilities),
            role="extractor",
            cacheable=prompt.cacheable,
        )

    def parse(self, prompt: Prompt, response: Response) -> Fields:
        """Read the outputs from a reply to the extraction.

        Raises:
            ParseError: the reply holds no object with any of the keys.
        """
        found = prompt.read_object(response.text)
        return Fields(over_texts(_unguard, found.values), found.problems, found.repairs)

    def partial(self, prompt: Prompt, text: str) -> dict[str, Any]:
        """The outputs so far, of a reply to the extraction."""
        found = prompt.partial_object(text)
        return {key: over_texts(_unguard, value) for key, value in found.items()}

    def reask(self, prompt: Prompt, request: Request, response: Response, reason: str) -> Request:
        """Write the request that follows an extraction which could not be accepted."""
        return prompt.reask(self, request, response, reason)

    def answer(self, prompt: Prompt, outputs: Mapping[str, Any]) -> str:
        """Write the reply to the extraction that says these outputs, given as JSON values by key."""
        return dumped(over_texts(_guard, {key: outputs[key] for key in prompt.keys if key in outputs}))

    def guard(self, value: Any, keys: Collection[str]) -> Any:
        """The value itself: a draft is read by an LM, so nothing in an input has a meaning of its own."""
        return value

    def write(self, field: View, value: Any) -> str:
        """Text as it is, everything else as JSON."""
        return value if isinstance(value, str) else dumped(value)


_guard = functools.partial(guarded, names=_TAGS)
_unguard = functools.partial(unguarded, names=_TAGS)
