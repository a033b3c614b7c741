"""Spans and metrics, as OpenTelemetry's own exporters see them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest
from fault_server import completion, failure, serving
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import declm as dm
from declm.integrations.otel import OpenTelemetry
from declm.testing import FunctionLM, ScriptedLM


class Collected:
    """What has been exported."""

    def __init__(self, *, contents: bool = False) -> None:
        self._exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        meters = MeterProvider([self._reader])
        self.callback = OpenTelemetry(contents=contents, tracer_provider=self.tracers, meter_provider=meters)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        """By name; the last one of a name."""
        return {span.name: span for span in self.all}

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        """In the order in which they ended."""
        return tuple(self._exporter.get_finished_spans())

    def metrics(self) -> dict[str, list[Any]]:
        """Points by name."""
        data = self._reader.get_metrics_data()
        assert data is not None
        (resource,) = data.resource_metrics
        return {m.name: list(m.data.data_points) for scope in resource.scope_metrics for m in scope.metrics}


class Desk(dm.Module):
    """One step."""

    def __init__(self, lm: Any) -> None:
        self.step = dm.Predict("question -> answer", lm=lm)

    def forward(self, question: str) -> str:
        return self.step(question=question).answer


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_program_is_a_tree_of_spans_by_the_conventions() -> None:
    collected = Collected()
    with serving() as server:
        server.answer = lambda _body: completion('{"answer": "yes"}')
        lm = dm.LM("openai/gpt-4o-mini", api_base=server.url, api_key="k", cache=False)
        with (
            dm.context(callbacks=[collected.callback]),
            collected.tracers.get_tracer("web").start_as_current_span("web"),
        ):
            Desk(lm).run(question="Is it?")
    spans = collected.spans
    assert list(spans) == ["chat gpt-4o-mini", "step", "self", "web"]
    for inner, outer in (("chat gpt-4o-mini", "step"), ("step", "self"), ("self", "web")):
        parent, around = spans[inner].parent, spans[outer].context
        assert parent is not None
        assert around is not None
        assert parent.span_id == around.span_id
    chat = spans["chat gpt-4o-mini"]
    assert chat.kind is SpanKind.CLIENT
    assert attributes(chat) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.output.type": "json",
        "gen_ai.response.model": "gpt-4o-mini",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.output_tokens": 3,
        "declm.cached": False,
        "declm.usd": pytest.approx(11 * 0.15e-6 + 3 * 0.6e-6),
    }
    points = collected.metrics()
    assert [p.count for p in points["gen_ai.client.operation.duration"]] == [1]
    assert {p.attributes["gen_ai.token.type"]: p.sum for p in points["gen_ai.client.token.usage"]} == {
        "input": 11,
        "output": 3,
    }


def test_words_are_told_only_where_that_was_asked_for() -> None:
    for contents in (False, True):
        collected = Collected(contents=contents)
        with dm.context(callbacks=[collected.callback]):
            Desk(ScriptedLM(["no json about the canary", '{"answer": "a canary"}']))(question="the canary?")
            with pytest.raises(dm.ParseError):
                dm.Predict("question -> answer", lm=ScriptedLM(["canary"]), retries=0)(question="the canary?")
        told = "".join(span.to_json() for span in collected.all)
        assert ("canary" in told) is contents
    chat = next(span for span in collected.all if span.name.startswith("chat"))
    messages = json.loads(attributes(chat)["gen_ai.input.messages"])
    assert messages[-1] == {"role": "user", "parts": [{"type": "text", "content": "question: the canary?"}]}


async def test_tasks_have_their_own_trees() -> None:
    collected = Collected()
    desk = Desk(FunctionLM(lambda _request: '{"answer": "yes"}'))
    with dm.context(callbacks=[collected.callback]):
        await asyncio.gather(*(desk.acall(question=f"{n}") for n in range(20)))
    assert len(collected.all) == 60
    traces = [span.context.trace_id for span in collected.all if span.context is not None]
    assert {traces.count(trace) for trace in traces} == {3}


def test_failures_and_retries_are_on_the_spans() -> None:
    collected = Collected()
    with serving() as server:
        server.script(failure(429, "slow down", headers={"Retry-After": "0"}), failure(401, "bad key"))
        lm = dm.LM("openai/gpt-4o-mini", api_base=server.url, api_key="k", cache=False)
        with dm.context(callbacks=[collected.callback]), pytest.raises(dm.AuthError):
            Desk(lm)(question="Is it?")
    assert {attributes(span)["error.type"] for span in collected.all} == {"AuthError"}
    assert {span.status.status_code for span in collected.all} == {StatusCode.ERROR}
    (retry,) = collected.spans["chat gpt-4o-mini"].events
    assert (retry.name, dict(retry.attributes or {})["error.type"]) == ("retry", "RateLimited")
    (point,) = collected.metrics()["gen_ai.client.operation.duration"]
    assert point.attributes["error.type"] == "AuthError"


def test_without_opentelemetry_the_extra_is_named() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None; import declm.integrations.otel as o; o.OpenTelemetry()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "MissingExtra" in done.stderr
    assert "pip install 'declm[otel]'" in done.stderr
