"""Every error that declm raises, as one tree.

DeclmError
├── UsageError (also a TypeError)      the call is wrong; nothing has been sent or paid
│   ├── InputError                     inputs of a signature are missing, unknown or mistyped
│   ├── OutputNotSet (AttributeError)  an output was read before it was predicted
│   ├── NotRecorded                    a replayed program asks what is not on the tape
│   └── DataError (also a ValueError)  rows of a data set do not fit the signature
├── TemplateError                      a prompt template can't be loaded or rendered
├── LMError                            the provider or the local engine failed
│   ├── AuthError                      missing or refused key
│   ├── UnknownModel                   no provider or file of that name
│   ├── BadRequest                     the provider refuses the request as it stands
│   ├── QuotaExceeded                  billing limit; waiting does not help
│   ├── ContextTooLong                 the prompt does not fit the model's window
│   ├── TruncatedOutput                the reply was cut at `max_tokens`
│   ├── ContentFiltered                the provider withheld the reply
│   ├── ReplyTooLarge                  the reply is larger than any reply should be
│   ├── RateLimited                    too many requests; carries `retry_after_s`
│   ├── TimedOut                       no answer in time
│   │   └── DeadlineExceeded           the overall deadline of one call has passed
│   ├── ServerError                    the provider answered 5xx
│   └── TransportError                 the endpoint can't be reached
├── ParseError                         the reply can't be read as the signature's outputs
├── ProgramError                       the user's program raised something else while it ran on a row
├── MetricError                        the user's metric raised or returned no score
├── TooManyErrors                      an evaluation or a search passed its error limit
├── BudgetExceeded                     the next call would pass a `Budget`
├── StateError                         a saved program or study can't be read
│   └── SignatureMismatch              it was saved for another signature
├── ToolError                          a tool failed
└── MissingExtra (also an ImportError) an optional dependency is not installed

Outside the tree: Interrupted (a KeyboardInterrupt), the user stopped an evaluation or a search.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from declm.text import clip, redact


class DeclmError(Exception):
    """Root of the tree; `message` is the text, with secrets redacted.

    `report` holds the finished rows if the error has stopped an evaluation, else it is None.
    """

    def __init__(self, message: str) -> None:
        self.message = redact(message)
        self.report: Any = None
        super().__init__(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call `__init__` with the message alone, which subclasses with data refuse.
        return _rebuild, (type(self), self.message, self.__dict__.copy())


def _rebuild(cls: type[DeclmError], message: str, data: dict[str, Any]) -> DeclmError:
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.__dict__.update(data)
    return error


class UsageError(DeclmError, TypeError):
    """The call is wrong as written; nothing has been sent or paid for."""


class InputError(UsageError):
    """Inputs of a signature are missing, unknown or mistyped; chained from Pydantic's error."""


class NotRecorded(UsageError):
    """A program that is replayed has asked something that is not on the tape; nothing has been sent."""


class OutputNotSet(UsageError, AttributeError):
    """An output was read before it was predicted."""


