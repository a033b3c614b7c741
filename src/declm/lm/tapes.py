"""Tapes: what LMs were asked and what they said, as a text file that people read and git compares.

A tape is JSON. Texts of several lines stand as lists of lines; what changes from run to run (seconds) is
left out, secrets are masked. Exchanges stand in the order in which they began.
"""

from __future__ import annotations

import difflib
import json
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from declm.errors import LMError, NotRecorded, StateError, dump_error, load_error
from declm.files import write_atomic
from declm.lm.masking import masked
from declm.messages import Capabilities, Request, Response, Token
from declm.text import canonical, clip
from declm.usage import Usage

VERSION = 1
"""Of the layout; a reader takes its own."""

_DIFF_LINES = 24
_AGAIN = "record it again"


@dataclass
class Exchange:
    """One call: which LM was asked what, and its response or error; neither while it is on its way."""

    lm: str
    request: Mapping[str, Any]
    response: Response | None = None
    error: LMError | None = None


@dataclass
class Tape:
    """Exchanges in order, and what each LM can do; safe for several threads and tasks."""

    exchanges: list[Exchange] = field(default_factory=list[Exchange])
    capabilities: dict[str, Capabilities] = field(default_factory=dict[str, Capabilities])
    _left: dict[str, deque[Exchange]] | None = None
    _labels: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def label(self, name: str, which: str) -> str:
        """How an LM is called here: by its name, numbered where several of that name are used, in that order.

        Args:
            name: of the model.
            which: text that tells LMs of that name apart, such as their `repr`.
        """
        with self._lock:
            known = self._labels.get((name, which))
            if known is None:
                number = sum(other == name for other, _ in self._labels) + 1
                known = self._labels[name, which] = name if number == 1 else f"{name} ({number})"
            return known

    def holds(self, label: str) -> bool:
        """Whether something of an LM is on the tape."""
        return label in self.capabilities or any(exchange.lm == label for exchange in self.exchanges)

    def begin(self, lm: str, request: Request) -> Exchange:
        """Put an exchange on the tape; the caller fills in how it ended."""
        exchange = Exchange(lm, written(request))
        with self._lock:
            self.exchanges.append(exchange)
        return exchange

    def next(self, lm: str, request: Request) -> Exchange:
        """The recorded exchange of a request; equal requests get theirs in order.

        Raises:
            NotRecorded: there is none, or each has been played; shows what the nearest one differs in.
        """
        asked = written(request)
        with self._lock:
            if self._left is None:
                self._left = {}
                for exchange in self.exchanges:
                    self._left.setdefault(_key(exchange.lm, exchange.request), deque()).append(exchange)
            left = self._left.get(_key(lm, asked))
            if left:
                return left.popleft()
        raise NotRecorded(self._missing(lm, asked, played=left is not None))

    def _missing(self, lm: str, asked: Mapping[str, Any], *, played: bool) -> str:
        if played:
            return f"{lm!r} was asked the same more often than when it was recorded; {_AGAIN}"
        lines = _lines(lm, asked)
        others = [_lines(exchange.lm, exchange.request) for exchange in self.exchanges]
        if not others:
            return f"the tape is empty; {_AGAIN}"
        nearest = max(others, key=lambda other: difflib.SequenceMatcher(None, other, lines, autojunk=False).ratio())
        changes = list(difflib.unified_diff(nearest, lines, "recorded", "asked now", lineterm="", n=1))
        shown = "\n".join(clip(line, 200) for line in changes[:_DIFF_LINES])
        more = f"\n... {len(changes) - _DIFF_LINES} more lines" if len(changes) > _DIFF_LINES else ""
        return f"this request is not on the tape; {_AGAIN} if the change is meant:\n{shown}{more}"

    # --- as a file

    def write(self, path: Path) -> None:
        """Write the tape; a file that stands there is replaced as a whole.

        Raises:
            StateError: it can't be written.
        """
        content = {
            "declm": VERSION,
            "lms": {name: asdict(found) for name, found in sorted(self.capabilities.items())},
            "exchanges": [_dump(exchange) for exchange in self.exchanges if exchange.response or exchange.error],
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, json.dumps(content, indent=1) + "\n")
        except OSError as error:
            raise StateError(f"the tape {str(path)!r} can't be written: {error}") from error

    @classmethod
    def read(cls, path: Path) -> Tape:
        """Read a tape.

        Raises:
            StateError: there is none, it is damaged, or a newer declm has written it.
        """
        try:
            content: Any = json.loads(path.read_text("utf-8"))
        except FileNotFoundError as error:
            raise StateError(f"there is no tape {str(path)!r}: record it first") from error
        except (OSError, ValueError, RecursionError) as error:
            raise StateError(f"the tape {str(path)!r} can't be read: {error}; {_AGAIN}") from error
        tape, place = cls(), "at its beginning"
        try:
            if content["declm"] != VERSION:
                raise StateError(f"the tape {str(path)!r} has layout {content['declm']!r}, not {VERSION}; {_AGAIN}")
            tape.capabilities = {name: Capabilities(**found) for name, found in content["lms"].items()}
            for number, one in enumerate(content["exchanges"], 1):
                place = f"in exchange {number}"
                tape.exchanges.append(_load(one))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            what = clip(repr(error), 200)
            raise StateError(f"the tape {str(path)!r} is damaged {place}: {what}; {_AGAIN}") from error
        return tape


