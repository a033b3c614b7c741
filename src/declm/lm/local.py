"""`LM("local/...")`: a GGUF model file answers in this process; no key, no network."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from declm.errors import BadRequest, ContextTooLong, MissingExtra, ServerError, TimedOut, UnknownModel, UsageError
from declm.lm.adapters import adapters
from declm.lm.engine import ENGINES, Engine, EngineOptions
from declm.lm.pull import PINNED
from declm.lm.streams import areceive, receive
from declm.lm.weights import model_path
from declm.messages import Capabilities, Chunk, Finish, Request, Response, Token
from declm.text import canonical, closest
from declm.usage import Usage

_MAX_TOKENS = 1024
_ALTERNATIVES = 256
ENGINE_OPTIONS = frozenset({"threads", "slots", "n_ctx", "lora"})
# What llama.cpp reads of a request; it ignores every other key, so a misspelt one would go unseen.
_REQUEST_OPTIONS = frozenset(
    "temperature max_tokens top_p top_k min_p typical_p seed stop repeat_penalty repeat_last_n presence_penalty "
    "frequency_penalty dynatemp_range dynatemp_exponent mirostat mirostat_tau mirostat_eta dry_multiplier dry_base "
    "dry_allowed_length dry_penalty_last_n dry_sequence_breakers xtc_probability xtc_threshold samplers min_keep "
    "logit_bias ignore_eos grammar response_format chat_template_kwargs reasoning_format n_probs timeout".split()
)


@dataclass(eq=False)
class Local:
    """Sends requests to the engine of one model file; satisfies `declm.protocols.LM`.

    Greedy unless `temperature` says otherwise; replies end at 1024 tokens unless `max_tokens` does.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    _known: list[Path] = field(default_factory=list[Path], init=False, repr=False)

    def __post_init__(self) -> None:
        adapters(self.options.get("lora"))
        for key, value in self.options.items():
            if key in ENGINE_OPTIONS - {"lora"} and (not isinstance(value, int) or value < 1):
                raise UsageError(f"{key}={value!r} must be a whole number from 1")
            if key not in ENGINE_OPTIONS | _REQUEST_OPTIONS:
                near = closest(key, sorted(ENGINE_OPTIONS | _REQUEST_OPTIONS))
                hint = f"; did you mean {near!r}?" if near else ""
                raise UsageError(f"a local model has no option {key!r}{hint}")

    @property
    def model(self) -> str:
        """The name with its provider."""
        return f"local/{self.name}"

    @property
    def identity(self) -> str:
        """Name, options, and the files' sizes and times of change, so that other files are another LM."""
        options = canonical({k: v for k, v in self.options.items() if k not in ENGINE_OPTIONS})
        return " ".join(
            [self.model, self._weights(), options, *(a.identity for a in adapters(self.options.get("lora")))]
        )

    def _weights(self) -> str:
        pinned = PINNED.get(self.name)
        if pinned is not None:
            return pinned.gguf_sha256[:16]
        try:
            path = self.path()
            state = path.stat()
        except (UnknownModel, MissingExtra, OSError):
            return "missing"
        return f"{path} {state.st_size} {state.st_mtime_ns}"

    @property
    def capabilities(self) -> Capabilities:
        """Read from the file's header and the machine, without loading the weights.

        Raises:
            UnknownModel: there is no such file.
        """
        planned = self.engine().plan
        return Capabilities(
            structured=True, context_tokens=planned.n_ctx, concurrency=planned.slots, logprobs=_ALTERNATIVES
        )

    def complete(self, request: Request) -> Response:
        """Answer in a thread of the engine; Ctrl-C stops it within one batch of the prompt."""
        job = self._prepare(request)
        try:
            job.start().result()
            return job.response()
        except BaseException:
            job.stop()
            raise

    async def acomplete(self, request: Request) -> Response:
        """Answer in a thread of the engine; cancelling the task stops it likewise."""
        job = await asyncio.to_thread(self._prepare, request)
        try:
            await asyncio.wrap_future(job.start())
            return job.response()
        except BaseException:
            job.stop()
            raise

    def stream(self, request: Request) -> Generator[Chunk]:
        """Answer token by token in a thread of the engine; closing and Ctrl-C stop it."""
        yield from receive(self._prepare(request))

    async def astream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Answer token by token in a thread of the engine, without blocking this event loop."""
        job = await asyncio.to_thread(self._prepare, request)
        async with aclosing(areceive(job)) as chunks:
            async for chunk in chunks:
                yield chunk

    def commit(self, request: Request, response: Response) -> None:
        """Do nothing: there is no cache here."""

    def engine(self, *, embeds: bool = False) -> Engine:
        """The shared engine of the file, or the one that embeds.

        Raises:
            MissingExtra: xllamacpp is not installed.
            UnknownModel: the file can't be found or read.
        """
        chosen = {k: self.options[k] for k in ENGINE_OPTIONS & self.options.keys() if k != "lora"}
        return ENGINES.get(self.path(), EngineOptions(**chosen, embeds=embeds, lora=adapters(self.options.get("lora"))))

    def path(self) -> Path:
        """Where the file is; raises as `engine` does."""
        if not self._known:
            self._known.append(model_path(self.name))
        return self._known[0]

    def _prepare(self, request: Request) -> _Job:
        # Finding a file on the hub may take long, and so may reading a header on a slow disk.
        engine = self.engine()
        body = self._body(engine, request)
        timeout = body.pop("timeout", None)
        return _Job(self.model, engine, body, None if timeout is None else float(timeout))

    def _body(self, engine: Engine, request: Request) -> dict[str, Any]:
        options = {"temperature": 0.0, "max_tokens": _MAX_TOKENS, **self.options, **request.options}
        body = {k: v for k, v in options.items() if k not in ENGINE_OPTIONS and v is not None}
        body["messages"] = [{"role": m.role, "content": m.content} for m in request.messages]
        body["cache_prompt"] = True
        if request.logprobs:
            body |= {"logprobs": True, "top_logprobs": min(request.logprobs, _ALTERNATIVES)}
        if "seed" in body:
            body["seed"] = int(body["seed"]) + request.sample  # samples of one prompt must differ
        schema = _schema_of(body.pop("response_format", None)) or request.schema
        if schema is not None and "grammar" not in body:
            body["grammar"] = engine.grammar(schema)
            # The grammar binds from the first token, so a reasoning model can't think aloud first.
            body.setdefault("chat_template_kwargs", {"enable_thinking": False})
        return body


def _schema_of(response_format: Any) -> Mapping[str, Any] | None:
    """The JSON schema in OpenAI's `response_format`; any JSON object for plain JSON mode."""
    if response_format is None:
        return None
    if not isinstance(response_format, Mapping):
        raise UsageError("response_format must be a mapping such as {'type': 'json_schema', 'json_schema': {...}}")
    wanted = cast("Mapping[str, Any]", response_format)  # the wire's JSON
    if wanted.get("type") == "json_schema":
        schema: Mapping[str, Any] = wanted["json_schema"]["schema"]
        return schema
    if wanted.get("type") == "json_object":
        free: Mapping[str, Any] = wanted.get("schema", {"type": "object"})
        return free
    return None


