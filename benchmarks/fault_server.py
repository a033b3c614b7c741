"""A real server on loopback that speaks OpenAI's wire and fails on command."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What the server does with one request: a status with a body, or a fault below HTTP.

    With `events` it sends these as server-sent events, one every `drip_s` seconds; `drop` then breaks
    the connection after the last one, and `hang_s` keeps it open that long.
    """

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    hang_s: float = 0.0
    drip_s: float = 0.0
    drop: bool = False
    events: Sequence[Any] | None = None


def completion(
    text: str | None = "hello", *, finish: str = "stop", tokens: tuple[int, int] = (11, 3), **message: Any
) -> Answer:
    """A chat completion; `message` adds to the message, such as `reasoning_content`."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    return Answer(
        body={"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    )


def streamed(
    *pieces: str | Mapping[str, Any],
    finish: str | None = "stop",
    tokens: tuple[int, int] | None = (11, 3),
    error: str = "",
    **fault: Any,
) -> Answer:
    """A chat completion as a stream of texts or deltas; without `finish` it ends in the middle, with an `error`."""
    deltas = [{"role": "assistant", "content": ""}, *({"content": p} if isinstance(p, str) else p for p in pieces)]
    events: list[Any] = [_event({"index": 0, "delta": delta, "finish_reason": None}) for delta in deltas]
    if finish is not None:
        events.append(_event({"index": 0, "delta": {}, "finish_reason": finish}))
        if tokens is not None:
            usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
            events.append({**_event(), "usage": usage})
        events.append("[DONE]")
    if error:
        events.append({"error": {"message": error, "type": "server_error", "code": None}})
    return Answer(events=events, **fault)


def _event(*choices: Any) -> dict[str, Any]:
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": list(choices)}


def failure(
    status: int, message: str = "it failed", *, code: str | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """An error in OpenAI's shape."""
    return Answer(status, {"error": {"message": message, "type": "error", "code": code, "param": None}}, headers or {})


@dataclass
class FaultServer:
    """The server's address, what it will answer, and what it saw: paths, headers with names in lower case, bodies.

    `abandoned` is set once a client has closed a connection before the end of a stream.
    """

    url: str
    answer: Callable[[Mapping[str, Any]], Answer] = field(default=lambda _body: completion())
    bodies: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    headers: list[Mapping[str, str]] = field(default_factory=list[Mapping[str, str]])
    paths: list[str] = field(default_factory=list[str])
    abandoned: threading.Event = field(default_factory=threading.Event)

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
    request_queue_size = 512  # a burst of connections is no fault
    state: FaultServer
    stopped: threading.Event

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about clients that hang up."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or the body waits 40 ms for the client to acknowledge the headers
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]  # it serves no other

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def do_POST(self) -> None:
        state = self.server.state
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        state.bodies.append(body)
        state.paths.append(self.path)
        state.headers.append({name.lower(): value for name, value in self.headers.items()})
        answer = state.answer(body)
        if answer.events is not None:
            self._stream(answer, answer.events)
            return
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

    def _stream(self, answer: Answer, events: Sequence[Any]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            for event in events:
                data = f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()
                if answer.drip_s and self.server.stopped.wait(answer.drip_s):
                    return
            if answer.hang_s:
                self.connection.settimeout(answer.hang_s)
                if not self.connection.recv(1):
                    self.server.state.abandoned.set()
            if answer.drop or answer.hang_s:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
            else:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True
            self.server.state.abandoned.set()

    def _write(self, data: bytes, drip_s: float) -> None:
        try:
            for start in range(0, len(data), 1 if drip_s else len(data) or 1):
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
