"""The transport to providers: `Gateway`, through litellm. The only module that imports litellm."""

from __future__ import annotations

import asyncio
import atexit
import functools
import logging
import os
import secrets
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from declm.errors import LMError, ServerError, TimedOut
from declm.lm import bridge
from declm.lm.failures import causes, read_failure, translate
from declm.lm.masking import is_secret, scrub
from declm.lm.schemas import is_strict
from declm.lm.traffic import TRAFFIC
from declm.messages import Capabilities, Finish, Request, Response
from declm.text import canonical, digest, redact
from declm.usage import Usage

# Self-hosted servers that hold replies to a JSON schema, whatever the model.
_CONSTRAINING = frozenset({"hosted_vllm", "lm_studio", "ollama", "ollama_chat", "llamafile"})
# Where a provider's endpoint variable is not named after it.
_VARIABLE_NAMES: Mapping[str, str] = {"ollama_chat": "OLLAMA", "text-completion-openai": "OPENAI"}
_IRRELEVANT = frozenset({"timeout", "drop_params", "metadata", "user"})
_FINISH: Mapping[str, Finish] = {"length": "length", "content_filter": "filter"}


@functools.cache
def load() -> ModuleType:
    """Import litellm, which takes about two seconds, and keep it quiet and off the network.

    Its price table is read from its own wheel unless `LITELLM_LOCAL_MODEL_COST_MAP` says otherwise.
    """
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    atexit.register(TRAFFIC.close)  # after litellm has registered its own clean-up, and so before that runs
    litellm.suppress_debug_info = True
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)  # failures reach the caller as exceptions
    litellm.ModelResponse()  # builds its Pydantic classes now, while the warnings that this raises are ignored
    bridge.register(litellm)
    return litellm


@functools.cache
def preload() -> None:
    """Start importing litellm in the background, once: two seconds that the first call need not wait.

    Not where warnings are errors: litellm raises some while it is imported and has them ignored, but
    filters belong to the whole process, and if they change meanwhile the import fails for good.
    """
    if any(action == "error" for action, *_ in warnings.filters):
        return
    thread = threading.Thread(target=load, name="declm-litellm")  # no daemon, see Traffic.close
    thread.start()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=thread.join)  # a child of a half-done import could never finish it


def register_local() -> None:
    """Let litellm itself, and instructor over it, answer `local/...` with the engines of this process.

    Building any LM of a provider does the same; only a program that calls litellm directly needs this.

    Example:
        >>> register_local()
        >>> litellm.completion("local/smollm2", messages=[...])  # doctest: +SKIP
    """
    load()


