"""llama.cpp in this process, through xllamacpp: the only module that imports it.

One engine serves all users of a model file. Engines are the declared exception to "no module-level
state": weights are too big to load twice, so `ENGINES` owns them, closes them at exit, and gives a
forked child a registry of its own.
"""

from __future__ import annotations

import atexit
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from declm.errors import MissingExtra, UnknownModel, UsageError
from declm.lm.adapters import Adapter
from declm.lm.cores import memory_bytes, usable_cores
from declm.lm.forks import keep_alive, skip_destructors
from declm.lm.gguf import read_header
from declm.lm.schemas import closed

_CONTEXT = 8192
_FEW_CHARACTERS = 4000  # of the texts that are embedded at once, with no way to stop
_PROMPT_BATCH = 256  # a call can be stopped between batches: 0.1 to 3 s of prompt on a CPU; no slower than 2048
_PREFIX_CACHE_MIB = 512


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How a model is loaded; None lets the machine and the model decide.

    Args:
        threads: processor threads; default all physical cores open to the process, or
            `$DECLM_THREADS`.
        slots: calls served at once; default one per two threads, at most 8 and as memory allows.
            Measured on two cores: one slot answers 1.8 times as fast as four.
        n_ctx: tokens of prompt and reply of one call; default the model's own limit or 8192.
        embeds: it turns texts into vectors instead of going on with them.
        lora: adapters over the weights.
    """

    threads: int | None = None
    slots: int | None = None
    n_ctx: int | None = None
    embeds: bool = False
    lora: tuple[Adapter, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What an engine will use: threads, slots, and tokens of context per slot; `pools` if told how to embed."""

    threads: int
    slots: int
    n_ctx: int
    embeds: bool = False
    pools: bool = False
    lora: tuple[Adapter, ...] = ()


