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
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from declm.errors import LMError, ServerError, TimedOut, TransportError
from declm.lm import bridge
from declm.lm.failures import causes, read_failure, translate, unwrapped
from declm.lm.masking import is_secret, scrub
from declm.lm.modes import native_mode, schema_rules
from declm.lm.schemas import is_strict
from declm.lm.streams import areceive, receive, rough_usage
from declm.lm.traffic import TRAFFIC
from declm.messages import Capabilities, Chunk, Finish, Request, Response
from declm.text import canonical, digest, redact
from declm.usage import Usage

# Self-hosted servers that hold replies to a JSON schema, whatever the model.
_CONSTRAINING = frozenset({"hosted_vllm", "lm_studio", "ollama", "ollama_chat", "llamafile"})
# Where a provider's endpoint variable is not named after it.
_VARIABLE_NAMES: Mapping[str, str] = {"ollama_chat": "OLLAMA", "text-completion-openai": "OPENAI"}
_CLIENT_TIMEOUT_S = 86_400.0
"""Of litellm's own clients, the same for every call; our own limit is the one that holds."""

_IRRELEVANT = frozenset({"timeout", "drop_params", "metadata", "user"})
_FINISH: Mapping[str, Finish] = {"length": "length", "content_filter": "filter"}


# What litellm warns of, about itself, whenever it first uses a part of itself. It has these ignored, but for as long
# only as nobody resets the filters, as every test of pytest does; where warnings are errors, calls would then fail.
_NOISE: tuple[tuple[type[Warning], str], ...] = (
    (UserWarning, ".*`ReadOnly` qualifier"),
    (UserWarning, ".*conflict with protected namespace"),
    (DeprecationWarning, ".*Accessing the .* attribute on the instance is deprecated"),
    # It makes a coroutine in a thread for a call that may be cancelled by then.
    (RuntimeWarning, "coroutine 'BaseLLMHTTPHandler.*' was never awaited"),
)


def load() -> ModuleType:
    """Import litellm, which takes about two seconds, and keep it quiet and off the network.

    Its price table is read from its own wheel unless `LITELLM_LOCAL_MODEL_COST_MAP` says otherwise.
    """
    _hush()
    return _imported()


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


@functools.cache
def _imported() -> ModuleType:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    atexit.register(TRAFFIC.close)  # after litellm has registered its own clean-up, and so before that runs
    litellm.suppress_debug_info = True
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)  # failures reach the caller as exceptions
    # Builds their Pydantic classes now, while the warnings that this raises are ignored.
    litellm.ModelResponse()
    litellm.ModelResponseStream()
    bridge.register(litellm)
    return litellm


def _hush() -> None:
    """Have litellm's warnings about itself ignored, unless they are already."""
    known = {(kind, getattr(pattern, "pattern", None)) for _, pattern, kind, *_ in warnings.filters}
    for kind, message in _NOISE:
        if (kind, message) not in known:
            warnings.filterwarnings("ignore", message, kind)


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
            native=native_mode(info, structured, self._parameters()) if info else None,
            schemas=schema_rules(self.model) if info else "all",
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

    def stream(self, request: Request) -> Generator[Chunk]:
        """Send the request and give the reply's pieces; closing and Ctrl-C close the connection.

        litellm leaves a refusal out of streams: such a reply comes empty.
        """
        return receive(_Call(functools.partial(self._send, request)))

    def astream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Send the request and give the reply's pieces without blocking this event loop."""
        return areceive(_Call(functools.partial(self._send, request)))

    def commit(self, request: Request, response: Response) -> None:
        """Do nothing: there is no cache here."""

    def estimate(self, request: Request, text: str) -> Usage:
        """What a reply has cost that was left after `text`: tokens roughly, at the table's price."""
        usage = rough_usage(request, text)
        litellm = load()
        try:
            prices: tuple[float, float] = litellm.cost_per_token(
                self.model, prompt_tokens=usage.input_tokens, completion_tokens=usage.output_tokens
            )
        except Exception:  # noqa: BLE001  # litellm raises a bare one for some models without a price
            return replace(usage, unpriced=1)
        return replace(usage, usd=sum(prices))

    async def _send(self, request: Request, put: Callable[[Chunk], None] | None = None) -> Response:
        """Send the request, in the event loop of `TRAFFIC`; with `put`, as a stream of chunks."""
        litellm = load()
        body = self._body(request)
        # litellm keeps a client, with its connections, per timeout: a deadline that shrinks from call to call would
        # open a connection for each. Its timeout restarts with every byte too, so that a slow drip would pass it.
        limit_s, body["timeout"] = body.get("timeout"), _CLIENT_TIMEOUT_S
        began_s = time.monotonic()
        try:
            replying = litellm.acompletion(**body) if put is None else _streamed(litellm, body, put)
            reply = await asyncio.wait_for(replying, limit_s)
        except asyncio.TimeoutError as error:
            raise TimedOut(f"{self.model!r} did not answer within {limit_s} s", model=self.model) from error
        except Exception as error:  # noqa: BLE001  # litellm lets anything through; all is translated
            failure = unwrapped(error)
            raise self._translated(failure) from self._harmless(failure)
        if reply is None:
            raise TransportError(f"{self.model!r} broke off in the middle of its reply", model=self.model)
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

    def _parameters(self) -> list[str]:
        """What litellm passes on to the provider."""
        return load().get_supported_openai_params(self.model) or []

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


