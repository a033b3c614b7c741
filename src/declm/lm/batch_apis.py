"""Batch APIs of providers: how a job is made, looked at and read.

Two kinds: OpenAI's, with a file of requests and a file of replies, which Groq and Mistral follow, and Anthropic's.
All run in the event loop of `TRAFFIC`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, cast

from declm.lm.connections import download, fetch
from declm.lm.lanes import Question
from declm.lm.wire import Refused, Unreadable, complaint, parsed

Outcome: TypeAlias = bytes | Refused
"""What a job gave for one request: the body of a reply, or why there is none."""

MAX_REQUESTS, MAX_BYTES = 50_000, 100 * 2**20
"""Of one job: what the strictest provider takes."""

_LIMIT_S, _UPLOAD_S = 60.0, 600.0
_NOT_SENT = 400
_ANTHROPIC_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "overloaded_error": 529,
}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    Args:
        status: in the provider's own word.
        done: requests that have an outcome.
        total: requests in all.
        ended: whether nothing more will come.
        places: URLs of its results.
        missing: what holds for requests that have no outcome when it has ended.
    """

    status: str
    done: int
    total: int
    ended: bool = False
    places: tuple[str, ...] = ()
    missing: Refused = field(default_factory=lambda: Refused("the batch job ended without an answer to this request"))


class BatchAPI(Protocol):
    """One account of a provider. All raise `Refused`, `Unreadable`, TimeoutError, or an OSError of aiohttp's."""

    @property
    def place(self) -> str:
        """URL that its jobs lie below."""
        ...

    async def submit(self, questions: Mapping[str, Question]) -> str:
        """Make a job of requests by id; returns its own id."""
        ...

    async def look(self, job: str) -> Progress:
        """How far a job is."""
        ...

    def outcomes(self, progress: Progress) -> AsyncGenerator[tuple[str, Outcome]]:
        """What a job that has ended gave, by the ids of its requests."""
        ...


def batch_api(provider: str, model: str, question: Question) -> BatchAPI | None:
    """The batch API that takes a provider's questions; None if it has none."""
    headers = {k: v for k, v in question.headers.items() if k.lower() != "content-type"}
    if provider == "anthropic":
        return AnthropicBatches(f"{question.url}/batches", headers)
    base, separator, _ = question.url.rpartition("/chat/completions")
    if not separator or provider == "deepseek":
        return None
    kind = MistralBatches if provider == "mistral" else OpenAIBatches
    return kind(base, headers, model)