class DataError(UsageError, ValueError):
    """Rows of a data set do not fit; `problems` holds one `(where, what)` pair per bad row."""

    def __init__(self, message: str, problems: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class TemplateError(DeclmError):
    """A template can't be loaded or rendered; `name` and `line` (1-based, if known) say where."""

    def __init__(self, message: str, *, name: str = "", line: int | None = None) -> None:
        super().__init__(message)
        self.name = name
        self.line = line


class LMError(DeclmError):
    """The provider or the local engine failed.

    `retryable` (per class) says whether the same request may succeed later; `status` is the HTTP
    status, if there was one; `retry_after_s` is the provider's hint in seconds, if it gave one; `calls`
    is how often the request was sent.
    """

    retryable = False

    def __init__(
        self, message: str, *, model: str = "", status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.model = model
        self.status = status
        self.retry_after_s = retry_after_s
        self.calls = 1


class AuthError(LMError):
    """The key is missing or refused."""


class UnknownModel(LMError):
    """No provider knows the model, or the model file does not exist."""


class BadRequest(LMError):
    """The provider refuses the request as it stands."""


class QuotaExceeded(LMError):
    """The account's billing limit is reached; waiting does not help."""


class ContextTooLong(LMError):
    """The prompt does not fit the model's context window."""


class TruncatedOutput(LMError):
    """The reply was cut at `max_tokens`; `text` holds what came."""

    def __init__(self, message: str, *, text: str = "", model: str = "") -> None:
        super().__init__(message, model=model)
        self.text = redact(text)


class ContentFiltered(LMError):
    """The provider withheld the reply."""


class ReplyTooLarge(LMError):
    """The server sent more bytes than a reply may have; the rest was not read."""


class RateLimited(LMError):
    """Too many requests; wait for `retry_after_s` seconds, if the provider has said so."""

    retryable = True


class TimedOut(LMError):
    """No answer came in time."""

    retryable = True


class DeadlineExceeded(TimedOut):
    """The overall deadline of one call, with all its attempts, has passed."""

    retryable = False


class ServerError(LMError):
    """The provider answered with a server-side failure."""

    retryable = True


class TransportError(LMError):
    """The endpoint can't be reached, or the connection broke."""

    retryable = True


class ParseError(DeclmError):
    """The reply can't be read as the outputs asked for.

    `reason` is what is wrong in words that are sent back to the LM; `text` is the raw reply. `fields`
    are the keys of the outputs at fault, none where the reply as a whole is.
    """

    def __init__(self, reason: str, *, text: str = "", fields: Collection[str] = ()) -> None:
        shown = f"; the reply was {clip(text, 300)!r}" if text else ""
        super().__init__(f"{reason}{shown}")
        self.reason = redact(reason)
        self.text = redact(text)
        self.fields = tuple(fields)


class ProgramError(DeclmError):
    """The user's program raised an exception that is no `DeclmError`; chained from it.

    `kind` names the exception's type and `traceback` is its text, which survive saving.
    """

    def __init__(self, message: str, *, kind: str = "", traceback: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.traceback = redact(traceback)


class MetricError(DeclmError):
    """The metric raised, or returned something that is no score; `row` is the row's index."""

    def __init__(self, message: str, *, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


class TooManyErrors(DeclmError):
    """An evaluation or a search stopped at its error limit; `report` holds every finished row."""

    def __init__(self, message: str, *, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class BudgetExceeded(DeclmError):
    """The next call would pass the budget; `limit` names the limit (`calls`, `usd`, ...)."""

    def __init__(self, message: str, *, limit: str = "") -> None:
        super().__init__(message)
        self.limit = limit


class StateError(DeclmError):
    """A saved program, report or study can't be read or does not fit."""


class SignatureMismatch(StateError):
    """The file was saved for another signature; `differences` holds one line per difference."""

    def __init__(self, message: str, differences: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.differences = differences


class ToolError(DeclmError):
    """A tool that a program called has failed."""


class MissingExtra(DeclmError, ImportError):
    """An optional dependency is not installed; `extra` names the extra that holds it."""

    def __init__(self, extra: str, package: str) -> None:
        super().__init__(f"this needs the package {package!r}: run  pip install 'declm[{extra}]'")
        self.extra = extra
        self.package = package


class Interrupted(KeyboardInterrupt):
    """The user stopped an evaluation or a search (Ctrl-C); `report` holds every finished row.

    Like every KeyboardInterrupt it passes through `except Exception`.
    """

    def __init__(self, message: str = "", *, report: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.report = report


# --- as JSON


def dump_error(error: DeclmError | None) -> dict[str, Any] | None:
    """An error as JSON: its kind, its message, and the plain values that it carries."""
    if error is None:
        return None
    plain = {k: v for k, v in vars(error).items() if isinstance(v, (str, int, float, bool))}
    return {"type": type(error).__name__, **plain, "message": error.message}


def load_error(data: dict[str, Any] | None) -> DeclmError | None:
    """The error that `dump_error` wrote; of a kind that is no longer known, a `ProgramError`."""
    if data is None:
        return None
    values = dict(data)
    cls = _kinds(DeclmError).get(str(values.pop("type", "")), ProgramError)
    error = cls.__new__(cls)
    Exception.__init__(error, str(values.get("message", "")))
    vars(error).update({"report": None, **values})
    return error


def _kinds(root: type[DeclmError]) -> dict[str, type[DeclmError]]:
    found = {root.__name__: root}
    for cls in root.__subclasses__():
        found |= _kinds(cls)
    return found