class _Call:
    """One streamed send; satisfies `declm.lm.streams.Call`."""

    def __init__(self, send: Callable[[Callable[[Chunk], None]], Coroutine[Any, Any, Response]]) -> None:
        self._send = send
        self._future: Future[Response] = Future()

    def start(self, put: Callable[[Chunk], None]) -> Future[Response]:
        self._future = TRAFFIC.start(self._send(put))
        return self._future

    def response(self) -> Response:
        return self._future.result()

    def stop(self) -> None:
        self._future.cancel()


async def _streamed(litellm: ModuleType, body: Mapping[str, Any], put: Callable[[Chunk], None]) -> Any:
    """Pass pieces on as they come; the whole as litellm puts it together, None if its end never came."""
    stream = await litellm.acompletion(**{**body, "stream": True, "stream_options": {"include_usage": True}})
    chunks = list[Any]()
    aside = list[str]()  # what a model says besides filling in a tool is the reply only if it fills in none
    try:
        async for chunk in stream:
            chunks.append(chunk)
            content, arguments, reasoning = _pieces(chunk)
            if "tools" in body:
                aside.append(content)
                content = ""
            if content or arguments or reasoning:
                put(Chunk(content or arguments, reasoning))
    finally:
        await stream.aclose()
    # litellm ends every stream with "stop", also one that the server never finished.
    if not (getattr(stream, "received_finish_reason", "other") or getattr(stream, "intermittent_finish_reason", "")):
        return None
    if any(aside) and not any(_pieces(chunk)[1] for chunk in chunks):
        put(Chunk("".join(aside)))
    return litellm.stream_chunk_builder(chunks, messages=body["messages"])


def _pieces(chunk: Any) -> tuple[str, str, str]:
    """What a chunk adds to the text, to the arguments of the first tool called, and to the reasoning."""
    if not chunk.choices:
        return "", "", ""
    delta = chunk.choices[0].delta
    calls: list[Any] = getattr(delta, "tool_calls", None) or []
    arguments = "".join(call.function.arguments or "" for call in calls if not call.index)
    return delta.content or "", arguments, getattr(delta, "reasoning_content", None) or ""


def _routing(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Headers that may choose a deployment, without those that only carry a key."""
    return {k: v for k, v in headers.items() if not is_secret(k.replace("-", "_"))}


def _response(reply: Any, model: str, seconds: float) -> Response:
    if not reply.choices:
        raise ServerError(f"{model!r} answered without any choice", model=model)
    choice = reply.choices[0]
    message = choice.message
    calls = getattr(message, "tool_calls", None)
    # A model may say what it is about to do; what it was made to fill in is the answer.
    text = (calls[0].function.arguments if calls else "") or message.content or ""
    finish: Finish = _FINISH.get(choice.finish_reason, "stop")
    extras: Mapping[str, Any] = getattr(message, "provider_specific_fields", None) or {}
    refusal: str | None = getattr(message, "refusal", None) or extras.get("refusal")  # by litellm's age
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
