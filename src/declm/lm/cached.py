"""The reply cache: hits are free, only validated replies are kept."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from declm import protocols, settings
from declm.files import cache_root
from declm.lm.base import Layer, Send, Steps, received
from declm.lm.store import Store
from declm.messages import Request, Response, Token
from declm.text import digest
from declm.usage import Usage


class Cached(Layer):
    """Answers from the reply cache where it can; `commit` is the only thing that writes.

    The key covers the identity of the LM (model, endpoint, options) and everything in the request,
    but never a key. It is filled by the caller once a reply has been validated: one that was cut or
    could not be parsed is asked for again.

    Args:
        cache: True and False beat the settings in force, a path puts the cache elsewhere, None
            leaves it to the settings (on by default).
    """

    def __init__(self, inner: protocols.LM, cache: bool | Path | None) -> None:
        super().__init__(inner)
        self._cache = cache

    def steps(self, request: Request) -> Steps:
        """Look the request up, else send it."""
        store = self._store(request)
        key = None if store is None else self._key(request)
        if store is not None and key is not None:
            kept = store.get(key)
            response = None if kept is None else _read(kept)
            if response is not None:
                return response
        return received((yield Send(request)))

    def commit(self, request: Request, response: Response) -> None:
        """Keep a validated reply."""
        store = None if response.cached or response.finish != "stop" else self._store(request)
        key = None if store is None else self._key(request)
        if store is not None and key is not None:
            store.put(key, _write(response))
        super().commit(request, response)

    def _store(self, request: Request) -> Store | None:
        if not request.cacheable:
            return None
        cache = settings.current().cache if self._cache is None else self._cache
        if cache is False:
            return None
        return store_at(cache if isinstance(cache, Path) else default_path())

    def _key(self, request: Request) -> str | None:
        """Hash of all that shapes the reply; None if an option is no JSON, and so can't be compared."""
        messages = [(message.role, message.content) for message in request.messages]
        options = {k: v for k, v in request.options.items() if k != "timeout"}
        try:
            return digest([self.identity, messages, request.schema, options, request.sample, request.logprobs])
        except TypeError:
            return None


def default_path() -> Path:
    """The file of the reply cache, in `$DECLM_CACHE_DIR` or the user's cache folder."""
    return cache_root() / "replies.db"


@functools.cache
def store_at(path: Path) -> Store:
    """The one store of a path in this process."""
    return Store(path)


def _write(response: Response) -> dict[str, Any]:
    usage = response.usage
    return {
        "text": response.text,
        "reasoning": response.reasoning,
        "model": response.model,
        "tokens": [usage.input_tokens, usage.output_tokens],
        "logprobs": [[t.text, t.logprob, t.top] for t in response.tokens],
    }


def _read(kept: Mapping[str, Any]) -> Response | None:
    """The reply of a row; None if the row is of another shape, from another version perhaps."""
    text, reasoning, model = kept.get("text"), kept.get("reasoning"), kept.get("model")
    if not isinstance(text, str) or not isinstance(model, str) or not isinstance(reasoning, str | None):
        return None
    try:
        tokens = tuple(Token(t, p, tuple((a, q) for a, q in top)) for t, p, top in kept.get("logprobs", ()))
    except (TypeError, ValueError):
        return None
    return Response(text, reasoning, "stop", Usage(cached=1), model, cached=True, tokens=tokens)
