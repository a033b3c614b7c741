"""The transport to providers: `Gateway`, which chooses the way of each request."""

from __future__ import annotations

import asyncio
import functools
import os
import secrets
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, ClassVar

from declm.errors import BadRequest, LMError, TimedOut, UnknownModel
from declm.lm.codecs import CODED, Codec, NotCoded, is_tested
from declm.lm.failures import causes, read_failure, translate, unwrapped
from declm.lm.lanes import Put, Question, ask, ask_litellm, coded_question, openai_question
from declm.lm.library import available, load, loaded, mapped, needing_litellm
from declm.lm.masking import is_secret, scrub
from declm.lm.modes import native_mode, schema_rules
from declm.lm.prices import Prices
from declm.lm.schemas import is_strict
from declm.lm.streams import areceive, receive, rough_usage
from declm.lm.table import PLAIN, is_peculiar, row, table, takes
from declm.lm.traffic import TRAFFIC
from declm.lm.wire import PROVIDERS, Reply, address, body, constant, headers
from declm.messages import Capabilities, Chunk, Request, Response
from declm.text import canonical, digest, redact
from declm.usage import Usage

# Self-hosted servers that hold replies to a JSON schema, whatever the model.
_CONSTRAINING = frozenset({"hosted_vllm", "lm_studio", "ollama", "ollama_chat", "llamafile"})
# Where a provider's endpoint variable is not named after it.
_VARIABLE_NAMES: Mapping[str, str] = {"ollama_chat": "OLLAMA", "text-completion-openai": "OPENAI"}
_RESPONSES = "openai/responses/"
"""What models are called that OpenAI's responses API is to answer for."""
_TEXT = "text-completion-openai/"
_CACHES = "supports_prompt_caching"
_CLIENT_TIMEOUT_S = 86_400.0
"""Of litellm's own clients, the same for every call; our own limit is the one that holds."""

_IRRELEVANT = frozenset({"timeout", "drop_params", "metadata", "user"})
_OURS = frozenset({"timeout"})
"""Options that no provider is sent."""