@dataclass(frozen=True)
class OpenAIBatches:
    """Jobs of a server with OpenAI's `/files` and `/batches`."""

    base: str
    headers: Mapping[str, str]
    model: str

    @property
    def place(self) -> str:
        """URL of the jobs."""
        return f"{self.base}/batches"

    async def submit(self, questions: Mapping[str, Question]) -> str:
        """Upload the requests and start a job on them."""
        lines = b"\n".join(self._line(id, question) for id, question in questions.items())
        file = await self._upload(lines)
        try:
            made = await self._post(self.place, self._job(file))
        except Exception as error:
            if isinstance(error, Refused) and error.status is not None and error.status < 500:
                raise
            # The answer was lost, perhaps not the job: a second one would be paid for too.
            found = await self._job_of(file)
            if found is None:
                raise
            made = found
        return _text(made, "id")

    async def look(self, job: str) -> Progress:
        """How far a job is."""
        content = await self._get(f"{self.place}/{job}")
        counts = _member(content, "request_counts")
        status = _text(content, "status")
        return Progress(
            status,
            _count(counts, "completed") + _count(counts, "failed"),
            _count(counts, "total"),
            status in {"completed", "failed", "expired", "cancelled"},
            self._places(content, "output_file_id", "error_file_id"),
            self._missing(job, status, content, refused={"failed", "cancelled"}),
        )

    async def outcomes(self, progress: Progress) -> AsyncGenerator[tuple[str, Outcome]]:
        """Read the files of replies and of errors."""
        for place in progress.places:
            async with aclosing(download(place, self.headers)) as lines:
                async for line in lines:
                    if line.strip():
                        yield _openai_outcome(parsed(line))

    def _line(self, id: str, question: Question) -> bytes:
        url = b'"method": "POST", "url": "/v1/chat/completions"'
        return b'{"custom_id": "%s", %s, "body": %s}' % (id.encode(), url, question.body)

    def _job(self, file: str) -> dict[str, Any]:
        return {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}

    async def _job_of(self, file: str) -> Mapping[str, Any] | None:
        listed = _list(await self._get(self.place), "data")
        return next(
            (job for job in listed if file in (job.get("input_file_id"), *(job.get("input_files") or ()))), None
        )

    def _places(self, content: Mapping[str, Any], *names: str) -> tuple[str, ...]:
        files = (content.get(name) for name in names)
        return tuple(f"{self.base}/files/{file}/content" for file in files if file)

    def _missing(self, job: str, status: str, content: Mapping[str, Any], refused: set[str]) -> Refused:
        errors = _list(content, "errors") or _list(_member(content, "errors"), "data")
        said = "; ".join(str(error.get("message")) for error in errors[:3])
        text = f"the batch job {job} is {status}" + (f": {said}" if said else "")
        return Refused(text, _NOT_SENT if status in refused else None)

    async def _upload(self, lines: bytes) -> str:
        mark = secrets.token_hex(16)
        parts = (
            f'--{mark}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--{mark}\r\n'
            'Content-Disposition: form-data; name="file"; filename="batch.jsonl"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        )
        body = parts.encode() + lines + f"\r\n--{mark}--\r\n".encode()
        headers = {**self.headers, "content-type": f"multipart/form-data; boundary={mark}"}
        return _text(parsed(await fetch(f"{self.base}/files", headers, body, _UPLOAD_S)), "id")

    async def _post(self, url: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
        headers = {**self.headers, "content-type": "application/json"}
        return parsed(await fetch(url, headers, json.dumps(content).encode(), _LIMIT_S))

    async def _get(self, url: str) -> Mapping[str, Any]:
        return parsed(await fetch(url, self.headers, None, _LIMIT_S))


@dataclass(frozen=True)
class MistralBatches(OpenAIBatches):
    """Jobs of Mistral's, which names a few things otherwise."""

    @property
    def place(self) -> str:
        """URL of the jobs."""
        return f"{self.base}/batch/jobs"

    async def look(self, job: str) -> Progress:
        """How far a job is."""
        content = await self._get(f"{self.place}/{job}")
        status = _text(content, "status")
        return Progress(
            status,
            _count(content, "succeeded_requests") + _count(content, "failed_requests"),
            _count(content, "total_requests"),
            status in {"SUCCESS", "FAILED", "TIMEOUT_EXCEEDED", "CANCELLED"},
            self._places(content, "output_file", "error_file"),
            self._missing(job, status, content, refused={"FAILED", "CANCELLED"}),
        )

    def _job(self, file: str) -> dict[str, Any]:
        return {"input_files": [file], "endpoint": "/v1/chat/completions", "model": self.model}


@dataclass(frozen=True)
class AnthropicBatches:
    """Anthropic's message batches."""

    place: str
    headers: Mapping[str, str]

    async def submit(self, questions: Mapping[str, Question]) -> str:
        """Start a job."""
        requests = b", ".join(
            b'{"custom_id": "%s", "params": %s}' % (id.encode(), q.body) for id, q in questions.items()
        )
        headers = {**self.headers, "content-type": "application/json"}
        return _text(parsed(await fetch(self.place, headers, b'{"requests": [%s]}' % requests, _UPLOAD_S)), "id")

    async def look(self, job: str) -> Progress:
        """How far a job is."""
        content = parsed(await fetch(f"{self.place}/{job}", self.headers, None, _LIMIT_S))
        counts = _member(content, "request_counts")
        total = sum(_count(counts, name) for name in counts)
        status = _text(content, "processing_status")
        return Progress(
            status,
            total - _count(counts, "processing"),
            total,
            status == "ended",
            (f"{self.place}/{job}/results",),
        )

    async def outcomes(self, progress: Progress) -> AsyncGenerator[tuple[str, Outcome]]:
        """Read the results."""
        async with aclosing(download(progress.places[0], self.headers)) as lines:
            async for line in lines:
                if line.strip():
                    yield _anthropic_outcome(parsed(line))


def _openai_outcome(line: Mapping[str, Any]) -> tuple[str, Outcome]:
    id, response, error = _text(line, "custom_id"), _member(line, "response"), _member(line, "error")
    body, status = _member(response, "body"), response.get("status_code")
    if body and not error and (status is None or 200 <= status < 300):
        return id, json.dumps(body).encode()
    cancelled = error.get("code") == "batch_cancelled"
    said = complaint(error or body) if error or body else "nothing"
    return id, Refused(said, _NOT_SENT if cancelled else status)


def _anthropic_outcome(line: Mapping[str, Any]) -> tuple[str, Outcome]:
    id, result = _text(line, "custom_id"), _member(line, "result")
    kind = result.get("type")
    if kind == "succeeded":
        return id, json.dumps(result.get("message")).encode()
    if kind == "errored":
        error = _member(_member(result, "error"), "error") or _member(result, "error")
        return id, Refused(complaint(error), _ANTHROPIC_STATUS.get(str(error.get("type")), 500))
    return id, Refused(f"the batch job was {kind} before this request", _NOT_SENT if kind == "canceled" else None)


def _member(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A member that is an object; empty for anything else."""
    value: Any = content.get(name)
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _list(content: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The objects in a member that is a list."""
    value: Any = content.get(name)
    return [item for item in cast("Sequence[Any]", value) if isinstance(item, dict)] if isinstance(value, list) else []


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not value:
        raise Unreadable(f"no {name!r} in {json.dumps(content)[:200]}")
    return value


def _count(content: Mapping[str, Any], name: str) -> int:
    value = content.get(name)
    return value if isinstance(value, int) else 0