def written(request: Request) -> dict[str, Any]:
    """A request as JSON, without what is at its default."""
    asked: dict[str, Any] = {"messages": [{m.role: m.content} for m in request.messages]}
    rest = {
        "schema": request.schema,
        "options": masked(request.options) if request.options else None,
        "sample": request.sample,
        "logprobs": request.logprobs,
    }
    return asked | {name: value for name, value in rest.items() if value}


def _key(lm: str, request: Mapping[str, Any]) -> str:
    return canonical([lm, request])


def _lines(lm: str, request: Mapping[str, Any]) -> list[str]:
    return json.dumps({"lm": lm, **_folded(request)}, indent=1).splitlines()


def _folded(request: Mapping[str, Any]) -> dict[str, Any]:
    """A request whose messages can be read: one line of the file for each line of a text."""
    messages = [{role: _split(text) for role, text in message.items()} for message in request["messages"]]
    return {**request, "messages": messages}


def _unfolded(request: Mapping[str, Any]) -> dict[str, Any]:
    messages = [{role: _joined(lines) for role, lines in message.items()} for message in request["messages"]]
    return {**request, "messages": messages}


def _split(text: str) -> str | list[str]:
    return text.split("\n") if "\n" in text else text


def _joined(lines: str | list[str]) -> str:
    return lines if isinstance(lines, str) else "\n".join(lines)


def _dump(exchange: Exchange) -> dict[str, Any]:
    found: dict[str, Any] = {"lm": exchange.lm, "request": _folded(exchange.request)}
    if exchange.response is None:
        return found | {"error": dump_error(exchange.error)}
    said = exchange.response
    response = {
        "reasoning": _split(said.reasoning or ""),
        "finish": said.finish if said.finish != "stop" else "",
        "model": said.model,
        "cached": said.cached,
        "usage": {name: count for name, count in asdict(said.usage).items() if count and name != "seconds"},
        "tokens": [[token.text, token.logprob, token.top] for token in said.tokens],
    }
    return found | {"response": {"text": _split(said.text)} | {k: v for k, v in response.items() if v}}


def _load(data: Mapping[str, Any]) -> Exchange:
    exchange = Exchange(data["lm"], _unfolded(data["request"]))
    if "error" in data:
        error = load_error(data["error"])
        exchange.error = error if isinstance(error, LMError) else LMError(data["error"]["message"])
        return exchange
    said = data["response"]
    exchange.response = Response(
        _joined(said["text"]),
        _joined(said.get("reasoning", "")) or None,
        said.get("finish", "stop"),
        Usage(**said.get("usage", {})),
        said.get("model", ""),
        cached=said.get("cached", False),
        tokens=tuple(Token(t, p, tuple((a, q) for a, q in top)) for t, p, top in said.get("tokens", ())),
    )
    return exchange
