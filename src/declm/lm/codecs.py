"""litellm's own codecs of some providers, over our connections: less than half of what `litellm.acompletion` costs.

They are internal to litellm, so they are used for the providers and versions only with which
`tests/contracts/test_codecs.py` has found the requests equal to those of `litellm.acompletion`. Whatever they can't
take goes through that function, and so does everything if litellm is of another version.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from types import ModuleType
from typing import Any

from declm.lm.library import part
from declm.lm.wire import Reply, parsed, read

CODED = frozenset({"anthropic", "deepseek", "groq", "mistral"})
"""Providers whose codecs are used; our own wire serves OpenAI and its like."""

_TESTED = ((1, 106), (1, 111))
"""Versions of litellm from the first to below the second."""


class NotCoded(Exception):
    """The codec can't take a request, which goes through litellm's public function instead."""


@dataclass(frozen=True)
class Written:
    """A request as it is sent, and what its reply must be read with."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    data: Mapping[str, Any]
    params: Mapping[str, Any]
    json_mode: bool


class _Mute:
    """Takes the place of litellm's log of one call, of which its codecs tell."""

    def __init__(self) -> None:
        self.model_call_details: dict[str, Any] = {}
        self.optional_params: dict[str, Any] = {}

    def post_call(self, *_: Any, **__: Any) -> None:
        """Keep nothing."""


@dataclass(frozen=True, eq=False)
class Codec:
    """How one model of a provider is asked and understood, by litellm."""

    litellm: ModuleType
    model: str
    api_base: str | None
    api_key: str | None

    def write(self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any], *, stream: bool) -> Written:
        """The request of some messages.

        Raises:
            NotCoded: litellm's public function must be asked.
        """
        try:
            return self._write([dict(message) for message in messages], options, stream=stream)
        except Exception as error:  # code of litellm that nobody promises; its front door decides
            raise NotCoded(str(error)) from error

    def read(self, written: Written, body: bytes) -> Reply:
        """The reply that a body holds.

        Raises:
            Unreadable: it holds none.
        """
        raw = import_module("httpx").Response(200, content=body, headers={"content-type": "application/json"})
        try:
            whole = self._config.transform_response(
                model=self._name,
                raw_response=raw,
                model_response=self.litellm.ModelResponse(),
                logging_obj=_Mute(),
                request_data=dict(written.data),
                messages=written.data.get("messages", []),
                optional_params=dict(written.params),
                litellm_params={},
                encoding=None,
                api_key=self.api_key or "",
                json_mode=written.json_mode,
            )
        except Exception:  # noqa: BLE001  # as above: it may miss a member that an endpoint of the user's leaves out
            return read(parsed(body))
        return read(whole.model_dump())

    async def listen(self, lines: AsyncIterator[str]) -> AsyncGenerator[Mapping[str, Any]]:
        """The events of a reply, in OpenAI's shape, from the lines of a body."""
        if self._provider == "anthropic":
            iterator = part("llms.anthropic.chat.handler").ModelResponseIterator
            chunks = iterator(streaming_response=lines, sync_stream=False, json_mode=False)
        else:
            chunks = self._config.get_model_response_iterator(streaming_response=lines, sync_stream=False)
        async for chunk in chunks:
            yield chunk.model_dump()

    def _write(self, messages: list[dict[str, Any]], options: Mapping[str, Any], *, stream: bool) -> Written:
        name, provider, key, base = self._resolved()
        asked = {k: v for k, v in options.items() if k not in _ASIDE}
        flow: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        params: dict[str, Any] = self.litellm.get_optional_params(
            model=name, custom_llm_provider=provider, messages=messages, **asked, **flow
        )
        json_mode = bool(params.pop("json_mode", False))
        if (params.pop("fake_stream", False) or json_mode) and stream:
            raise NotCoded("its stream has to be put together")
        more: Mapping[str, Any] = params.pop("extra_body", None) or {}
        headers: dict[str, Any] = {**(options.get("headers") or {}), **(options.get("extra_headers") or {})}
        headers = self._config.validate_environment(headers, name, messages, params, {}, api_key=key, api_base=base)
        url = (
            _route(base)
            if provider == "anthropic"
            else self._config.get_complete_url(base, key, name, params, {}, stream)
        )
        data = self._config.transform_request(name, messages, params, {}, headers)
        data = {**data, **more, **({"stream": True} if stream else {})}
        if provider == "anthropic":
            betas = part("anthropic_beta_headers_manager").update_request_with_filtered_beta
            headers, data = betas(headers=headers, request_data=data, provider=provider)
        if data.get("stream") is False:
            del data["stream"]
        sent = {"content-type": "application/json"} | {k.lower(): str(v) for k, v in headers.items()}
        return Written(url, sent, json.dumps(data).encode(), data, params, json_mode)

    def _resolved(self) -> tuple[str, str, str, str]:
        """Name, provider, key and address, from the environment where the LM does not say them."""
        name, provider, key, base = self.litellm.get_llm_provider(
            self.model, api_base=self.api_base, api_key=self.api_key
        )
        if provider == "anthropic":
            key = self.api_key or os.environ.get("ANTHROPIC_API_KEY")
            named = (os.environ.get("ANTHROPIC_API_BASE"), os.environ.get("ANTHROPIC_BASE_URL"))
            base = self.api_base or next(filter(None, named), "https://api.anthropic.com")
        if not key or not base:
            raise NotCoded("there is no key, or no address")
        return name, provider, key, base

    @functools.cached_property
    def _config(self) -> Any:
        return part("utils").ProviderConfigManager.get_provider_chat_config(
            model=self._name, provider=self.litellm.LlmProviders(self._provider)
        )

    @property
    def _provider(self) -> str:
        return self.model.partition("/")[0]

    @property
    def _name(self) -> str:
        return self.model.partition("/")[2]


@functools.cache
def is_tested() -> bool:
    """Whether the codecs of the installed litellm are those that the contract was tested with."""
    numbers = re.findall(r"\d+", metadata.version("litellm"))[:2]
    return _TESTED[0] <= tuple(map(int, numbers)) < _TESTED[1]


_ASIDE = frozenset({"extra_headers", "headers", "timeout", "metadata"})
"""Options that shape no body."""


def _route(base: str) -> str:
    base = base.rstrip("/")
    return base if base.endswith("/v1/messages") else f"{base.removesuffix('/v1')}/v1/messages"
