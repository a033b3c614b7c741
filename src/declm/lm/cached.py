"""The reply cache: hits are free, only validated replies are kept."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from declm import protocols, settings
from declm.files import cache_dir
from declm.lm.base import Layer, Send, Steps, received
from declm.lm.store import Store
from declm.messages import Request, Response
from declm.text import digest
from declm.usage import Usage


class Cached(Layer):
    """Answers from the reply cache where it can; `commit` is the only thing that writes.

    The key covers the identity of the LM (model, endpoint, options) and everything in the request,
    but never a key or a header. Unlike most caches it is filled by the caller, once a reply has been
    validated: a reply that could not be parsed is asked for again.

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
        if store is not None:
            kept = store.get(self._key(request))
            response = None if kept is None else _read(kept)
            if response is not None:
                return response
        return received((yield Send(request)))

    def commit(self, request: Request, response: Response) -> None:
        """Keep a validated reply."""
        store = None if response.cached else self._store(request)
        if store is not None:
            store.put(self._key(request), _write(response))
        super().commit(request, response)

    def _store(self, request: Request) -> Store | None:
        if not request.cacheable:
            return None
        cache = settings.current().cache if self._cache is None else self._cache
        if cache is False:
            return None
        return store_at(cache if isinstance(cache, Path) else default_path())

    def _key(self, request: Request) -> str:
        return digest([self.identity, asdict(request)])


def default_path() -> Path:
    """The file of the reply cache, in `$DECLM_CACHE_DIR` or the user's cache folder."""
    return cache_dir() / "replies.db"


@functools.lru_cache(maxsize=None)
def store_at(path: Path) -> Store:
    """The one store of a path in this process."""
    return Store(path)


def _write(response: Response) -> dict[str, Any]:
    usage = response.usage
    return {
        "text": response.text,
        "reasoning": response.reasoning,
        "finish": response.finish,
        "model": response.model,
        "tokens": [usage.input_tokens, usage.output_tokens],
    }


def _read(kept: Mapping[str, Any]) -> Response | None:
    text, reasoning, finish, model = (kept.get(k) for k in ("text", "reasoning", "finish", "model"))
    fits = isinstance(text, str) and isinstance(model, str) and (reasoning is None or isinstance(reasoning, str))
    if not fits or finish not in ("stop", "length", "filter"):
        return None
    return Response(text, reasoning, finish, Usage(cached=1), model, cached=True)