@dataclass(frozen=True, eq=False)
class Gateway:
    """Sends each request once, without retries; satisfies `declm.protocols.LM`."""

    model: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    api_base: str | None = None
    api_key: str | None = field(default=None, repr=False)
    structured: bool | None = None

    @property
    def identity(self) -> str:
        """Model, endpoint (also one that the environment sets) and options, without any secret."""
        return f"{self.model} {self._endpoint()} {self._fingerprint}"

    @property
    def capabilities(self) -> Capabilities:
        """By litellm's table; `structured` in `declm.LM` says what holds for a model outside of it.

        Raises:
            UnknownModel: there is no such provider.
        """
        return self._capabilities

    @functools.cached_property
    def _capabilities(self) -> Capabilities:
        info = self._info()
        trusted = info is None and (self.api_base is not None or self._provider in _CONSTRAINING)
        structured = self.structured
        if structured is None:
            structured = trusted or bool(info and info.get("supports_response_schema"))
        return Capabilities(
            structured=structured,
            tools=bool(info and info.get("supports_function_calling")),
            native=structured and info is not None,
            context_tokens=info.get("max_input_tokens") if info else None,
            priced=info is not None,
        )

    def complete(self, request: Request) -> Response:
        """Send the request and wait; Ctrl-C closes the connection."""
        future = TRAFFIC.start(self._send(request))
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def acomplete(self, request: Request) -> Response:
        """Send the request without blocking this event loop; cancelling closes the connection."""
        return await asyncio.wrap_future(TRAFFIC.start(self._send(request)))

    def commit(self, request: Request, response: Response) -> None:
        """Do nothing: there is no cache here."""

    async def _send(self, request: Request) -> Response:
        litellm = load()
        body = self._body(request)
        limit_s = body.get("timeout")
        began_s = time.monotonic()
        try:
            # litellm's own timeout restarts with every byte, so a slow drip would pass it.
            reply = await asyncio.wait_for(litellm.acompletion(**body), limit_s)
        except asyncio.TimeoutError as error:
            raise TimedOut(f"{self.model!r} did not answer within {limit_s} s", model=self.model) from error
        except Exception as error:  # noqa: BLE001  # litellm lets anything through; all is translated
            raise self._translated(error) from self._harmless(error)
        return _response(reply, self.model, time.monotonic() - began_s)

    def _body(self, request: Request) -> dict[str, Any]:
        options = {**self.options, **request.options}
        wanted = None if options.keys() & {"response_format", "tools"} else request.schema
        if wanted is not None and self.capabilities.structured:
            described = {"name": "reply", "schema": wanted, "strict": is_strict(wanted)}
            options["response_format"] = {"type": "json_schema", "json_schema": described}
        if request.options.keys() - {"timeout"}:
            options.setdefault("drop_params", True)  # what a search asks for is a wish, the LM's own options are not
        if "tools" in options:
            options.setdefault("_skip_mcp_handler", True)  # litellm would import a package that it does not require
        return {
            **{k: v for k, v in options.items() if v is not None},
            "model": self.model,
            "messages": [{"role": m.role, "content": m.content} for m in request.messages],
            "api_base": self.api_base,
            "api_key": self.api_key,
            "num_retries": 0,
            "max_retries": 0,
        }

    def _translated(self, error: Exception) -> LMError:
        missing: list[str] = load().validate_environment(self.model).get("missing_keys", [])
        keys = [name for name in missing if is_secret(name)]
        failure = read_failure(self.model, error)
        clean = replace(failure, text=self._scrubbed(failure.text))
        return translate(clean, endpoint=self._endpoint(), variables=keys)

    def _harmless(self, error: Exception) -> Exception | None:
        """The error as a cause to show; None if a traceback of it would show a key that a server echoed."""
        return error if all(self._scrubbed(str(e)) == str(e) for e in causes(error)) else None

    def _scrubbed(self, text: str) -> str:
        return scrub(text, {**self.options, "api_key": self.api_key})

    def _info(self) -> Mapping[str, Any] | None:
        """The model's row in litellm's table."""
        litellm = load()
        try:
            litellm.get_llm_provider(self.model, api_base=self.api_base)
            info: Mapping[str, Any] = litellm.get_model_info(self.model)
        except litellm.exceptions.ModelNotMappedError:
            return None
        except litellm.exceptions.BadRequestError as error:
            raise self._translated(error) from self._harmless(error)
        return info

    @property
    def _provider(self) -> str:
        return self.model.partition("/")[0]

    def _endpoint(self) -> str:
        """URL of an endpoint other than the provider's own, without credentials; else empty."""
        if self.api_base is not None:
            return redact(self.api_base)
        everywhere = getattr(sys.modules.get("litellm"), "api_base", None)
        if everywhere:
            return redact(everywhere)
        name = _VARIABLE_NAMES.get(self._provider, self._provider.upper().replace("-", "_"))
        found = (os.environ.get(f"{name}_{suffix}") for suffix in ("API_BASE", "BASE_URL", "API_URL", "URL"))
        return redact(next((url for url in found if url), ""))

    @functools.cached_property
    def _fingerprint(self) -> str:
        """The options as text; values that are no JSON make it unlike any other LM's."""
        plain = {k: v for k, v in self.options.items() if not is_secret(k) and k not in _IRRELEVANT}
        if self.structured is not None:
            plain["structured"] = self.structured
        headers = {k: _routing(v) for k, v in self.options.items() if k.endswith("headers")}
        try:
            return f"{canonical(plain)} {digest(headers) if headers else ''}".rstrip()
        except TypeError:
            return f"{sorted(plain)} {secrets.token_hex(16)}"


def _routing(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Headers that may choose a deployment, without those that only carry a key."""
    return {k: v for k, v in headers.items() if not is_secret(k.replace("-", "_"))}


def _response(reply: Any, model: str, seconds: float) -> Response:
    if not reply.choices:
        raise ServerError(f"{model!r} answered without any choice", model=model)
    choice = reply.choices[0]
    message = choice.message
    calls = getattr(message, "tool_calls", None)
    text = message.content or (calls[0].function.arguments if calls else "")
    finish: Finish = _FINISH.get(choice.finish_reason, "stop")
    extras: Mapping[str, Any] = getattr(message, "provider_specific_fields", None) or {}
    refusal: str | None = extras.get("refusal")
    if not text and refusal:
        text, finish = refusal, "filter"
    reasoning = getattr(message, "reasoning_content", None)
    return Response(text, reasoning or None, finish, _usage(reply, seconds), model)


def _usage(reply: Any, seconds: float) -> Usage:
    counted = getattr(reply, "usage", None)
    usd: float | None = reply._hidden_params.get("response_cost")  # documented by litellm under this name
    return Usage(
        calls=1,
        input_tokens=getattr(counted, "prompt_tokens", 0) or 0,
        output_tokens=getattr(counted, "completion_tokens", 0) or 0,
        usd=usd or 0.0,
        seconds=seconds,
        unpriced=int(usd is None),
    )
