"""`LM`: one language model, by name, with caching, retries and budgets around its transport."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Generator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from declm import protocols, settings
from declm.errors import UnknownModel, UsageError
from declm.lm.batched import through
from declm.lm.batches import Batches
from declm.lm.cached import Cached
from declm.lm.gates import Limits
from declm.lm.gateway import Gateway
from declm.lm.library import preload
from declm.lm.limited import Limited
from declm.lm.local import Local
from declm.lm.masking import shown
from declm.lm.metered import Metered
from declm.lm.observed import Observed
from declm.lm.retried import Retried, RetryPolicy
from declm.lm.table import PLAIN, is_peculiar
from declm.lm.wire import PROVIDERS
from declm.messages import Capabilities, Chunk, Request, Response
from declm.settings import cache_place
from declm.text import Url, clip

# Families that people name without a provider; only for the hint in an error message.
_FAMILIES: tuple[tuple[str, str], ...] = (
    ("gpt", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("claude", "anthropic"),
    ("gemini", "gemini"),
    ("mistral", "mistral"),
    ("deepseek", "deepseek"),
    ("grok", "xai"),
    ("command", "cohere"),
    ("smollm2", "local"),
)


class LM:
    """One language model with its endpoint, key and options; immutable and cheap to build.

    Any provider that litellm knows answers as `provider/model`; `local/...` runs a GGUF file in this
    process. Building one opens no socket and reads no key: keys come from the provider's environment
    variable (such as `OPENAI_API_KEY`) at the first call, or from `api_key`.

    Options of a request beat the LM's own. What the provider does not take is refused if the LM was
    built with it, and left out if a format or a search added it to one request.

    Args:
        model: `"openai/gpt-5-mini"`, `"anthropic/claude-..."`, `"hosted_vllm/..."`,
            `"local/smollm2"`, `"local/<path>.gguf"`, `"local/<org>/<repo>/<file>.gguf"`.
        temperature: of sampling; default the provider's own, 0 for a local model.
        max_tokens: of one reply; default the provider's own, 1024 for a local model.
        api_base: URL of the endpoint, if it is not the provider's own.
        api_key: key of the endpoint; never shown, logged or cached.
        deadline: seconds for one call with all its attempts; None for no limit.
        attempts: sends in all, the first one included.
        concurrency: calls in flight at most, by all LMs of this model, endpoint and key in this process;
            None for as many as the provider takes: after a refusal (HTTP 429) it is sent fewer.
        rpm: calls in any 60 seconds at most, by the same.
        tpm: tokens, of prompts and replies, in any 60 seconds at most, by the same.
        cache: True and False beat `configure(cache=...)`; a path or the address of a Redis server
            (`"redis://host:6379/0"`) puts the reply cache elsewhere.
        structured: whether the endpoint can hold a reply to a JSON schema. None asks litellm's table,
            and trusts a model that the table does not know behind an explicit `api_base`: vLLM,
            SGLang, llama.cpp, LM Studio, Ollama and TGI all take `response_format`.
        prompt_cache: have the provider keep the constant beginning of prompts (instructions, demonstrations)
            where it wants to be told: Claude's do, for a quarter more the first time and a tenth of the price
            for the next five minutes. Others do so by themselves, or not at all.
        options: passed to the provider as they are (`top_p=0.9`, `reasoning_effort="low"`, ...); a
            local model also takes `threads`, `slots`, `n_ctx` and `lora` (an adapter's GGUF file, or a
            mapping from such files to their strengths).

    Raises:
        UnknownModel: the name has no provider.
        UsageError: another argument makes no sense.

    Example:
        >>> LM("local/smollm2", temperature=0.7)
        LM('local/smollm2', temperature=0.7)
    """

    __slots__ = ("_gateway", "_given", "_layers")

    _gateway: Gateway | None
    _given: Mapping[str, Any]
    _layers: protocols.LM

    def __init__(
        self,
        model: str,
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        api_base: str | None = None,
        api_key: str | None = None,
        deadline: float | None = 120.0,
        attempts: int = 4,
        concurrency: int | None = None,
        rpm: int | None = None,
        tpm: int | None = None,
        cache: bool | str | Path | None = None,
        structured: bool | None = None,
        prompt_cache: bool = True,
        **options: Any,
    ) -> None:
        check_model(model)
        sampling = {k: v for k, v in (("temperature", temperature), ("max_tokens", max_tokens)) if v is not None}
        shares = {"concurrency": concurrency, "rpm": rpm, "tpm": tpm}
        given_shares = {k: v for k, v in shares.items() if v is not None}
        check_numbers({**sampling, "deadline": deadline}, {"attempts": attempts, **given_shares})
        gateway: Gateway | None = None
        if model.startswith("local/"):
            if api_base is not None or api_key is not None:
                raise UsageError(f"{model!r} runs in this process and takes neither api_base nor api_key")
            if given_shares:
                raise UsageError(f"{model!r} runs in this process; slots= says how many calls it takes at once")
            metered = Metered(Local(model.removeprefix("local/"), {**sampling, **options}))
        else:
            gateway = Gateway(model, {**sampling, **options}, api_base, api_key, structured, prompt_cache)
            metered = _limited(gateway, Limits(**shares))
        place = None if cache is None else cache_place(cache)
        layers = Cached(Retried(metered, RetryPolicy(attempts, deadline)), place, deadline)
        given = {
            "api_base": api_base,
            "api_key": api_key,
            "cache": place if isinstance(place, Url) else cache,
            "structured": structured,
            "prompt_cache": None if prompt_cache else False,
            **given_shares,
        }
        limits = {"deadline": deadline, "attempts": attempts}
        object.__setattr__(self, "_gateway", gateway)
        object.__setattr__(self, "_layers", layers)
        object.__setattr__(
            self,
            "_given",
            {
                **sampling,
                **{k: v for k, v in given.items() if v is not None},
                **{k: v for k, v in limits.items() if v != _LIMITS[k]},
                **options,
            },
        )

    @property
    def model(self) -> str:
        """Name with its provider."""
        return self._layers.model

    @property
    def identity(self) -> str:
        """Text that differs whenever replies may differ: model, endpoint, options; never a key."""
        return self._layers.identity

    @property
    def capabilities(self) -> Capabilities:
        """What it can do, by litellm's table.

        Models of OpenAI's that do not reason, and servers that speak its wire, are looked up in the table
        alone; for others this imports litellm, which takes about two seconds.

        Raises:
            UnknownModel: no provider of that name, or no such model file.
        """
        return self._layers.capabilities

    def complete(self, request: Request) -> Response:
        """Answer one request: from the cache, or by up to `attempts` sends.

        Raises:
            LMError: of the kind that fits the last failure.
            DeadlineExceeded: the deadline passed first.
            BudgetExceeded: a budget in force leaves no room for the call.
        """
        return self._layers.complete(request)

    async def acomplete(self, request: Request) -> Response:
        """Answer one request without blocking the event loop; errors as in `complete`."""
        return await self._layers.acomplete(request)

    def stream(self, request: Request) -> Generator[Chunk]:
        """Answer one request piece by piece; the last chunk carries the whole `Response`.

        A reply from the cache comes in one piece. A failure is tried again as in `complete` as long
        as no piece has been given; after that it is raised. Closing the generator, or leaving the
        loop, closes the connection or stops the local engine, and charges budgets with an estimate
        (a token per four bytes) of what came.

        Example:
            >>> for chunk in LM("local/smollm2").stream(request):  # doctest: +SKIP
            ...     print(chunk.text, end="", flush=True)
        """
        return self._layers.stream(request)

    def astream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Answer one request piece by piece without blocking the event loop; as `stream`."""
        return self._layers.astream(request)

    def commit(self, request: Request, response: Response) -> None:
        """Keep a reply that the caller has validated; nothing else fills the cache."""
        self._layers.commit(request, response)

    def batched(self, batches: Batches) -> protocols.LM:
        """The same LM, asked through its provider's batch API; without a deadline, for that takes up to a day.

        Raises:
            UsageError: it runs in this process.
        """
        if self._gateway is None:
            raise UsageError(f"{self.model!r} runs in this process, where batch=True would save nothing; leave it out")
        gateway = through(batches, self._gateway)
        retried = Retried(
            Metered(gateway, gateway.estimate, ahead=True),
            RetryPolicy(self._given.get("attempts", _LIMITS["attempts"]), None),
        )
        cache = self._given.get("cache")
        return Cached(retried, None if cache is None else cache_place(cache))

    def __repr__(self) -> str:
        return f"LM({', '.join([repr(self.model), *(f'{k}={v}' for k, v in shown(self._given).items())])})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.model, dict(self._given))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an LM is immutable: build another one instead of setting {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"an LM is immutable: {name!r} can't be deleted")


