"""What litellm and our own wire raise, as declm's errors: which kind it is, and what the user can do about it.

litellm gives exceptions a made-up status where no server answered, and wraps broken connections,
missing keys and its own bugs alike as `InternalServerError`. So the whole chain of causes is read:
what stands at its end says whether a server answered at all.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, cast

from declm.errors import (
    AuthError,
    BadRequest,
    ContentFiltered,
    ContextTooLong,
    LMError,
    QuotaExceeded,
    RateLimited,
    ServerError,
    TimedOut,
    TransportError,
    UnknownModel,
)
from declm.lm.wire import Refused
from declm.text import clip

_QUOTA = re.compile(r"(?i)insufficient[_ ]quota|exceeded your current quota|billing|credit balance|out of credits")
_LONG = re.compile(
    r"(?i)context[_ ](length|window|size)|maximum context|(prompt|input) is too long|too many .{0,9}tokens"
)
_FILTERED = re.compile(r"(?i)content[_ ]?(policy|filter|management)|safety system")
_NO_MODEL = re.compile(r"(?i)model\W.{0,80}(not (found|exist)|unknown|not supported)|(no such|unknown|invalid) model")
_NO_PROVIDER = re.compile(r"(?i)provider not provided|unknown provider")
_NO_KEY = re.compile(r"(?i)(missing|no|locate) .{0,30}(api key|credentials|key is set)|api[_ -]?key.{0,80}must be set")
_NO_PACKAGE = re.compile(r"No module named '")
_BROKEN_OFF = re.compile(r"(?i)stream ended before")
_PREFIX = re.compile(r"^((litellm\.)?\w*(Error|Exception|Timeout)( Error)?\s?[:-] )+")
_SUFFIX = re.compile(r"\nTraceback|\. Handle with `litellm|\n Pass model as|\. Add it here - ")
_TOO_LONG = "the prompt does not fit the model's window; use fewer or shorter demonstrations"
_LIBRARIES = ("httpx.", "httpcore.", "aiohttp.")
_ANSWERED = ("HTTPStatusError", "ClientResponseError")


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception of a library with its chain of causes, read as data.

    Args:
        model: as the user wrote it.
        text: what the provider said, or the library.
        status: HTTP status; None if no server answered.
        kinds: class of the exception and of each cause, as `package.Name`.
        retry_after_s: the server's hint, if it gave one.
    """

    model: str
    text: str
    status: int | None = None
    kinds: frozenset[str] = field(default_factory=frozenset[str])
    retry_after_s: float | None = None

    @property
    def late(self) -> bool:
        """Whether time ran out first."""
        return self.status in (None, 408) and any("Timeout" in k for k in self.kinds)

    @property
    def disconnected(self) -> bool:
        """Whether the connection failed, so that no answer was read."""
        if self.status is not None:
            return False
        if _BROKEN_OFF.search(self.text):
            return True
        return "openai.APIConnectionError" in self.kinds or any(k.startswith(_LIBRARIES) for k in self.kinds)

    @property
    def unreadable(self) -> bool:
        """Whether an answer came that is no chat completion."""
        garbled = (
            self.kinds & {"json.JSONDecodeError", "litellm.APIError", "declm.Unreadable"}
            or "valid response" in self.text
        )
        return self.status is None and bool(garbled)


def read_failure(model: str, error: BaseException) -> Failure:
    """Read an exception without importing the library that raised it."""
    chain = list(causes(error))
    if isinstance(error, Refused):
        return Failure(model, error.text, error.status, retry_after_s=hint_s(error.headers))
    kinds = frozenset(f"{type(e).__module__.split('.')[0]}.{type(e).__name__}" for e in chain)
    status: Any = getattr(error, "status_code", None) if any(k.endswith(_ANSWERED) for k in kinds) else None
    hints = (hint_s(getattr(getattr(e, "response", None), "headers", None) or {}) for e in chain)
    return Failure(
        model=model,
        text=_text(error, chain),
        status=status if isinstance(status, int) else None,
        kinds=kinds,
        retry_after_s=next((hint for hint in hints if hint is not None), None),
    )