class _Job:
    """One call of an engine, and how to read what it gives; satisfies `declm.lm.streams.Call`."""

    def __init__(self, model: str, engine: Engine, body: Mapping[str, Any], timeout_s: float | None) -> None:
        self._model = model
        self._engine = engine
        self._body = body
        self._timeout_s = timeout_s
        self._began_s = self._ended_s = 0.0
        self._stopped = threading.Event()
        self._future: Future[list[dict[str, Any]]] = Future()

    def start(self, put: Callable[[Chunk], None] | None = None) -> Future[list[dict[str, Any]]]:
        """Queue the call for a slot; `put` is called with each piece of the reply."""

        def pass_on(chunk: dict[str, Any]) -> None:
            text, reasoning = _piece(chunk)
            if put is not None and (text or reasoning):
                put(Chunk(text, reasoning))

        self._future = self._engine.submit(self._body, self._over, None if put is None else pass_on)
        return self._future

    def stop(self) -> None:
        """End the work within one batch of the prompt or one token of the reply."""
        self._stopped.set()

    def _over(self) -> bool:
        # The clock starts with the work: waiting for a slot is not the model's time, nor is the reader's.
        self._ended_s = time.monotonic()
        self._began_s = self._began_s or self._ended_s
        return self._stopped.is_set() or self._late()

    def _late(self) -> bool:
        return self._timeout_s is not None and self._ended_s - self._began_s > self._timeout_s

    def response(self) -> Response:
        """Put the chunks together, or raise what they report."""
        reply = _Reply()
        for chunk in self._future.result():
            if "error" in chunk:
                raise self._failure(chunk["error"])
            reply.add(chunk)
        if reply.finish is None:
            if self._late():
                raise TimedOut(f"{self._model!r} did not finish within {self._timeout_s:g} s", model=self._model)
            raise ServerError(f"{self._model!r} was closed during a call", model=self._model)
        return reply.response(self._model, self._ended_s - self._began_s)

    def _failure(self, error: Mapping[str, Any]) -> Exception:
        message = str(error.get("message", error))
        if error.get("type") == "exceed_context_size_error":
            return ContextTooLong(
                f"the prompt does not fit {self._model!r}: {message}; use fewer or shorter demonstrations, "
                f"or LM({self._model!r}, n_ctx=...) if the model was trained for more",
                model=self._model,
            )
        kind = ServerError if int(error.get("code", 500)) >= 500 else BadRequest
        return kind(f"{self._model!r} refused the request: {message}", model=self._model)


class _Reply:
    """Accumulates the chunks of a streamed reply."""

    def __init__(self) -> None:
        self.finish: Finish | None = None
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._tokens: list[Token] = []
        self._usage: Mapping[str, Any] = {}

    def add(self, chunk: Mapping[str, Any]) -> None:
        self._usage = chunk.get("usage") or self._usage
        text, reasoning = _piece(chunk)
        self._text.append(text)
        self._reasoning.append(reasoning)
        for choice in chunk.get("choices", ()):
            scored: Mapping[str, Any] = choice.get("logprobs") or {}
            self._tokens += [_token(entry) for entry in scored.get("content") or ()]
            if choice.get("finish_reason"):
                self.finish = "length" if choice["finish_reason"] == "length" else "stop"

    def response(self, model: str, seconds: float) -> Response:
        usage = Usage(
            calls=1,
            input_tokens=int(self._usage.get("prompt_tokens", 0)),
            output_tokens=int(self._usage.get("completion_tokens", 0)),
            seconds=seconds,
        )
        reasoning = "".join(self._reasoning) or None
        return Response("".join(self._text), reasoning, self.finish or "stop", usage, model, tokens=tuple(self._tokens))


def _piece(chunk: Mapping[str, Any]) -> tuple[str, str]:
    """The text and the reasoning that a chunk adds."""
    deltas = [choice.get("delta", {}) for choice in chunk.get("choices", ())]
    texts, thoughts = ("".join(d.get(key) or "" for d in deltas) for key in ("content", "reasoning_content"))
    return texts, thoughts


def _token(entry: Mapping[str, Any]) -> Token:
    top = tuple((str(t["token"]), float(t["logprob"])) for t in entry.get("top_logprobs", ()))
    return Token(str(entry["token"]), float(entry["logprob"]), top)
