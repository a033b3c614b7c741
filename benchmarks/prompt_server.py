"""A model file behind OpenAI's wire on loopback, so that libraries of all kinds can ask the same model.

Chat completions only, one at a time, and nothing of a request is ignored: what can't be done is refused,
and so is `response_format`, since no grammar may hold the replies. Each exchange is kept in order, with the
engine's own counts of tokens.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

from records import keep
from typing_extensions import Self

from declm.lm.engine import ENGINES, EngineOptions

KNOWN = frozenset("model messages temperature max_tokens".split())
"""What a request may hold."""

ALIASES = {"max_completion_tokens": "max_tokens"}
"""Newer names of OpenAI's for the same."""


@dataclass(frozen=True)
class Exchange:
    """A reply, and what it cost by the engine's count; `finish` is `length` where the limit cut it off."""

    text: str
    finish: str
    prompt_tokens: int
    reply_tokens: int


class Model(Protocol):
    """Answers the body of a chat completion."""

    def answer(self, body: Mapping[str, Any]) -> Exchange:
        """Answer, or raise a `ValueError` that says what is wrong with the body."""
        ...


@dataclass
class Engine:
    """A GGUF file in llama.cpp.

    Args:
        path: the file.
        threads: that it may use; None for what `declm.LM` would take.
        replies: file that keeps the exchanges for the next run; None for none.
    """

    path: Path
    threads: int | None = None
    replies: Path | None = None
    _known: dict[str, Exchange] = field(default_factory=dict[str, Exchange], init=False)

    def __post_init__(self) -> None:
        lines = self.replies.read_text("utf-8").splitlines() if self.replies and self.replies.is_file() else []
        self._known |= {key: Exchange(**rest) for line in lines for key, rest in json.loads(line).items()}

    def answer(self, body: Mapping[str, Any]) -> Exchange:
        """Answer, or raise a `ValueError` with the engine's words."""
        key = self.key(body)
        if key not in self._known:
            engine = ENGINES.get(self.path, EngineOptions(threads=self.threads, slots=1))
            chunks = engine.submit({**body, "cache_prompt": True}, lambda: False).result()
            self._known[key] = exchange(chunks)
            keep({key: asdict(self._known[key])}, self.replies)
        return self._known[key]

    def key(self, body: Mapping[str, Any]) -> str:
        """What a reply depends on: the file and the body without the model's name."""
        asked = {name: value for name, value in body.items() if name != "model"}
        wanted = json.dumps([self.path.name, self.path.stat().st_size, asked], sort_keys=True)
        return hashlib.sha256(wanted.encode()).hexdigest()


def exchange(chunks: Iterable[Mapping[str, Any]]) -> Exchange:
    """The exchange that a streamed reply tells of.

    Raises:
        ValueError: the engine refused the request, or broke off.
    """
    text, finish, usage = "", "", dict[str, int]()
    for chunk in chunks:
        if "error" in chunk:
            raise ValueError(chunk["error"]["message"])
        usage = chunk.get("usage") or usage
        for choice in chunk.get("choices", ()):
            text += choice.get("delta", {}).get("content") or ""
            finish = choice.get("finish_reason") or finish
    if not finish:
        raise ValueError("the engine broke off")
    return Exchange(text, finish, usage["prompt_tokens"], usage["completion_tokens"])


class ModelServer:
    """Serves a model in threads of its own; `url` is the API's base, `known` what a request may hold.

    A GET of any path below it says how many calls were answered since the last one.

    Example:
        >>> with ModelServer(Engine(Path("tiny.gguf"))) as server:  # doctest: +SKIP
        ...     dm.LM("openai/tiny", api_base=server.url, api_key="none")
    """

    def __init__(self, model: Model, known: frozenset[str] = KNOWN) -> None:
        self._model, self._known = model, known
        self._exchanges = list[Exchange]()
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        """Base of the API."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def taken(self) -> list[Exchange]:
        """The exchanges since the last time this was asked."""
        with self._lock:
            found, self._exchanges = self._exchanges, []
        return found

    def reply(self, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and answer to a request."""
        asked = {ALIASES.get(name, name): value for name, value in body.items()}
        unknown = sorted(asked.keys() - self._known)
        if unknown:
            return 400, {"error": {"message": f"{', '.join(unknown)}: not known here", "type": "invalid_request_error"}}
        try:
            with self._lock:
                made = self._model.answer(asked)
                self._exchanges.append(made)
        except ValueError as error:
            return 400, {"error": {"message": str(error), "type": "invalid_request_error"}}
        return 200, completion(str(asked.get("model", "")), made)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._send(*server.reply(body))

            def do_GET(self) -> None:
                self._send(200, {"calls": len(server.taken())})

            def _send(self, status: int, answer: Mapping[str, Any]) -> None:
                sent = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def completion(model: str, made: Exchange) -> dict[str, Any]:
    """An exchange as OpenAI's wire has it."""
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": made.text}, "finish_reason": made.finish}],
        "usage": {
            "prompt_tokens": made.prompt_tokens,
            "completion_tokens": made.reply_tokens,
            "total_tokens": made.prompt_tokens + made.reply_tokens,
        },
    }
