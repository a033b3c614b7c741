"""A real server on loopback that speaks OpenAI's wire and fails on command."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What the server does with one request: a status with a body, or a fault below HTTP."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    hang_s: float = 0.0
    drip_s: float = 0.0
    drop: bool = False


def completion(
    text: str | None = "hello", *, finish: str = "stop", tokens: tuple[int, int] = (11, 3), **message: Any
) -> Answer:
    """A chat completion; `message` adds to the message, such as `reasoning_content`."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    return Answer(
        body={"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    )


def failure(
    status: int, message: str = "it failed", *, code: str | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """An error in OpenAI's shape."""
    return Answer(status, {"error": {"message": message, "type": "error", "code": code, "param": None}}, headers or {})


@dataclass
class FaultServer:
    """The server's address, what it will answer, and what it saw; header names are in lower case."""

    url: str
    answer: Callable[[Mapping[str, Any]], Answer] = field(default=lambda _body: completion())
    bodies: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    headers: list[Mapping[str, str]] = field(default_factory=list[Mapping[str, str]])

    def script(self, *answers: Answer) -> None:
        """Answer in this order; the last one repeats."""
        left = list(answers)
        self.answer = lambda _body: left.pop(0) if len(left) > 1 else left[0]

    @property
    def count(self) -> int:
        """Requests seen."""
        return len(self.bodies)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    state: FaultServer
    stopped: threading.Event


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]  # it serves no other

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def do_POST(self) -> None:
        state = self.server.state
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        state.bodies.append(body)
        state.headers.append({name.lower(): value for name, value in self.headers.items()})
        answer = state.answer(body)
        if answer.hang_s:
            self.server.stopped.wait(answer.hang_s)
        if answer.hang_s or answer.drop:
            self.close_connection = True
            return
        data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self._write(data, answer.drip_s)

    def _write(self, data: bytes, drip_s: float) -> None:
        try:
            for start in range(0, len(data), 1 if drip_s else len(data)):
                self.wfile.write(data[start : start + 1] if drip_s else data)
                self.wfile.flush()
                if drip_s and self.server.stopped.wait(drip_s):
                    return
        except OSError:
            self.close_connection = True  # the client has gone


@contextmanager
def serving() -> Iterator[FaultServer]:
    """Run a server on a free port."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.stopped = threading.Event()
    server.state = FaultServer(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.state
    finally:
        server.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join(1.0)
