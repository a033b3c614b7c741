"""A server on loopback with the batch APIs of OpenAI, Mistral and Anthropic, whose jobs end after a few looks."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = Mapping[str, Any]


def openai_line(id: str, body: Any, status: int = 200) -> dict[str, Any]:
    return {"id": f"r-{id}", "custom_id": id, "response": {"status_code": status, "body": body}, "error": None}


def chat(text: str) -> dict[str, Any]:
    """A chat completion of 10 tokens after 100."""
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return {"id": "c", "object": "chat.completion", "model": "m", "choices": choices, "usage": usage}


@dataclass
class Job:
    """One job: its requests by id, and how often it has been looked at."""

    requests: dict[str, Body]
    file: str = ""
    looks: int = 0


@dataclass
class BatchServer:
    """What it was sent, and how it answers.

    Args:
        answer: what becomes of one request: a text, or a line of a results file as it is.
        looks: how many looks at a job find it unfinished.
        status: what a job ends with.
        fails: statuses that the next requests of any kind are refused with.
        loses: whether the connection breaks off after the next job has been made.
    """

    url: str = ""
    answer: Callable[[str, Body], str | dict[str, Any]] = lambda _id, _body: "hello"
    looks: int = 1
    status: str = ""
    fails: list[int] = field(default_factory=list[int])
    loses: bool = False
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    jobs: dict[str, Job] = field(default_factory=dict[str, Job])
    seen: list[str] = field(default_factory=list[str])
    headers: list[Mapping[str, str]] = field(default_factory=list[Mapping[str, str]])

    def made(self, requests: dict[str, Body], file: str = "") -> str:
        name = f"job-{len(self.jobs) + 1}"
        self.jobs[name] = Job(requests, file)
        return name

    def lines(self, job: Job, kind: str) -> bytes:
        out = list[bytes]()
        for id, body in job.requests.items():
            said = self.answer(id, body)
            if isinstance(said, str) and kind == "anthropic":
                message = {
                    "id": "m", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
                    "content": [{"type": "text", "text": said}], "usage": {"input_tokens": 100, "output_tokens": 10},
                }  # fmt: skip
                said = {"custom_id": id, "result": {"type": "succeeded", "message": message}}
            elif isinstance(said, str):
                said = openai_line(id, chat(said))
            if said:
                out.append(json.dumps(said).encode())
        return b"\n".join(out)

    def get(self, path: str) -> bytes | Body | None:
        parts = path.partition("?")[0].strip("/").split("/")[1:]  # after /v1
        if parts[0] == "files":
            return self.lines(self.jobs[parts[1]], "openai")
        if parts[-1] == "results":
            return self.lines(self.jobs[parts[2]], "anthropic")
        if parts in (["batches"], ["batch", "jobs"]):
            return {"data": [self.shown(name, parts[0]) for name in self.jobs]}
        job = self.jobs.get(parts[-1])
        if job is None:
            return None
        job.looks += 1
        return self.shown(parts[-1], parts[0])

    def shown(self, name: str, kind: str) -> Body:
        job = self.jobs[name]
        total, ended = len(job.requests), job.looks > self.looks
        done = total if ended else 0
        if kind == "messages":
            counts = {"processing": total - done, "succeeded": done, "errored": 0, "canceled": 0, "expired": 0}
            return {"id": name, "processing_status": "ended" if ended else "in_progress", "request_counts": counts}
        if kind == "batch":
            status = (self.status or "SUCCESS") if ended else "RUNNING"
            counts = {"total_requests": total, "succeeded_requests": done, "failed_requests": 0}
            return {
                "id": name,
                "status": status,
                "output_file": name,
                "input_files": [job.file],
                "errors": [],
                **counts,
            }
        status = (self.status or "completed") if ended else "in_progress"
        errors = {"data": [{"code": "c", "message": "line 1 is odd"}]} if status == "failed" else None
        counts = {"total": total, "completed": done, "failed": 0}
        file = name if ended and status != "failed" else None
        return {
            "id": name, "status": status, "request_counts": counts, "output_file_id": file, "errors": errors,
            "input_file_id": job.file,
        }  # fmt: skip

    def post(self, path: str, data: bytes) -> Body:
        if path.endswith("/files"):
            name = f"file-{len(self.files) + 1}"
            found = re.search(rb"\r\n\r\n(\{.*\})\r\n--", data, re.DOTALL)
            assert found is not None
            self.files[name] = found[1]
            return {"id": name}
        said = json.loads(data)
        if path.endswith("/messages/batches"):
            return self.shown(self.made({r["custom_id"]: r["params"] for r in said["requests"]}), "messages")
        file = said.get("input_file_id") or said["input_files"][0]
        lines = [json.loads(line) for line in self.files[file].splitlines()]
        return self.shown(
            self.made({line["custom_id"]: line["body"] for line in lines}, file),
            path.strip("/").partition("/")[2].partition("/")[0],
        )


@contextmanager
def serving_batches() -> Iterator[BatchServer]:
    """Serve inside the block."""
    state = BatchServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._give(lambda: state.get(self.path))

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["content-length"]))
            self._give(lambda: state.post(self.path, data))

        def _give(self, make: Callable[[], bytes | Body | None]) -> None:
            state.seen.append(f"{self.command} {self.path}")
            state.headers.append({name.lower(): value for name, value in self.headers.items()})
            status = state.fails.pop(0) if state.fails else 200
            content = make() if status == 200 else {"error": {"message": "not now"}}
            if content is None:
                status, content = 404, {"error": {"message": "no such job"}}
            if state.loses and self.command == "POST" and not self.path.endswith("/files"):
                state.loses = False
                self.close_connection = True
                return
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
