"""OpenAI's chat completions as data: where they are served, what is sent, and how replies are read.

Pure: no sockets and no other library. A reply is read the same way whether a server sent it whole or as
events, or litellm made it of another provider's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from declm.messages import Chunk, Finish, Request

_FINISH: Mapping[str, Finish] = {"length": "length", "content_filter": "filter"}


@dataclass(frozen=True, slots=True)
class Provider:
    """A kind of server that speaks this wire.

    Args:
        base: URL of the API, None where only the user can say it.
        bases: environment variables that hold it instead, the first one that is set.
        key: environment variable that holds the key.
        needs_key: whether there is no use in asking without.
    """

    base: str | None
    bases: Sequence[str]
    key: str
    needs_key: bool = False


PROVIDERS: Mapping[str, Provider] = {
    "openai": Provider("https://api.openai.com/v1", ("OPENAI_BASE_URL", "OPENAI_API_BASE"), "OPENAI_API_KEY", True),
    "hosted_vllm": Provider(None, ("HOSTED_VLLM_API_BASE",), "HOSTED_VLLM_API_KEY"),
    "lm_studio": Provider(None, ("LM_STUDIO_API_BASE",), "LM_STUDIO_API_KEY"),
    "llamafile": Provider("http://127.0.0.1:8080/v1", ("LLAMAFILE_API_BASE",), "LLAMAFILE_API_KEY"),
}
"""By the first part of a model's name; the variables are those that litellm reads."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a reply says, and the tokens that the server counted, None if it did not.

    Of the prompt's tokens, `cached_tokens` came from the provider's cache, and `written_tokens` went into it.
    """

    text: str
    reasoning: str | None
    finish: Finish
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int = 0
    written_tokens: int = 0


class Unreadable(ValueError):
    """An answer came that is no chat completion."""


class BrokenOff(Exception):
    """A stream ended before its reply did."""


class Refused(Exception):
    """A server said no: by a status, or by an event in the middle of its reply, then `status` is None."""

    def __init__(self, text: str, status: int | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.status = status
        self.headers = headers or {}


def address(provider: Provider, api_base: str | None, route: str = "chat/completions") -> str | None:
    """URL for one kind of request; None if nobody has said where the server is."""
    base = api_base or next((url for name in provider.bases if (url := os.environ.get(name))), provider.base)
    if not base:
        return None
    return f"{base.rstrip('/').removesuffix('/chat/completions')}/{route}"


def headers(url: str, key: str | None, options: Mapping[str, Any]) -> dict[str, str]:
    """Headers of a request; those among the options win, and credentials in the URL beat a key."""
    found = {"content-type": "application/json"}
    if key and "@" not in url.partition("://")[2].partition("/")[0]:
        found["authorization"] = f"Bearer {key}"
    for name, variable in (("openai-organization", "OPENAI_ORGANIZATION"), ("openai-project", "OPENAI_PROJECT")):
        if os.environ.get(variable):
            found[name] = os.environ[variable]
    given: Mapping[str, Any] = {**(options.get("headers") or {}), **(options.get("extra_headers") or {})}
    return found | {name.lower(): str(value) for name, value in given.items()}


def constant(request: Request) -> int:
    """How many messages come before the question, which a refused reply and a complaint may follow."""
    messages, end = request.messages, len(request.messages)
    for _ in range(min(request.asked, end - 1)):
        end -= 2 if messages[end - 2].role == "assistant" else 1  # an empty reply is not shown
        if end < 2:
            break
    return end - 1


def body(model: str, request: Request, options: Mapping[str, Any], *, stream: bool) -> bytes:
    """The request as JSON; options that the wire does not know go along as they are.

    Raises:
        TypeError: an option is no JSON.
    """
    said = {k: v for k, v in options.items() if v is not None and k not in _ASIDE}
    more: Mapping[str, Any] = options.get("extra_body") or {}
    flow: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    messages = [{"role": m.role, "content": m.content} for m in request.messages]
    return json.dumps({"model": model, "messages": messages, **said, **more, **flow}).encode()


_ASIDE = frozenset({"extra_body", "extra_headers", "headers", "timeout", "drop_params", "stream", "stream_options"})
"""Options that are not members of the body."""


def parsed(data: bytes) -> Mapping[str, Any]:
    """The JSON object of a body.

    Raises:
        Unreadable: it is something else.
    """
    try:
        value: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"no JSON: {data[:200]!r}") from error
    if not isinstance(value, dict):
        raise Unreadable(f"no JSON object: {data[:200]!r}")
    return cast("dict[str, Any]", value)


def read(reply: Mapping[str, Any]) -> Reply:
    """The first choice of a chat completion.

    A model may say what it is about to do; what it was made to fill in is the answer.

    Raises:
        Unreadable: it has another shape.
    """
    try:
        choice: Mapping[str, Any] = reply["choices"][0]
        message: Mapping[str, Any] = choice["message"]
        calls: Sequence[Mapping[str, Any]] = message.get("tool_calls") or ()
        arguments = "".join(_arguments(calls[:1]))
        text, finish = arguments or _plain(message.get("content")), _finish(choice.get("finish_reason"))
        extras: Mapping[str, Any] = message.get("provider_specific_fields") or {}
        refusal = message.get("refusal") or extras.get("refusal")  # litellm keeps it in either place
        reasoning = _thought(message)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise Unreadable(f"no choice with a message: {str(reply)[:200]}") from error
    if not text and refusal:
        text, finish = str(refusal), "filter"
    return Reply(text, reasoning or None, finish, *_counted(reply.get("usage")))


@dataclass
class Listener:
    """Puts a reply together from its events.

    Args:
        tools: the model was given tools; what it says besides filling one in is the reply only if it
            fills in none.
    """

    tools: bool
    finish: object = None
    _said: list[str] = field(default_factory=list[str])
    _filled: list[str] = field(default_factory=list[str])
    _thought: list[str] = field(default_factory=list[str])
    _refused: list[str] = field(default_factory=list[str])
    _usage: object = None
    _first: object = None

    def hear(self, event: Mapping[str, Any]) -> Chunk | None:
        """Take an event; the piece of the reply that a reader may be shown, if there is one.

        Raises:
            Refused: the event tells of a failure.
            Unreadable: it has another shape.
        """
        if event.get("error"):
            raise Refused(complaint(event))
        self._usage = event.get("usage") or self._usage
        try:
            choices: Sequence[Mapping[str, Any]] = event.get("choices") or ({},)
            choice = choices[0]
            delta: Mapping[str, Any] = choice.get("delta") or choice.get("message") or {}  # some send all in one
            content, reasoning = _plain(delta.get("content")), _thought(delta)
            arguments = "".join(_arguments(self._of_first(delta.get("tool_calls") or ())))
        except (KeyError, TypeError, AttributeError) as error:
            raise Unreadable(f"no event of a reply: {str(event)[:200]}") from error
        self.finish = choice.get("finish_reason") or self.finish
        self._said.append(content)
        self._filled.append(arguments)
        self._thought.append(reasoning)
        self._refused.append(str(delta.get("refusal") or ""))
        shown = arguments if self.tools else content or arguments
        return Chunk(shown, reasoning) if shown or reasoning else None

    def _of_first(self, calls: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """What belongs to the tool that was called first; providers number them from anywhere, or not at all."""
        if calls and self._first is None:
            self._first = calls[0].get("index", -1)
        return [call for call in calls if call.get("index", -1) == self._first][: 1 if self._first == -1 else None]

    def held_back(self) -> Chunk | None:
        """What a reader has not been shown yet, once all has been heard: what was said aside, or a refusal."""
        if any(self._filled):
            return None
        text = "".join(self._said)
        held = text if self.tools else "" if text else "".join(self._refused)
        return Chunk(held) if held else None

    def reply(self) -> Reply:
        """The whole.

        Raises:
            BrokenOff: its end has not been heard.
        """
        if self.finish is None:
            raise BrokenOff("the stream ended before the reply did")
        text = "".join(self._filled) or "".join(self._said)
        finish, refusal = _finish(self.finish), "".join(self._refused)
        if not text and refusal:
            text, finish = refusal, "filter"
        return Reply(text, "".join(self._thought) or None, finish, *_counted(self._usage))


def complaint(content: Mapping[str, Any]) -> str:
    """What a server says about a failure, with its code and type."""
    error: Any = content.get("error", content)
    if not isinstance(error, Mapping):
        return str(error)
    said = cast("Mapping[str, Any]", error)
    text = next((str(said[name]) for name in ("message", "detail", "msg") if said.get(name)), json.dumps(said))
    codes = [str(said[name]) for name in ("code", "type") if said.get(name)]
    return f"{text} ({', '.join(codes)})" if codes else text


def _plain(content: str | Iterable[Mapping[str, Any]] | None) -> str:
    """The text of a message, which some servers send in parts."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text") or "" for part in content)


def _arguments(calls: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """What a tool is called with, or a piece of it."""
    return (call["function"].get("arguments") or "" for call in calls)


def _thought(message: Mapping[str, Any]) -> str:
    """The thinking of a model, by the names that servers have for it."""
    said = message.get("reasoning_content") or message.get("reasoning")
    return said if isinstance(said, str) else ""


def _finish(reason: object) -> Finish:
    return _FINISH.get(reason, "stop") if isinstance(reason, str) else "stop"


def _counted(usage: object) -> tuple[int | None, int | None, int, int]:
    """Tokens of a `Reply`, in its order; servers leave out what they like."""
    cached = _member(_member(usage, "prompt_tokens_details"), "cached_tokens")
    written = _member(usage, "cache_creation_input_tokens")
    found = _member(usage, "prompt_tokens"), _member(usage, "completion_tokens")
    prompt, reply = (value if isinstance(value, int) else None for value in found)
    kept, new = (value if isinstance(value, int) else 0 for value in (cached, written))
    return prompt, reply, kept, new


def _member(mapping: object, name: str) -> object:
    return cast("Mapping[str, Any]", mapping).get(name) if isinstance(mapping, Mapping) else None