def translate(failure: Failure, *, endpoint: str = "", variables: Sequence[str] = ()) -> LMError:
    """The error of declm's tree that a failure is; its message says what to do.

    Args:
        failure: what litellm raised.
        endpoint: URL for the message, if it is not the provider's own.
        variables: names of the environment variables that would hold the key and do not.
    """
    kind, advice = _diagnose(failure)
    if kind is AuthError:
        advice = f"{advice}: {_how_to_set_key(variables)}"
    where = f"{failure.model!r} at {endpoint}" if endpoint else repr(failure.model)
    message = f"{where}: {advice}; it said: {clip(failure.text, 500) or 'nothing'}"
    error = kind(message, model=failure.model, status=failure.status)
    error.retry_after_s = failure.retry_after_s
    return error


def _diagnose(failure: Failure) -> tuple[type[LMError], str]:
    if failure.late:
        return TimedOut, "no answer in time"
    if failure.unreadable:
        return ServerError, "the answer is no chat completion; check api_base"
    if failure.disconnected:
        return TransportError, "the endpoint can't be reached, or broke off: check api_base and the network"
    if failure.status is None:
        return _diagnose_unsent(failure)
    return _diagnose_answer(failure, failure.status)


def _diagnose_unsent(failure: Failure) -> tuple[type[LMError], str]:
    """Nothing was sent: litellm could not make a request."""
    if "litellm.AuthenticationError" in failure.kinds or _NO_KEY.search(failure.text):
        return AuthError, "there is no key"
    if _NO_PROVIDER.search(failure.text):
        return UnknownModel, "there is no such provider"
    if "litellm.ContextWindowExceededError" in failure.kinds:
        return ContextTooLong, _TOO_LONG
    if _NO_PACKAGE.search(failure.text):
        return BadRequest, "litellm needs a package that is not installed, or a newer version of itself"
    if any(k.startswith(("builtins.", "litellm.Bad", "litellm.Unsupported")) for k in failure.kinds):
        return BadRequest, "no request can be made of this"
    return ServerError, "the call failed"


def _diagnose_answer(failure: Failure, status: int) -> tuple[type[LMError], str]:
    text = failure.text
    if status == 402 or (status in (400, 403, 429) and _QUOTA.search(text)):
        return QuotaExceeded, "the account's limit is reached; waiting does not help, check its billing"
    if status in (401, 403):
        return AuthError, "the key was refused"
    if status == 429:
        return RateLimited, "too many requests"
    if status == 404 or (status == 400 and _NO_MODEL.search(text)):
        return UnknownModel, "there is no such model; check its name and api_base"
    if "litellm.ContextWindowExceededError" in failure.kinds or (status in (400, 413, 422) and _LONG.search(text)):
        return ContextTooLong, _TOO_LONG
    if "litellm.ContentPolicyViolationError" in failure.kinds or (status == 400 and _FILTERED.search(text)):
        return ContentFiltered, "the content filter refused the prompt"
    if status >= 500:
        return ServerError, f"the server failed (HTTP {status})"
    return BadRequest, f"the request was refused (HTTP {status})"


def _how_to_set_key(variables: Sequence[str]) -> str:
    names = " or ".join(variables) or "the provider's variable"
    return f"set {names} in the environment, or pass LM(..., api_key=...)"


def _text(error: BaseException, chain: Sequence[BaseException]) -> str:
    said = _PREFIX.sub("", _SUFFIX.split(str(getattr(error, "message", None) or error), maxsplit=1)[0]).strip()
    bodies: Iterator[Any] = (getattr(e, "body", None) for e in chain)
    body = next((cast("Mapping[str, Any]", b) for b in bodies if isinstance(b, Mapping)), None)  # the wire's JSON
    codes = [str(body[k]) for k in ("code", "type") if body.get(k)] if body else []
    return f"{said} ({', '.join(codes)})" if codes else said


def unwrapped(error: Exception) -> Exception:
    """The failure that litellm's error for broken streams is about; any other error as it is."""
    inner = getattr(error, "original_exception", None)
    return inner if isinstance(inner, Exception) else error


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception, what it was raised from, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def hint_s(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """Seconds to wait as a response's headers say, None if they say nothing.

    `Retry-After` holds seconds or a date (RFC 9110, section 10.2.3); OpenAI and Azure send `retry-after-ms` too.
    """
    said = {name.lower(): value for name, value in headers.items() if name.lower() in _HINTS}
    for name, unit_s in _HINTS.items():
        with suppress(KeyError, ValueError):
            return max(0.0, float(said[name]) * unit_s)
    with suppress(KeyError, ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(said["retry-after"]).timestamp() - now())
    return None


_HINTS: Mapping[str, float] = {"retry-after-ms": 0.001, "retry-after": 1.0}
"""Headers that say how long to wait, with their units in seconds."""
