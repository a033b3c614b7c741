"""OpenTelemetry: spans and metrics of calls and requests, by the semantic conventions for generative AI.

    dm.configure(callbacks=[OpenTelemetry()])

Needs `pip install 'declm[otel]'`; where the spans go is set up as for any other instrumentation. Sources: the
OpenTelemetry semantic conventions for GenAI client spans and metrics (`gen_ai.*`).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from declm.errors import MissingExtra
from declm.events import CallEnded, CallStarted, Event, ReplyRead, RequestEnded, RequestStarted, Retrying, Waited
from declm.messages import Request, Response
from declm.text import canonical

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

_PROVIDERS: Mapping[str, str] = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""Names that the conventions give where they differ from ours."""

_REASONS = {"stop": "stop", "length": "length", "filter": "content_filter"}
_SAMPLING = {
    "temperature": "gen_ai.request.temperature",
    "max_tokens": "gen_ai.request.max_tokens",
    "top_p": "gen_ai.request.top_p",
    "seed": "gen_ai.request.seed",
}


class OpenTelemetry:
    """A callback that makes spans of events.

    Each call of a program or predictor is a span, each request to an LM a client span `chat <model>` inside of
    it; retries, waits and replies that could not be read are events on them. Spans lie below the span that is
    current where the outermost call begins. Durations and tokens are metrics too.

    Args:
        contents: put prompts and replies on the spans (`gen_ai.input.messages`, `gen_ai.output.messages`) and
            the inputs and outputs of predictors; off, as the conventions ask, since they may be personal.
        tracer_provider: default the global one.
        meter_provider: default the global one.

    Raises:
        MissingExtra: OpenTelemetry is not installed.
    """

    def __init__(
        self,
        *,
        contents: bool = False,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        try:
            from opentelemetry import metrics, trace
        except ImportError as error:
            raise MissingExtra("otel", "opentelemetry-api") from error
        self._contents = contents
        self._trace = trace
        self._tracer = trace.get_tracer("declm", tracer_provider=tracer_provider)
        meter = metrics.get_meter("declm", meter_provider=meter_provider)
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration", unit="s", description="Duration of a request to an LM"
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage", unit="{token}", description="Tokens of a request to an LM"
        )
        self._open: dict[str, Span] = {}
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, RequestEnded):
            self._end_request(event)
        elif isinstance(event, RequestStarted):
            self._start(event, f"chat {_model(event.model)}", self._trace.SpanKind.CLIENT, _asked(event))
        elif isinstance(event, CallEnded):
            self._end_call(event)
        elif isinstance(event, CallStarted):
            told = {"declm.path": event.path, "declm.name": event.name}
            self._start(event, event.path, self._trace.SpanKind.INTERNAL, told)
        else:
            self._note(event)

    def _start(self, event: Event, name: str, kind: Any, attributes: Mapping[str, Any]) -> None:
        around = self._open.get(event.parent or "")
        context = None if around is None else self._trace.set_span_in_context(around)
        span = self._tracer.start_span(name, context=context, kind=kind, attributes=attributes)
        with self._lock:
            self._open[event.span] = span

    def _end_call(self, event: CallEnded) -> None:
        span = self._take(event, event.error)
        if span is None:
            return
        if self._contents and event.is_predictor:
            span.set_attribute("declm.inputs", canonical(event.inputs))
            span.set_attribute("declm.outputs", canonical(event.outputs))
        span.end()

    def _end_request(self, event: RequestEnded) -> None:
        span = self._take(event, event.error)
        if span is None:
            return
        named = {k: v for k, v in _asked(event).items() if k in ("gen_ai.operation.name", "gen_ai.provider.name")}
        named["gen_ai.request.model"] = _model(event.model)
        if event.error is not None:
            named["error.type"] = type(event.error).__name__
        if event.response is not None:
            span.set_attributes(_answered(event.response))
            if self._contents:
                span.set_attributes(_contents(event.request, event.response))
        span.end()
        self._duration.record(event.seconds, named)
        if event.response is not None and not event.response.cached:
            usage = event.response.usage
            self._tokens.record(usage.input_tokens, {**named, "gen_ai.token.type": "input"})
            self._tokens.record(usage.output_tokens, {**named, "gen_ai.token.type": "output"})

    def _note(self, event: Event) -> None:
        span = self._open.get(event.span)
        if span is None:
            return
        if isinstance(event, Retrying):
            told: dict[str, Any] = {
                "attempt": event.attempt,
                "error.type": type(event.error).__name__,
                "wait_s": event.wait_s,
            }
            span.add_event("retry", told)
        elif isinstance(event, Waited):
            span.add_event("limit", {"wait_s": event.seconds})
        elif isinstance(event, ReplyRead) and event.problem:
            span.add_event("unreadable reply", {"problem": event.problem} if self._contents else {})

    def _take(self, event: Event, error: BaseException | None) -> Span | None:
        """The open span of an event, which is to end now."""
        with self._lock:
            span = self._open.pop(event.span, None)
        if span is not None and error is not None:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(self._trace.StatusCode.ERROR, str(error) if self._contents else type(error).__name__)
        return span


def _model(name: str) -> str:
    """The model without its provider."""
    return name.partition("/")[2] or name


def _asked(event: RequestStarted) -> dict[str, Any]:
    provider, slash, _ = event.model.partition("/")
    found: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _PROVIDERS.get(provider, provider) if slash else "_OTHER",
        "gen_ai.request.model": _model(event.model),
    }
    options = event.request.options
    found |= {theirs: options[ours] for ours, theirs in _SAMPLING.items() if ours in options}
    if event.request.schema is not None:
        found["gen_ai.output.type"] = "json"
    return found


def _answered(response: Response) -> dict[str, Any]:
    usage = response.usage
    return {
        "gen_ai.response.model": _model(response.model),
        "gen_ai.response.finish_reasons": [_REASONS[response.finish]],
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "declm.cached": response.cached,
        "declm.usd": usage.usd,
    }


def _contents(request: Request, response: Response) -> dict[str, str]:
    def turn(role: str, text: str) -> dict[str, Any]:
        return {"role": role, "parts": [{"type": "text", "content": text}]}

    said = {**turn("assistant", response.text), "finish_reason": _REASONS[response.finish]}
    return {
        "gen_ai.input.messages": json.dumps([turn(m.role, m.content) for m in request.messages], ensure_ascii=False),
        "gen_ai.output.messages": json.dumps([said], ensure_ascii=False),
    }
