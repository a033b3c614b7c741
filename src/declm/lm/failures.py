"""What litellm raises, as declm's errors: which kind it is, and what the user can do about it.

litellm gives exceptions a made-up status where no server answered, and wraps broken connections,
missing keys and its own bugs alike as `InternalServerError`. So the whole chain of causes is read:
what stands at its end says whether a server answered at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

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
from declm.text import clip

_QUOTA = re.compile(r"(?i)insufficient[_ ]quota|exceeded your current quota|billing|credit balance|out of credits")
_LONG = re.compile(r"(?i)context[_ ](length|window|size)|maximum context|(prompt|input) is too long|too many (input )?tokens")
_FILTERED = re.compile(r"(?i)content[_ ]?(policy|filter|management)|safety system")
_NO_MODEL = re.compile(r"(?i)model\W.{0,80}(not (found|exist)|unknown|not supported)|(no such|unknown|invalid) model")
_NO_PROVIDER = re.compile(r"(?i)provider not provided|unknown provider")
_NO_KEY = re.compile(r"(?i)(missing|no) .{0,30}(api key|credentials|key is set)|api[_ -]?key.{0,80}must be set|unable to locate credentials")
_PREFIX = re.compile(r"^((litellm\.)?\w+(Error|Exception|Timeout)( Error)?\s?[:-] )+")
_LIBRARIES = ("httpx", "httpcore", "aiohttp")
_ANSWERED = ("HTTPStatusError", "ClientResponseError")


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception of litellm with its chain of causes, read as data.

    Args:
        model: as the user wrote it.
        text: what the provider said, or the library.
        status: HTTP status; None if no server answered.
        kinds: class names of the exception and its causes, with the module's first part.
        retry_after_s: the server's hint, if it gave one.
        variables: environment variables that would hold the key, if they are empty.
    """

    model: str
    text: str
    status: int | None = None
    kinds: frozenset[str] = field(default_factory=frozenset[str])
    retry_after_s: float | None = None
    variables: tuple[str, ...] = ()

    @property
    def disconnected(self) -> bool:
        """Whether the connection failed, so that no answer was read."""
        lost = {k for k in self.kinds if k.startswith(_LIBRARIES) and not k.endswith(_ANSWERED)}
        return self.status is None and bool(lost or "openai.APIConnectionError" in self.kinds)

    @property
    def late(self) -> bool:
        """Whether time ran out first."""
        return self.status in (None, 408) and any("Timeout" in k for k in self.kinds)


def read_failure(model: str, error: BaseException, variables: tuple[str, ...] = ()) -> Failure:
    """Read an exception without importing the library that raised it."""
    chain = list(_chain(error))
    kinds = frozenset(f"{c.__module__.split('.')[0]}.{c.__name__}" for e in chain for c in type(e).__mro__)
    responses: list[Any] = [e.response for e in chain if hasattr(e, "response")]
    answered = any(k.endswith(_ANSWERED) for k in kinds)
    status: Any = getattr(error, "status_code", None) if answered or _named(kinds, "litellm.BadRequestError") else None
    text = str(getattr(error, "message", None) or error).split("\nTraceback", 1)[0]
    body = next((b for e in chain if isinstance(b := getattr(e, "body", None), dict)), {})
    code = " ".join(str(body[k]) for k in ("code", "type") if body.get(k))
    return Failure(
        model=model,
        text=f"{_PREFIX.sub('', text).strip()} {f'({code})' if code else ''}".strip(),
        status=status if isinstance(status, int) else None,
        kinds=kinds,
        retry_after_s=next((s for r in responses if (s := _retry_after_s(r)) is not None), None),
        variables=variables,
    )


def translate(failure: Failure) -> LMError:
    """The error of declm's tree that this failure is; its message says what to do."""
    kind, advice = _diagnose(failure)
    message = f"{failure.model!r}: {advice}; the provider said: {clip(failure.text, 500) or 'nothing'}"
    if kind is RateLimited:
        return RateLimited(message, model=failure.model, status=failure.status, retry_after_s=failure.retry_after_s)
    return kind(message, model=failure.model, status=failure.status)


def _diagnose(failure: Failure) -> tuple[type[LMError], str]:
    if failure.late:
        return TimedOut, "no answer in time"
    if failure.disconnected:
        return TransportError, "the endpoint can't be reached or broke off: check api_base and the network"
    if failure.status is None:
        return _diagnose_unsent(failure)
    return _diagnose_answer(failure, failure.status)


def _diagnose_unsent(failure: Failure) -> tuple[type[LMError], str]:
    """No server was asked: the request could not be made, or the reply could not be read."""
    if _NO_KEY.search(failure.text) or "litellm.AuthenticationError" in failure.kinds:
        return AuthError, f"there is no key: {_how_to_set_key(failure)}"
    if "json.JSONDecodeError" in failure.kinds or "litellm.APIError" in failure.kinds:
        return ServerError, "the endpoint's answer is no chat completion"
    if failure.kinds & {"builtins.TypeError", "builtins.ValueError", "builtins.KeyError", "builtins.AttributeError"}:
        return BadRequest, "litellm can't make a request of this"
    return ServerError, "the call failed"


def _diagnose_answer(failure: Failure, status: int) -> tuple[type[LMError], str]:
    text = failure.text
    if status in (401, 403):
        return AuthError, f"the key was refused: {_how_to_set_key(failure)}"
    if status == 402 or (status in (400, 403, 429) and _QUOTA.search(text)):
        return QuotaExceeded, "the account's limit is reached: waiting does not help, check its billing"
    if status == 429:
        return RateLimited, "too many requests"
    if status == 404 or _NO_PROVIDER.search(text) or (status == 400 and _NO_MODEL.search(text)):
        return UnknownModel, "there is no such model or provider: check the name and api_base"
    if "litellm.ContextWindowExceededError" in failure.kinds or (status in (400, 413, 422) and _LONG.search(text)):
        return ContextTooLong, "the prompt does not fit the model's window: use fewer or shorter demonstrations"
    if "litellm.ContentPolicyViolationError" in failure.kinds or (status == 400 and _FILTERED.search(text)):
        return ContentFiltered, "the provider's content filter refused the prompt"
    if status >= 500:
        return ServerError, f"the server failed (HTTP {status})"
    return BadRequest, f"the request was refused (HTTP {status})"


def _how_to_set_key(failure: Failure) -> str:
    if failure.variables:
        return f"set {' or '.join(failure.variables)} in the environment, or pass LM(..., api_key=...)"
    return "check the provider's environment variables, or pass LM(..., api_key=...)"


def _named(kinds: frozenset[str], kind: str) -> bool:
    return kind in kinds


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _retry_after_s(response: Any) -> float | None:
    """Seconds in a response's Retry-After header; dates are not read."""
    try:
        return max(0.0, float(response.headers["retry-after"]))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
