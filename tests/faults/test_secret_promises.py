"""Promise 36: a key is shown nowhere, wherever it came from and whoever echoes it."""

from __future__ import annotations

import base64
import copy
import logging
import pickle
import sqlite3
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fault_server import Answer, FaultServer, completion, failure

import declm as dm
from declm.events import Event
from declm.lm import LM, Cached, Cascaded, Routed
from declm.messages import Message, Request
from declm.testing import record

CANARY = "zz9-plural-z-alpha-canary"


class QA(dm.Signature):
    """Answer."""

    question: str = dm.Input()
    answer: str = dm.Output()


def exact(gold: QA, got: QA) -> bool:
    """Whether the answer is the gold one."""
    return gold.answer == got.answer


@dataclass
class World:
    """A server that echoes the headers of every request, an LM with a secret, and a folder for files."""

    server: FaultServer
    lm: LM
    folder: Path
    log: pytest.LogCaptureFixture

    def fails(self, status: int = 401) -> None:
        """Let the server refuse, with the request's headers in its words."""
        headers = self.server.headers

        def refuse(body: Mapping[str, Any]) -> Answer:
            return failure(status, f"refused: {headers[-1]} {body.get('user', '')} {CANARY}")

        self.server.answer = refuse

    def failed(self) -> dm.LMError:
        """The error of a refused call."""
        self.fails()
        with pytest.raises(dm.LMError) as caught:
            self.lm.complete(Request((Message("user", "hi"),)))
        return caught.value

    @property
    def predict(self) -> dm.Predict[Any]:
        """A predictor of this LM."""
        return dm.Predict(QA, lm=self.lm)

    @property
    def rows(self) -> list[QA]:
        """Gold rows."""
        return [QA(question=f"{n}?", answer="hello") for n in range(3)]


# --- where a secret may come out; each gives all that it shows


def message(world: World) -> str:
    error = world.failed()
    return f"{error} {error!r} {error.message}"


def chain(world: World) -> str:
    return "".join(traceback.format_exception(world.failed()))


def pickled_error(world: World) -> str:
    return repr(pickle.dumps(world.failed()))


def refusal_in_a_stream(world: World) -> str:
    world.fails()
    with pytest.raises(dm.LMError) as caught:
        list(world.lm.stream(Request((Message("user", "hi"),))))
    return "".join(traceback.format_exception(caught.value))


def exhausted_retries(world: World) -> str:
    world.fails(500)
    with pytest.raises(dm.LMError) as caught:
        world.lm.complete(Request((Message("user", "hi"),)))
    return "".join(traceback.format_exception(caught.value))


def route(world: World) -> str:
    world.fails()
    with pytest.raises(dm.LMError) as caught:
        Routed([world.lm, world.lm]).complete(Request((Message("user", "hi"),)))
    return "".join(traceback.format_exception(caught.value))


def repr_of_lm(world: World) -> str:
    layered = [world.lm, Routed([world.lm]), Cascaded([world.lm]), Cached(world.lm), copy.copy(world.lm)]
    return f"{layered} {world.lm.identity} {world.lm.model} {world.lm.capabilities}"


def repr_of_program(world: World) -> str:
    return f"{world.predict!r} {world.predict.state} {vars(world.predict)}"


def prompt(world: World) -> str:
    return str(world.predict.render(question="hi"))


def log(world: World) -> str:
    with world.log.at_level(logging.DEBUG):
        world.failed()
        with suppress(dm.LMError):
            world.predict(question="hi")
    return world.log.text


def warning(world: World) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        world.failed()
    return repr([str(one.message) for one in caught])


def files(world: World) -> str:
    """Everything that was written below the folder."""
    return repr([path.read_bytes() for path in world.folder.rglob("*") if path.is_file()])


def saved_program(world: World) -> str:
    world.predict.with_demos(world.rows).save(world.folder / "program.json")
    return files(world)


def cache(world: World) -> str:
    world.predict(question="hi")
    with suppress(dm.LMError):
        world.failed()
    with sqlite3.connect(world.folder / "replies.db") as database:
        assert database.execute("SELECT count(*) FROM replies").fetchone() == (1,)
    return files(world)


def ledger(world: World) -> str:
    dm.evaluate(world.predict, world.rows, metric=exact, name=str(world.folder / "ledger.sqlite"))
    world.fails()
    with suppress(dm.DeclmError):
        dm.evaluate(world.predict, world.rows, metric=exact, name=str(world.folder / "other.sqlite"))
    return files(world)


def report(world: World) -> str:
    world.fails(422)
    with pytest.raises(dm.TooManyErrors) as caught:
        dm.evaluate(world.predict, world.rows, metric=exact)
    found = caught.value.report
    for name in ("report.html", "report.json"):
        found.save(world.folder / name)
    return f"{caught.value} {found} {found!r} {files(world)} {found._repr_html_()}"


def trace(world: World) -> str:
    run = world.predict.run(question="hi")
    return f"{run} {run.trace} {run.trace!r}"


def events(world: World) -> str:
    told = list[Event]()
    with dm.context(callbacks=[told.append]):
        world.predict(question="hi")
        world.fails(500)
        with suppress(dm.LMError):
            world.predict(question="other")
    return repr(told)


def spans(world: World) -> str:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from declm.integrations.otel import OpenTelemetry

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with dm.context(callbacks=[OpenTelemetry(contents=True, tracer_provider=provider)]):
        world.predict(question="hi")
        world.fails()
        with suppress(dm.LMError):
            world.predict(question="other")
    assert exporter.get_finished_spans()
    return "".join(span.to_json() for span in exporter.get_finished_spans())


def tape(world: World) -> str:
    with record(world.folder / "tape.json"):
        world.predict(question="hi")
        world.fails()
        with suppress(dm.LMError):
            world.predict(question="other")
    return files(world)


SINKS: list[Callable[[World], str]] = [
    message,
    chain,
    pickled_error,
    refusal_in_a_stream,
    exhausted_retries,
    route,
    repr_of_lm,
    repr_of_program,
    prompt,
    log,
    warning,
    saved_program,
    cache,
    ledger,
    report,
    trace,
    events,
    spans,
    tape,
]
SOURCES = ["argument", "environment", "header", "address"]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("sink", SINKS)
def test_a_key_is_shown_nowhere(
    server: FaultServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    sink: Callable[[World], str],
    source: str,
) -> None:
    server.answer = lambda _body: completion('{"answer": "hello"}')
    options: dict[str, Any] = {"api_base": server.url, "attempts": 2, "deadline": 20, "cache": tmp_path / "replies.db"}
    if source == "argument":
        options["api_key"] = CANARY
    elif source == "environment":
        monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    elif source == "header":
        options |= {"api_key": "other-key", "extra_headers": {"x-api-key": CANARY}}
    else:
        options |= {"api_key": "other-key", "api_base": server.url.replace("//", f"//someone:{CANARY}@")}
    shown = sink(World(server, LM("openai/gpt-4o-mini", **options), tmp_path, caplog))
    assert shown
    printed = "".join(capfd.readouterr())
    for secret in (CANARY, base64.b64encode(f"someone:{CANARY}".encode()).decode()):
        assert secret not in shown
        assert secret not in printed


def test_there_are_twenty_sinks() -> None:
    assert len(SINKS) + 1 >= 20  # what is printed is looked at in each
