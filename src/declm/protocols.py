"""What the upper layers implement: `LM`, `Format`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from typing import Any, Protocol, TypeGuard, runtime_checkable

from declm.messages import Capabilities, Chunk, Fields, Request, Response


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

    def stream(self, request: Request) -> Generator[Chunk]:
        """Answer one request piece by piece; the last chunk carries the whole `Response`.

        Nothing is sent before the first chunk is asked for; errors as in `complete`, with any chunk.
        `close()`, or leaving the loop, ends the work: the connection is closed or decoding stopped,
        and budgets are charged with what is known to have been spent.
        """
        ...

    def astream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Answer one request piece by piece without blocking the event loop; as `stream`.

        `aclose()` and cancellation end the work at once; after a mere `break` the event loop does so
        a moment later, as for every async generator.
        """
        ...

    def commit(self, request: Request, response: Response) -> None:
        """Keep a reply that has been validated; LMs without a cache do nothing."""
        ...


def is_lm(value: object) -> TypeGuard[LM]:
    """Whether a value has the methods of an LM.

    `isinstance(value, LM)` would read the properties on older Pythons, and `capabilities` may have to
    import a provider's library.
    """
    methods = ("complete", "acomplete", "stream", "astream", "commit")
    return all(callable(getattr(value, name, None)) for name in methods)


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

    def parse(self, prompt: Any, response: Response) -> Fields:
        """Read the outputs that the reply holds.

        Raises:
            ParseError: the reply can't be read, or holds none of them.
        """
        ...

    def partial(self, prompt: Any, text: str) -> dict[str, Any]:
        """The outputs that the beginning of a reply shows so far, validated one by one, by key."""
        ...

    def answer(self, prompt: Any, outputs: Mapping[str, Any]) -> str:
        """Write the reply that says these outputs, given as JSON values by key."""
        ...

    def reask(self, prompt: Any, request: Request, response: Response, reason: str) -> Request:
        """Write the request that follows a reply which could not be accepted, giving the reason."""
        ...


class Drafting(Format, Protocol):
    """A format in two steps: `render` asks for a draft in free words, `extraction` for its values.

    `parse` and `reask` are about replies to the extraction.
    """

    def extraction(self, prompt: Any, text: str) -> Request:
        """Write the request that has the outputs read from a draft; its role is `extractor`."""
        ...


def is_drafting(format: Format) -> TypeGuard[Drafting]:
    """Whether a format takes two steps; `isinstance` of a protocol takes as long as a fifth of a call."""
    return getattr(format, "extraction", None) is not None