@dataclass(frozen=True, eq=False)
class Gateway:
    """Sends each request once, without retries; satisfies `declm.protocols.LM`."""

    model: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    api_base: str | None = None
    api_key: str | None = field(default=None, repr=False)
    structured: bool | None = None
    prompt_cache: bool = True
    _mode: ClassVar[str] = "chat"
    """What litellm's table calls the requests that are sent past it."""

    @property
    def identity(self) -> str:
        """Model, endpoint (also one that the environment sets) and options, without any secret."""
        return f"{self.model} {self._endpoint()} {self._fingerprint}"

    @property
    def account(self) -> str:
        """Text that tells endpoints and keys apart, without showing a key: who shares a provider's limits."""
        return f"{self.model} {self._endpoint()} {digest(self.api_key)}"

    @property
    def capabilities(self) -> Capabilities:
        """By litellm's table; `structured` in `declm.LM` says what holds for a model outside of it.

        Raises:
            UnknownModel: there is no such provider.
        """
        return self._capabilities

    @functools.cached_property
    def _capabilities(self) -> Capabilities:
        info = self._row
        if is_peculiar(self.model, info) or not self.options.keys() <= PLAIN:
            available()  # it will be needed, and here no event loop waits for it
        trusted = info is None and (self.api_base is not None or self._provider in _CONSTRAINING)
        structured = self.structured
        if structured is None:
            structured = trusted or bool(info and info.get("supports_response_schema"))
        return Capabilities(
            structured=structured,
            tools=bool(info and info.get("supports_function_calling")),
            native=native_mode(info, structured, self._parameters) if info else None,
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

        litellm leaves a refusal out of streams: through it, such a reply comes empty.
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
        usd = self._prices.usd(Reply(text, None, "stop", usage.input_tokens, usage.output_tokens))
        return replace(usage, usd=usd or 0.0, unpriced=int(usd is None))

    async def _send(self, request: Request, put: Put | None = None) -> Response:
        """Send the request, in the event loop of `TRAFFIC`; with `put`, as a stream of chunks."""
        began_s = time.monotonic()
        limit_s: float | None = request.options.get("timeout", self.options.get("timeout"))
        options = self._asked(request)
        try:
            reply, usd = await self._ask(request, options, limit_s, put)
        except asyncio.TimeoutError as error:
            raise TimedOut(f"{self.model!r} did not answer within {limit_s} s", model=self.model) from error
        except LMError:
            raise
        except Exception as error:  # noqa: BLE001  # both libraries let anything through; all is translated
            failure = unwrapped(error)
            raise self._translated(failure) from self._harmless(failure)
        seconds = time.monotonic() - began_s
        tokens = reply.input_tokens or 0, reply.output_tokens or 0
        usage = Usage(1, 0, *tokens, usd or 0.0, seconds, unpriced=int(usd is None))
        return Response(reply.text, reply.reasoning, reply.finish, usage, self.model)

    def _asked(self, request: Request) -> dict[str, Any]:
        """The LM's options, those of the request, and the wanted shape where the model can hold it."""
        options = {**self.options, **request.options}
        wanted = None if options.keys() & {"response_format", "tools"} else request.schema
        if wanted is not None and self.capabilities.structured:
            described = {"name": "reply", "schema": wanted, "strict": is_strict(wanted)}
            options["response_format"] = {"type": "json_schema", "json_schema": described}
        if request.options.keys() - _OURS:
            options.setdefault("drop_params", True)  # what a search asks for is a wish, the LM's own options are not
        return {k: v for k, v in options.items() if v is not None and k not in _OURS}

    async def _ask(
        self, request: Request, options: Mapping[str, Any], limit_s: float | None, put: Put | None
    ) -> tuple[Reply, float | None]:
        """The reply, by the fastest way that serves, and its price in USD, if that is known."""
        try:
            question = self.question(request, options, stream=put is not None)
        except NotCoded:
            return await asyncio.wait_for(ask_litellm(self._library(), self._call(request, options), put), limit_s)
        reply = self._counted(request, await ask(question, limit_s, put))
        return reply, self._prices.usd(reply)

    def question(self, request: Request, options: Mapping[str, Any], *, stream: bool) -> Question:
        """The request as it goes past litellm.

        Raises:
            NotCoded: it doesn't; nothing has been sent.
            BadRequest: nobody has said where the server is.
            LookupError: there is no key.
        """
        if self._provider in PROVIDERS and self._is_direct(options):
            return self._openai_question(request, options, stream=stream)
        self._library()
        if self._provider not in CODED or not self._is_direct(options) or not is_tested():
            raise NotCoded
        return coded_question(self._codec, self._turns(request), options, stream=stream)

    def _is_direct(self, options: Mapping[str, Any]) -> bool:
        """Whether a chat completion past litellm serves: not for what only it can do, such as its own callbacks."""
        if self.model.startswith(_RESPONSES) or (self._row or {}).get("mode") not in (None, self._mode):
            return available() is None
        if options.keys() - PLAIN and options.keys() & needing_litellm():
            return False
        litellm = loaded()
        return litellm is None or not (
            any((litellm.callbacks, litellm.success_callback, litellm.failure_callback, litellm.input_callback))
            or litellm.api_base
            or litellm.api_key
        )

    def _openai_question(self, request: Request, options: Mapping[str, Any], *, stream: bool) -> Question:
        provider = PROVIDERS[self._provider]
        key = self.api_key or os.environ.get(provider.key)
        url = address(provider, self.api_base)
        if url is None:
            raise BadRequest(f"{self.model!r} needs an address: LM(..., api_base='http://...')", model=self.model)
        if provider.needs_key and not key:
            raise LookupError("missing api key")
        name = self.model.partition("/")[2]
        said = mapped(name, options) if self._must_map(options) else options
        sent = body(name, request, said, stream=stream)
        return openai_question(url, headers(url, key, options), sent, tools="tools" in options)

    def _must_map(self, options: Mapping[str, Any]) -> bool:
        """Whether litellm, which is there, must say how a model of OpenAI's takes these options."""
        info = self._row
        if self._provider != "openai" or info is None or not options:
            return False
        return (is_peculiar(self.model, info) or not takes(info, options)) and available() is not None

    def _call(self, request: Request, options: Mapping[str, Any]) -> dict[str, Any]:
        """What litellm is called with."""
        if "tools" in options:  # litellm would import a package that it does not require
            options = {"_skip_mcp_handler": True, **options}
        model, turns = self.model, self._turns(request)
        if self._completes_text:
            # litellm would take each turn for a prompt of its own.
            model = f"{_TEXT}{self.model.removeprefix('openai/')}" if self._provider == "openai" else model
            turns = [{"role": "user", "content": "\n\n".join(message.content for message in request.messages)}]
        return {
            **options,
            "model": model,
            "messages": turns,
            "api_base": self.api_base,
            "api_key": self.api_key,
            "num_retries": 0,
            "max_retries": 0,
            # litellm keeps a client, with its connections, per timeout: a deadline that shrinks from call to call would
            # open a connection for each. Its timeout restarts with every byte too, so that a slow drip would pass it.
            "timeout": _CLIENT_TIMEOUT_S,
        }

    def _turns(self, request: Request) -> list[dict[str, Any]]:
        """The messages, with a mark where the provider may end what it keeps of the prompt, if it wants to be told."""
        turns: list[dict[str, Any]] = [{"role": m.role, "content": m.content} for m in request.messages]
        last = constant(request) - 1
        if self.prompt_cache and last >= 0 and "claude" in self.model and (self._row or {}).get(_CACHES):
            part = {"type": "text", "text": request.messages[last].content, "cache_control": {"type": "ephemeral"}}
            turns[last]["content"] = [part]
        return turns

    @property
    def _completes_text(self) -> bool:
        """Whether it is a model without turns, which goes on with one text."""
        return self.model.startswith("text-completion-") or (self._row or {}).get("mode") == "completion"

    def _counted(self, request: Request, reply: Reply) -> Reply:
        """The reply with its tokens counted roughly, if the server has not counted them."""
        if reply.input_tokens is not None and reply.output_tokens is not None:
            return reply
        rough = rough_usage(request, reply.text + (reply.reasoning or ""))
        return replace(reply, input_tokens=rough.input_tokens, output_tokens=rough.output_tokens)

    def _translated(self, error: Exception) -> LMError:
        failure = read_failure(self.model, error)
        clean = replace(failure, text=self._scrubbed(failure.text))
        return translate(clean, endpoint=self._endpoint(), variables=self._missing_keys())

    def _missing_keys(self) -> list[str]:
        """Environment variables that would hold the key, and do not."""
        if self._provider in PROVIDERS:
            name = PROVIDERS[self._provider].key
            return [] if os.environ.get(name) else [name]
        missing: list[str] = load().validate_environment(self.model).get("missing_keys", [])
        return [name for name in missing if is_secret(name)]

    def _harmless(self, error: Exception) -> Exception | None:
        """The error as a cause to show; None if a traceback of it would show a key that a server echoed."""
        return error if all(self._scrubbed(str(e)) == str(e) for e in causes(error)) else None

    def _scrubbed(self, text: str) -> str:
        return scrub(text, {**self.options, "api_key": self.api_key, "api_base": self.api_base})

    @functools.cached_property
    def _row(self) -> Mapping[str, Any] | None:
        """The model's row in litellm's table; None if there is none, or no litellm.

        Raises:
            UnknownModel: there is no such provider, or none without litellm.
        """
        found = self._looked_up(self._listed)
        if found is None and self._provider == "openai":
            found = self._looked_up(self.model.replace("openai/", _TEXT, 1))
        return found

    @property
    def _listed(self) -> str:
        """The name in the table, which is the same whichever API of OpenAI's is asked."""
        return self.model.replace(_RESPONSES, "openai/", 1)

    def _looked_up(self, name: str) -> Mapping[str, Any] | None:
        if self._provider in PROVIDERS:
            # Whoever has imported litellm may have changed its table, and it knows whose model was finetuned.
            known = None if loaded() is not None or "/ft:" in self.model else table()
            if known is not None:
                return row(known, name)
            if available() is None:
                return None
        litellm = self._library()
        try:
            litellm.get_llm_provider(name, api_base=self.api_base)
            info: Mapping[str, Any] = litellm.get_model_info(name)
        except litellm.exceptions.ModelNotMappedError:
            return None
        except litellm.exceptions.BadRequestError as error:
            raise self._translated(error) from self._harmless(error)
        return info

    def _library(self) -> ModuleType:
        """litellm, for providers that only it knows."""
        if available() is None:
            raise UnknownModel(f"{self.model!r} needs litellm, which can't be imported", model=self.model)
        return load()

    @functools.cached_property
    def _codec(self) -> Codec:
        return Codec(self._library(), self.model, self.api_base, self.api_key)

    @functools.cached_property
    def _prices(self) -> Prices:
        return Prices(self._listed, self._row)

    def _parameters(self) -> list[str]:
        """What litellm passes on to the provider."""
        litellm = available()
        return [] if litellm is None else litellm.get_supported_openai_params(self.model) or []

    @property
    def _provider(self) -> str:
        return self.model.partition("/")[0]

    def _endpoint(self) -> str:
        """URL of an endpoint other than the provider's own, without credentials; else empty."""
        if self.api_base is not None:
            return _redacted(self.api_base)
        everywhere = getattr(sys.modules.get("litellm"), "api_base", None)
        if everywhere:
            return _redacted(everywhere)
        name = _VARIABLE_NAMES.get(self._provider, self._provider.upper().replace("-", "_"))
        found = (os.environ.get(f"{name}_{suffix}") for suffix in ("API_BASE", "BASE_URL", "API_URL", "URL"))
        return _redacted(next((url for url in found if url), ""))

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


_redacted = functools.lru_cache(maxsize=256)(redact)
"""Of the few addresses that a process knows; each call names its own."""


def _routing(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Headers that may choose a deployment, without those that only carry a key."""
    return {k: v for k, v in headers.items() if not is_secret(k.replace("-", "_"))}
