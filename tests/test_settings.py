"""`configure`, `context` and what is in force where."""

from __future__ import annotations

import asyncio
import contextvars
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

import declm as dm
from declm import settings
from declm.settings import current
from declm.testing import FunctionLM, ScriptedLM
from declm.usage import Meter

T = TypeVar("T")


def named(name: str) -> FunctionLM:
    return FunctionLM(lambda request: '{"answer": "x"}', name=name)


def model() -> str | None:
    lm = current().lm
    return lm if lm is None or isinstance(lm, str) else lm.model


def in_thread(function: Callable[[], T]) -> T:
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


# --- precedence


def test_context_beats_configure_and_ends_with_its_block() -> None:
    assert model() is None
    dm.configure(lm=named("process"))
    with dm.context(lm=named("outer")):
        with dm.context(format="chat"):
            assert (model(), current().format) == ("outer", "chat")
            with dm.context(lm=named("inner")):
                assert (model(), current().format) == ("inner", "chat")
        assert (model(), current().format) == ("outer", None)
    assert model() == "process"


def test_a_context_ends_when_its_block_raises() -> None:
    with pytest.raises(KeyError), dm.context(lm=named("a")):
        raise KeyError
    assert model() is None


def test_what_is_not_given_stays() -> None:
    dm.configure(lm=named("a"), cache=False)
    dm.configure(format="json")
    assert (model(), current().cache, current().format) == ("a", False, "json")


def test_configure_shows_through_a_context_that_sets_something_else() -> None:
    with dm.context(format="chat"):
        dm.configure(lm=named("late"), format="json")
        assert (model(), current().format) == ("late", "chat")
    assert current().format == "json"


def test_cache_can_be_switched_back_on_inside() -> None:
    dm.configure(cache=False)
    with dm.context(cache=True):
        assert current().cache is True
    with dm.context(cache="here.sqlite"):
        assert current().cache == Path("here.sqlite")


def test_folders_of_templates_shadow_those_outside(tmp_path: Path) -> None:
    a, b, c = (tmp_path / name for name in "abc")
    for folder in (a, b, c):
        folder.mkdir()
    dm.configure(templates=a)
    with dm.context(templates=[str(b), c]):
        assert current().templates == (b, c, a)
    dm.configure(templates=b)
    assert current().templates == (b,)


def test_a_new_budget_of_configure_replaces_the_last_one() -> None:
    lm = ScriptedLM(["1", "2", "3"])
    request = dm.Request(messages=())
    dm.configure(budget=dm.Budget(calls=1))
    lm.complete(request)
    with pytest.raises(dm.BudgetExceeded):
        lm.complete(request)
    dm.configure(budget=dm.Budget(calls=1))
    lm.complete(request)
    assert [meter.spent.calls for meter in current().meters] == [1]


def test_budgets_of_contexts_add_up_and_the_tighter_one_stops() -> None:
    lm, request = ScriptedLM(["1", "2", "3"]), dm.Request(messages=())
    dm.configure(budget=dm.Budget(calls=3))
    with dm.context(budget=dm.Budget(calls=5)), dm.context(budget=dm.Budget(calls=1)):
        lm.complete(request)
        with pytest.raises(dm.BudgetExceeded, match="budget of 1 calls"):
            lm.complete(request)
        assert [meter.spent.calls for meter in current().meters] == [1, 1, 1]
    lm.complete(request)
    assert [meter.spent.calls for meter in current().meters] == [2]


def test_a_send_that_fails_is_charged_all_the_same() -> None:
    meter = Meter(dm.Budget())
    with settings.metered(meter):
        with pytest.raises(dm.ServerError):
            ScriptedLM([dm.ServerError("down")]).complete(dm.Request(messages=()))
        assert meter.spent == dm.Usage(calls=1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lm": 3}, "lm=3 is neither a model name nor an LM"),
        ({"templates": "nowhere"}, "templates='nowhere' is no folder"),
    ],
)
@pytest.mark.parametrize("setter", [dm.configure, dm.context])
def test_nonsense_is_refused_and_changes_nothing(setter: Any, given: dict[str, Any], message: str) -> None:
    before = current()
    with pytest.raises(dm.UsageError, match=message):
        with setter(format="chat", **given):
            pass
    assert current() == before


# --- threads, tasks, generators


def test_threads_see_configure_and_no_context() -> None:
    dm.configure(lm=named("process"))
    with dm.context(lm=named("here")):
        assert in_thread(model) == "process"
        dm.configure(lm=named("new"))
        assert in_thread(model) == "new"
    in_thread(lambda: dm.configure(lm=named("from a thread")))
    assert model() == "from a thread"


def test_carry_takes_the_context_along_to_many_threads() -> None:
    with dm.context(lm=named("here")):
        carried = dm.carry(model)
    assert model() is None
    found: list[str | None] = []
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        found.append(carried())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["here"] * 8


async def test_two_hundred_tasks_keep_their_own_lm() -> None:
    async def work(name: str) -> list[str | None]:
        with dm.context(lm=named(name)):
            first = model()
            await asyncio.sleep(0)
            return [first, model(), await asyncio.to_thread(model)]

    names = [f"lm{i}" for i in range(200)]
    assert await asyncio.gather(*map(work, names)) == [[name] * 3 for name in names]
    assert model() is None


def test_a_call_that_waits_inside_a_generator_leaks_nothing() -> None:
    """A predictor's own generator sets no context, so that suspending it changes nothing outside."""
    from declm.formats import choose
    from declm.formats.base import Prompt
    from declm.messages import Capabilities
    from declm.predictors.flow import flow
    from declm.specs import spec

    signature: Any = dm.define("question -> answer")
    row = signature(question="q")
    with dm.context(lm=named("one")), settings.sampling(3):
        before = contextvars.copy_context()
        steps = flow(Prompt(spec(signature)), choose("json", Capabilities()), row, 2)
        request = next(steps)
        assert request.sample == 3
        assert dict(contextvars.copy_context()) == dict(before)
    again = steps.send(dm.Response(text="nonsense"))
    assert (model(), again.sample, current().sample) == (None, 3, 0)
    steps.close()


def test_a_generator_of_the_user_sees_what_is_in_force_where_it_is_read() -> None:
    ask = dm.Predict("question -> answer")

    def answers() -> Iterator[str]:
        while True:
            yield ask(question="q").answer

    one, two = named("one"), named("two")
    stream = answers()
    with dm.context(lm=one):
        next(stream)
    with dm.context(lm=two):
        next(stream)
        next(stream)
    assert (len(one.requests), len(two.requests)) == (1, 2)


def test_sampling_reaches_requests_and_ends() -> None:
    lm = named("a")
    ask = dm.Predict("question -> answer", lm=lm)
    with settings.sampling(2), dm.context(format="json"):
        ask(question="q")
    ask(question="q")
    assert [request.sample for request in lm.requests] == [2, 0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_sees_what_was_in_force() -> None:
    code = """
        import os
        import declm as dm
        from declm.settings import current
        from declm.testing import ScriptedLM

        dm.configure(lm=ScriptedLM(["a"], name="process"))
        with dm.context(lm=ScriptedLM(["b"], name="here")):
            if os.fork() == 0:
                print(current().lm.model, current().lm.complete(dm.Request(messages=())).text, flush=True)
                os._exit(0)
            os.wait()
        if os.fork() == 0:
            print(current().lm.model, current().lm.complete(dm.Request(messages=())).text, flush=True)
            os._exit(0)
        os.wait()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == ["here b", "process a"]
