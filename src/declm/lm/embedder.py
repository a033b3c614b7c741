"""`Embedder`: vectors of texts, with the cache, retries, limits and budgets of an LM."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declm import protocols, settings
from declm.errors import ServerError, UsageError
from declm.lm.cached import opened
from declm.lm.embeddings import Embed, EmbeddingGateway, FunctionEmbeddings, LocalEmbeddings
from declm.lm.gates import Limits
from declm.lm.keys import Keys
from declm.lm.limited import Limited
from declm.lm.local import ENGINE_OPTIONS, Local
from declm.lm.metered import Metered
from declm.lm.model import check_model, check_numbers, watched
from declm.lm.replies import Cache
from declm.lm.retried import Retried, RetryPolicy
from declm.lm.vectors import unpacked
from declm.lm.wire import Unreadable
from declm.loops import run
from declm.messages import Message, Request, Response
from declm.settings import cache_place
from declm.text import Url, clip

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BATCHES = 16
"""In flight at once; a function of the user's is called by one thread at a time."""


class Embedder:
    """Turns texts into vectors; opens no socket and loads no weights before the first call.

    A text that has been embedded before comes from the reply cache; equal texts of a call are sent once.

    Args:
        model: `"openai/text-embedding-3-small"` or any other that litellm knows, `"hosted_vllm/..."`,
            `"local/<path>.gguf"` in this process, or a function from a list of texts to as many
            vectors, which may be async.
        api_base: URL of the endpoint, if it is not the provider's own.
        api_key: key of the endpoint; never shown, logged or cached.
        batch: texts sent at once at most; 16 batches are in flight, one of a function.
        deadline: seconds for one batch with all its attempts; None for no limit.
        attempts: sends of a batch in all.
        cache: as of `declm.LM`. A function is called once a batch: nothing of it is cached, timed or tried again.
        options: passed to the provider as they are (`dimensions=256`); a local model takes `threads`, `slots`,
            `n_ctx` and `lora`.

    Raises:
        UnknownModel: the name has no provider.
        UsageError: another argument makes no sense.

    Example:
        >>> embed = Embedder(lambda texts: [[float(len(text)), 1.0] for text in texts])
        >>> embed(["a", "bcd"]).tolist()
        [[1.0, 1.0], [3.0, 1.0]]
    """

    def __init__(
        self,
        model: str | Embed,
        *,
        api_base: str | None = None,
        api_key: str | None = None,
        batch: int = 128,
        deadline: float | None = 120.0,
        attempts: int = 4,
        cache: bool | str | Path | None = None,
        **options: Any,
    ) -> None:
        check_numbers({"deadline": deadline}, {"batch": batch, "attempts": attempts})
        self._batch = batch
        self._keys = Keys()
        self._cache: bool | Path | Url | None = None if cache is None else cache_place(cache)
        policy = RetryPolicy(attempts, deadline)
        if not isinstance(model, str):
            if not callable(model):
                raise UsageError(f"model={clip(repr(model), 80)} must be a name or a function from texts to vectors")
            self._cache = False
            self._lm: protocols.LM = FunctionEmbeddings(getattr(model, "__qualname__", type(model).__name__), model)
            return
        check_model(model)
        self._lm = Retried(Metered(_transport(model, api_base, api_key, options)), policy)

    @property
    def model(self) -> str:
        """Name with its provider, or that of the function."""
        return self._lm.model

    def __call__(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """Vectors of shape (texts, dimensions), in the order of the texts.

        Raises:
            LMError: of the kind that fits the last failure of a batch.
            BudgetExceeded: a budget in force leaves no room for a call.
            UsageError: `texts` is no list of texts.
        """
        return run(self.acall(texts))

    async def acall(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """The same without blocking the event loop."""
        asked, texts = texts, list(texts)  # it may be a generator, which can be read once
        if isinstance(asked, str) or not all(isinstance(text, str) for text in texts):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
            raise UsageError(f"texts={clip(repr(asked), 80)} must be a list of texts; for one text, pass [text]")
        # A tape must hold all that is asked, whatever a cache holds.
        cache = None if settings.current().wrap is not None else opened(self._cache)
        keys = {text: self._key(text) for text in texts}
        found = (
            {} if cache is None else {text: hit.text for text, key in keys.items() if key and (hit := cache.find(key))}
        )
        missing = [text for text in keys if text not in found]
        batches = [missing[i : i + self._batch] for i in range(0, len(missing), self._batch)]
        gate = asyncio.Semaphore(1 if isinstance(self._lm, FunctionEmbeddings) else _BATCHES)

        async def ask(batch: Sequence[str]) -> None:
            async with gate:
                response = await watched(self._lm).acomplete(Request(tuple(Message("user", text) for text in batch)))
            lines = response.text.split("\n")
            if len(lines) != len(batch):
                raise ServerError(f"{self.model!r} gave {len(lines)} vectors for {len(batch)} texts", model=self.model)
            found.update(zip(batch, lines, strict=True))
            if cache is not None:
                _keep(cache, keys, batch, lines, response.model)

        await _gathered([ask(batch) for batch in batches])
        try:
            return unpacked([found[text] for text in texts])
        except Unreadable as error:
            raise ServerError(f"{self.model!r} gave {error}", model=self.model) from error

    def _key(self, text: str) -> str | None:
        return self._keys.of(f"embedding {self._lm.identity}", Request((Message("user", text),)))

    def __repr__(self) -> str:
        return f"Embedder({self.model!r})"


def _keep(cache: Cache, keys: Mapping[str, str | None], texts: Sequence[str], lines: Sequence[str], model: str) -> None:
    for text, line in zip(texts, lines, strict=True):
        key = keys[text]
        if key is not None:
            cache.keep(key, Response(line, model=model))


async def _gathered(asking: Sequence[Any]) -> None:
    """Wait for all; the first failure cancels the others, and what has come by then is kept."""
    tasks = [asyncio.ensure_future(one) for one in asking]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _transport(model: str, api_base: str | None, api_key: str | None, options: Mapping[str, Any]) -> protocols.LM:
    if not model.startswith("local/"):
        gateway = EmbeddingGateway(model, options, api_base, api_key)
        return Limited(gateway, Limits(), gateway.account)
    if api_base is not None or api_key is not None:
        raise UsageError(f"{model!r} runs in this process and takes neither api_base nor api_key")
    unknown = options.keys() - ENGINE_OPTIONS
    if unknown:
        raise UsageError(f"a local model that embeds has no option {min(unknown)!r}")
    return LocalEmbeddings(model, Local(model.removeprefix("local/"), options))
