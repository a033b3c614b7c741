"""The local engine as a provider of litellm, so that `litellm.completion("local/...")` works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from declm.errors import BadRequest, ContextTooLong, DeclmError, TimedOut, UnknownModel
from declm.lm.local import ENGINE_OPTIONS, Local
from declm.messages import Message, Request, Response

_STATUS: tuple[tuple[type[DeclmError], int], ...] = (
    (ContextTooLong, 400),
    (BadRequest, 400),
    (UnknownModel, 404),
    (TimedOut, 408),
)


def register(litellm: ModuleType) -> None:
    """Add the provider `local` to an imported litellm, once."""
    if not any(entry["provider"] == "local" for entry in litellm.custom_provider_map):
        litellm.custom_provider_map.append({"provider": "local", "custom_handler": _handler(litellm)})


def _handler(litellm: ModuleType) -> Any:
    base: Any = litellm.CustomLLM

    class Handler(base):  # type: ignore[misc]  # known only once litellm has been imported
        """Answers `local/...` from the engines that `declm.LM` uses."""

        def completion(self, *_: Any, **call: Any) -> Any:
            lm, request = _read(call)
            try:
                return _fill(call["model_response"], lm.complete(request))
            except DeclmError as error:
                raise _failure(litellm, error) from error

        async def acompletion(self, *_: Any, **call: Any) -> Any:
            lm, request = _read(call)
            try:
                return _fill(call["model_response"], await lm.acomplete(request))
            except DeclmError as error:
                raise _failure(litellm, error) from error

    return Handler()


def _read(call: Mapping[str, Any]) -> tuple[Local, Request]:
    options: Mapping[str, Any] = call.get("optional_params") or {}
    loading = {k: v for k, v in options.items() if k in ENGINE_OPTIONS}
    sampling = {k: v for k, v in options.items() if k not in ENGINE_OPTIONS}
    messages = tuple(Message(m["role"], _plain(m.get("content"))) for m in call["messages"])
    if isinstance(call.get("timeout"), (int, float)):
        sampling["timeout"] = call["timeout"]
    return Local(call["model"], loading), Request(messages, options=sampling)


def _plain(content: str | Sequence[Mapping[str, Any]] | None) -> str:
    """The text of a message that may come in parts."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part["text"] for part in content if part.get("type") == "text")


def _fill(reply: Any, response: Response) -> Any:
    choice = reply.choices[0]
    choice.message.content = response.text
    choice.finish_reason = response.finish
    reply.model = response.model
    usage = response.usage
    reply.usage.prompt_tokens = usage.input_tokens
    reply.usage.completion_tokens = usage.output_tokens
    reply.usage.total_tokens = usage.tokens
    return reply


def _failure(litellm: ModuleType, error: DeclmError) -> Exception:
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    failure: Exception = litellm.llms.custom_llm.CustomLLMError(status, error.message)
    return failure