def plan(path: Path, options: EngineOptions) -> Plan:
    """Decide on threads, slots and context from the options, the machine and the file's header.

    Raises:
        UnknownModel: the file can't be read.
        UsageError: `$DECLM_THREADS` is no number.
    """
    header = read_header(path)
    threads = options.threads or _asked_threads() or usable_cores()
    architecture = header.get("general.architecture", "")
    trained = header.get(f"{architecture}.context_length") or _CONTEXT
    n_ctx = min(options.n_ctx or _CONTEXT, trained)
    affordable = int(memory_bytes() / 4 // max(1, n_ctx * _cache_bytes(header, architecture)))
    slots = options.slots or max(1, min(threads // 2, 8, affordable))
    pools = options.embeds and f"{architecture}.pooling_type" not in header
    for adapter in options.lora:
        adapter.check()
    return Plan(threads, slots, n_ctx, options.embeds, pools, options.lora)


def _asked_threads() -> int | None:
    text = os.environ.get("DECLM_THREADS", "")
    if text and not (text.isdecimal() and int(text)):
        raise UsageError(f"DECLM_THREADS={text!r} must be a whole number from 1")
    return int(text) if text else None


def _cache_bytes(header: Mapping[str, Any], architecture: str) -> int:
    """Bytes of key and value cache per token, at 16 bits a number."""

    def number(key: str, default: int) -> int:
        value = header.get(f"{architecture}.{key}")
        return value if isinstance(value, int) and value > 0 else default

    heads = number("attention.head_count", 32)
    width = number("attention.key_length", number("embedding_length", 4096) // heads)
    return number("block_count", 32) * number("attention.head_count_kv", heads) * width * 2 * 2


@dataclass(eq=False)
class Engine:
    """One loaded model file; the weights are loaded by the first call.

    `answer` may be called from any thread; as many calls run at once as there are slots.
    """

    path: Path
    plan: Plan
    _pool: ThreadPoolExecutor = field(init=False, repr=False)
    _server: Any = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _closed: threading.Event = field(default_factory=threading.Event, init=False, repr=False)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.plan.slots, thread_name_prefix="declm-local")

    def submit(
        self,
        body: Mapping[str, Any],
        stop: Callable[[], bool],
        put: Callable[[dict[str, Any]], None] | None = None,
    ) -> Future[list[dict[str, Any]]]:
        """Start a chat completion; the future holds the chunks of the streamed reply.

        Chunks have OpenAI's shape; a failure is one chunk `{"error": ...}`. `stop()` is asked after
        each chunk and each batch of the prompt; once it is true the call ends early. `put` is called
        with each chunk as it comes, in a thread of the engine.
        """
        return self._pool.submit(self._answer, dict(body), stop, put)

    def embed(self, texts: Sequence[str], stop: Callable[[], bool]) -> Future[dict[str, Any]]:
        """Start to turn texts into vectors; the future holds what OpenAI's API answers, or `{"error": ...}`.

        Args:
            texts: what is embedded, a few at a time.
            stop: asked before each few; once it is true the call ends early.
        """
        return self._pool.submit(self._embed, texts, stop)

    def _embed(self, texts: Sequence[str], stop: Callable[[], bool]) -> dict[str, Any]:
        server = self._loaded()
        tokens = 0
        found: list[dict[str, Any]] = []
        for few in _few(texts):
            if self._closed.is_set() or stop():
                return {"error": {"message": "stopped"}}
            content: dict[str, Any] = server.handle_embeddings({"input": few})
            if "error" in content:
                return content
            found += ({**item, "index": len(found) + item["index"]} for item in content["data"])
            tokens += content["usage"]["prompt_tokens"]
        return {"data": found, "usage": {"prompt_tokens": tokens}}

    def grammar(self, schema: Mapping[str, Any]) -> str:
        """Write a JSON schema as a grammar that leaves no choice of white space.

        Free white space costs a small model half of its reply, and a place to loop in (measured: 34
        tokens and 0.86 s against 13 tokens and 0.22 s for two short fields). What the grammar can't
        express is left to validation.
        """
        guidance = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": True}
        grammar: str = _xllamacpp().json_schema_to_grammar({**closed(schema), "x-guidance": guidance})
        return grammar

    def close(self) -> None:
        """End running calls and free the weights."""
        self._closed.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._server = None

    def abandon(self) -> None:
        """Forget the engine in a forked child, where its threads do not exist, without destroying it."""
        keep_alive(self)

    def _answer(
        self, body: dict[str, Any], stop: Callable[[], bool], put: Callable[[dict[str, Any]], None] | None
    ) -> list[dict[str, Any]]:
        server = self._loaded()
        chunks: list[dict[str, Any]] = []

        def receive(chunk: dict[str, Any]) -> bool:
            chunks.append(chunk)
            if put is not None:
                put(chunk)
            return self._closed.is_set() or stop()

        if stop():
            return chunks
        try:
            server.handle_chat_completions(
                {**body, "stream": True, "stream_options": {"include_usage": True}, "return_progress": True}, receive
            )
        except ValueError as error:  # what the engine raises for a request that it can't take
            chunks.append({"error": {"code": 400, "type": "invalid_request_error", "message": str(error)}})
        return chunks

    def _loaded(self) -> Any:
        with self._lock:
            if self._server is None:
                self._server = _load(self.path, self.plan)
            return self._server


def _load(path: Path, plan: Plan) -> Any:
    library = _xllamacpp()
    params = library.CommonParams()
    params.model.path = str(path)
    params.n_ctx = plan.n_ctx * plan.slots
    params.n_parallel = plan.slots
    params.n_batch = params.n_ubatch = _PROMPT_BATCH
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = plan.threads
    params.cache_ram_mib = _PREFIX_CACHE_MIB  # prompts of other predictors stay warm when they take turns
    if plan.embeds:
        params.embedding = True
        params.n_batch = params.n_ubatch = plan.n_ctx  # a text is read in one go
        if plan.pools:  # the model was trained to go on with texts, and has no vector of its own for one
            params.pooling_type = library.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.lora_adapters = [library.CommonAdapterLoraInfo(str(a.path), a.strength) for a in plan.lora]
    params.verbosity = -1
    params.warmup = False
    # The library always listens on a loopback port: nobody else may use it.
    params.api_keys = [secrets.token_urlsafe(32)]
    params.ui = params.endpoint_slots = False
    try:
        return library.Server(params)
    except (RuntimeError, ValueError) as error:
        what = " with ".join([repr(str(path)), *(repr(str(adapter.path)) for adapter in plan.lora)])
        raise UnknownModel(f"llama.cpp can't load {what}: {error}") from error


def _xllamacpp() -> Any:
    try:
        import xllamacpp  # pyright: ignore[reportMissingTypeStubs]  # it ships no types
    except ImportError as error:
        raise MissingExtra("local", "xllamacpp") from error
    return xllamacpp


@dataclass(eq=False)
class Engines:
    """All engines of this process, by real path and options."""

    _open: dict[tuple[Path, EngineOptions], Engine] = field(default_factory=dict[Any, Any])
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _forked: bool = False

    def get(self, path: Path, options: EngineOptions) -> Engine:
        """The engine of a model file, made at the first call.

        Raises:
            MissingExtra: xllamacpp is not installed.
            UnknownModel: the file can't be read.
        """
        key = (path.resolve(), options)
        with self._lock:
            if key not in self._open:
                _xllamacpp()
                self._open[key] = Engine(key[0], plan(key[0], options))
            return self._open[key]

    def close(self) -> None:
        """Close every engine; the next `get` loads anew."""
        with self._lock:
            for engine in self._open.values():
                if self._forked:
                    engine.abandon()
                else:
                    engine.close()
            self._open.clear()

    def abandon(self) -> None:
        """Start afresh in a forked child."""
        if self._open and not self._forked:
            self._forked = True
            skip_destructors()
        self._lock = threading.Lock()
        for engine in self._open.values():
            engine.abandon()
        self._open = {}


ENGINES = Engines()
atexit.register(ENGINES.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=ENGINES.abandon)


def _few(texts: Sequence[str]) -> Iterator[list[str]]:
    """Texts in groups of a limited length, of one text at least."""
    length = 0
    few: list[str] = []
    for text in texts:
        if few and length + len(text) > _FEW_CHARACTERS:
            yield few
            few, length = [], 0
        few.append(text)
        length += len(text)
    if few:
        yield few
