"""`CallHistory`: the latest requests with what came of them, within a bound of memory; a callback."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

from declm.errors import UsageError
from declm.events import Event, RequestEnded


class CallHistory:
    """Keeps the latest requests to LMs, for a look at what was really asked and said.

    The oldest go where there would be too many; one that alone is larger than the bound is not kept. What
    fields declared as sensitive hold is not in it. Safe for several threads and tasks.

    Args:
        max_bytes: of prompts and replies, in UTF-8, that are kept at most.

    Raises:
        UsageError: `max_bytes` is no whole number from 1.

    Example:
        >>> import declm as dm
        >>> history = CallHistory()
        >>> with dm.context(callbacks=[history], lm=dm.testing.ScriptedLM(['{"answer": "42"}'])):
        ...     dm.Predict("question -> answer")(question="6 * 7?").answer
        '42'
        >>> len(history), history[-1].response.text
        (1, '{"answer": "42"}')
    """

    def __init__(self, max_bytes: int = 1_000_000) -> None:
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1:  # pyright: ignore[reportUnnecessaryIsInstance]  # notebooks are not type-checked
            raise UsageError(f"max_bytes={max_bytes!r} must be a whole number from 1")
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept = deque[tuple[RequestEnded, int]]()
        self._bytes = 0

    def __call__(self, event: Event) -> None:
        """Keep a request that has ended; other events are nothing to it."""
        if not isinstance(event, RequestEnded):
            return
        size = _size(event)
        with self._lock:
            self._kept.append((event, size))
            self._bytes += size
            while self._bytes > self._max_bytes:
                self._bytes -= self._kept.popleft()[1]

    @property
    def bytes(self) -> int:
        """What is kept now, of prompts and replies."""
        return self._bytes

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[RequestEnded]:
        with self._lock:
            events = [event for event, _ in self._kept]
        return iter(events)

    def __getitem__(self, index: int) -> RequestEnded:
        return self._kept[index][0]

    def __str__(self) -> str:
        return "\n\n".join(_shown(event) for event in self)

    def __repr__(self) -> str:
        return f"CallHistory({len(self)} requests, {self._bytes:,} of {self._max_bytes:,} bytes)"


def _size(event: RequestEnded) -> int:
    texts = [message.content for message in event.request.messages]
    if event.response is not None:
        texts += [event.response.text, event.response.reasoning or ""]
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


def _shown(event: RequestEnded) -> str:
    """A request as people read it: the messages, then the reply or the error."""
    lines = [f"=== {event.model}, {event.seconds:.2f} s"]
    for message in event.request.messages:
        lines += [f"[{message.role}]", message.content]
    if event.error is not None:
        lines += [f"[{type(event.error).__name__}]", str(event.error)]
    elif event.response is not None:
        lines += ["[reply, from the cache]" if event.response.cached else "[reply]", event.response.text]
    return "\n".join(lines)
