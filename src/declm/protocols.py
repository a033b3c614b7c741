"""What the upper layers implement: `LM`, `Format`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeGuard, runtime_checkable

from declm.messages import Capabilities, Request, Response


@runtime_checkable
class LM(Protocol):
    """Answers requests; knows nothing of signatures.

    Implemented by `dm.LM`, by the wrappers in `declm.lm` and by the doubles in `declm.testing`.
    """

    @property
    def model(self) -> str:
        """Name, such as `openai/gpt-5-mini`."""
        ...

    @property
    def identity(self) -> str:
        """Text that differs whenever replies may differ: model, endpoint, sampling options."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do, as data."""
        ...

    def complete(self, request: Request) -> Response:
        """Answer one request.

        Raises:
            LMError: of the kind that fits the failure.
            BudgetExceeded: a budget in force leaves no room for the call.
        """
        ...

    async def acomplete(self, request: Request) -> Response:
        """Answer one request without blocking the event loop; errors as in `complete`."""
        ...

    def commit(self, request: Request, response: Response) -> None:
        """Keep a reply that has been validated; LMs without a cache do nothing."""
        ...


def is_lm(value: object) -> TypeGuard[LM]:
    """Whether a value has the methods of an LM.

    `isinstance(value, LM)` would read the properties on older Pythons, and `capabilities` may have to
    import a provider's library.
    """
    return all(callable(getattr(value, name, None)) for name in ("complete", "acomplete", "commit"))


class Format(Protocol):
    """Turns a prompt and inputs into a request, and a response into fields; pure, holds no LM.

    `prompt` is `declm.formats.base.Prompt`: the signature at one predictor state.
    """

    @property
    def name(self) -> str:
        """Name in states and templates, such as `json`."""
        ...

    def render(self, prompt: Any, inputs: Mapping[str, Any]) -> Request:
        """Write the request for inputs given as JSON values by key."""
        ...

    def parse(self, prompt: Any, response: Response) -> dict[str, Any]:
        """Read the output values by key.

        Raises:
            ParseError: the reply can't be read.
        """
        ...

    def reask(self, prompt: Any, request: Request, response: Response, reason: str) -> Request:
        """Write the request that follows a reply which could not be accepted, giving the reason."""
        ...