def _limited(gateway: Gateway, limits: Limits) -> Metered:
    """A provider within its limits and the user's budgets."""
    provider, options = gateway.model.partition("/")[0], gateway.options
    if provider not in PROVIDERS or is_peculiar(gateway.model, None) or not options.keys() <= PLAIN:
        preload()
    reserved = options.get("max_completion_tokens", options.get("max_tokens"))
    return Metered(Limited(gateway, limits, gateway.account, reserved), gateway.estimate)


_LIMITS: Mapping[str, Any] = {"deadline": 120.0, "attempts": 4}


def _rebuild(model: str, given: Mapping[str, Any]) -> LM:
    return LM(model, **given)


def resolve(lm: protocols.LM | str) -> protocols.LM:
    """The LM that is meant: an object as it is, a name as `LM(name)`, built once per name.

    Raises:
        UnknownModel: the name has no provider.
        UsageError: it is neither a name nor an LM.
    """
    if isinstance(lm, str):
        return _named(lm)
    if not protocols.is_lm(lm):
        raise UsageError(f"lm={clip(repr(lm), 80)} is neither a model name nor an LM; try LM('provider/model')")
    return lm


def in_force(lm: protocols.LM | str) -> protocols.LM:
    """The LM to call here for a predictor: through batch jobs where these are asked for, and as `watched`.

    Args:
        lm: what `resolve` takes; it has been checked where it was set.

    Raises:
        UnknownModel: the name has no provider.
    """
    now, found = settings.current(), _named(lm) if isinstance(lm, str) else lm
    if now.batch is not None:
        found = now.batch(found)
    return found if now.wrap is None and not now.callbacks else watched(found)


def watched(found: protocols.LM) -> protocols.LM:
    """An LM within what tells of its calls, records them or answers for it."""
    now = settings.current()
    if now.wrap is not None:
        found = now.wrap(found)
    return Observed(found) if now.callbacks and not isinstance(found, Observed) else found


@functools.lru_cache(maxsize=64)
def _named(name: str) -> LM:
    return LM(name)


def check_model(model: str) -> None:
    """Raise UnknownModel or UsageError for a name without its provider."""
    if not isinstance(model, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
        raise UsageError(f"model={clip(repr(model), 80)} must be a text such as 'openai/gpt-5-mini'")
    provider, _, name = model.partition("/")
    if provider and name:
        return
    family = next((known for start, known in _FAMILIES if model.lower().startswith(start)), "provider")
    raise UnknownModel(
        f"{clip(model, 80)!r} does not say which provider serves it: write 'provider/model'"
        + (f", such as {f'{family}/{clip(model, 80)}'!r}" if model else ", such as 'openai/gpt-5-mini'"),
        model=model,
    )


def check_numbers(numbers: Mapping[str, Any], counts: Mapping[str, object]) -> None:
    """Raise UsageError for a number below 0 or a count below 1."""
    for name, value in numbers.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0):
            raise UsageError(f"{name}={value!r} must be a number from 0")
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise UsageError(f"{name}={count!r} must be a whole number from 1")
