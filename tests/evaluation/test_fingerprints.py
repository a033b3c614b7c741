"""Hashes of programs and metrics: what changes them, and what does not."""

from __future__ import annotations

import functools
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from evaluation_cases import QA, right

import declm as dm
from declm.evaluation.fingerprints import metric_hash, name_of, program_hash, state_hash

LIMIT = 3


def helper(x: int) -> int:
    return x + 1


def other_helper(x: int) -> int:
    return x + 2


def compile_function(source: str, **names: Any) -> Any:
    """A function from source that `inspect` can't find, so that its code is hashed."""
    space: dict[str, Any] = {"__name__": __name__, **names}
    exec(source, space)
    return space["f"]


def make(threshold: float) -> Any:
    def metric(gold: Any, got: Any) -> bool:
        return bool(got > threshold)

    return metric


def uses_limit(gold: Any, got: Any) -> bool:
    return bool(got > LIMIT)


def uses_helper(gold: Any, got: Any) -> int:
    return sum(helper(x) for x in (1, 2))


class Step(dm.Module):
    def __init__(self, lm: Any, hops: int = 2, tool: Any = None) -> None:
        self.hops, self.tool, self.cache = hops, tool, {}
        self.ask = dm.Predict(QA, lm=lm)

    def forward(self, question: str) -> QA:
        return self.ask(question=question)


class Other(Step):
    def forward(self, question: str) -> QA:
        return self.ask(question=question + "!")


@dataclass(frozen=True)
class Above:
    limit: float

    def __call__(self, gold: Any, got: Any) -> bool:
        return bool(got > self.limit)


def test_source_code_counts() -> None:
    first = compile_function("def f(a, b):\n    return a == b")
    second = compile_function("def f(a, b):\n    return a != b")
    assert metric_hash(first) == metric_hash(compile_function("def f(a, b):\n    return a == b"))
    assert metric_hash(first) != metric_hash(second)


def test_two_lambdas_on_one_line_differ() -> None:
    first, second = (lambda a, b: a == b), (lambda a, b: a != b)
    assert metric_hash(first) != metric_hash(second)


def test_closures_defaults_globals_and_functions_of_the_same_package_count() -> None:
    assert metric_hash(make(0.5)) == metric_hash(make(0.5))
    assert metric_hash(make(0.5)) != metric_hash(make(0.6))
    source = "def f(a, b, c=%d):\n    return helper(a) > LIMIT + c"
    base = metric_hash(compile_function(source % 1, helper=helper, LIMIT=1))
    assert metric_hash(compile_function(source % 1, helper=helper, LIMIT=1)) == base
    assert metric_hash(compile_function(source % 2, helper=helper, LIMIT=1)) != base
    assert metric_hash(compile_function(source % 1, helper=other_helper, LIMIT=1)) != base
    assert metric_hash(compile_function(source % 1, helper=helper, LIMIT=2)) != base


def test_names_inside_of_comprehensions_are_followed() -> None:
    source = "def f(a, b):\n    return [helper(x) for x in a]"
    first = metric_hash(compile_function(source, helper=helper))
    assert metric_hash(compile_function(source, helper=other_helper)) != first


def test_callable_objects_count_with_their_fields() -> None:
    assert metric_hash(Above(0.5)) == metric_hash(Above(0.5)) != metric_hash(Above(0.6))
    assert metric_hash(dm.metrics.matches("a")) != metric_hash(dm.metrics.matches("b"))
    assert metric_hash(dm.metrics.matches("a")) != metric_hash(dm.metrics.accuracy("a"))
    assert metric_hash(functools.partial(helper, 1)) != metric_hash(functools.partial(helper, 2))


def test_functions_that_call_each_other_end() -> None:
    def even(n: int) -> bool:
        return n == 0 or odd(n - 1)

    def odd(n: int) -> bool:
        return n != 0 and even(n - 1)

    assert metric_hash(even) != metric_hash(odd)


def test_code_and_settings_of_a_module_count_and_its_state_and_caches_do_not() -> None:
    lm = right()
    base = program_hash(Step(lm))
    assert program_hash(Step(lm)) == base
    assert program_hash(Step(lm, hops=3)) != base
    assert program_hash(Step(lm, tool=object())) != base
    assert program_hash(Other(lm)) != base
    used = Step(lm)
    used(question="number 1")
    assert program_hash(used) == base
    tuned = Step(lm)
    tuned.ask = tuned.ask.with_instructions("x")
    assert program_hash(tuned) == base
    assert state_hash(tuned) != state_hash(Step(lm))


def test_the_wording_of_a_signature_counts() -> None:
    lm = right()
    base = program_hash(dm.Predict(QA, lm=lm))
    reworded = dm.spec(QA).reworded(question="what to answer")
    assert program_hash(dm.Predict(reworded, lm=lm)) != base
    assert program_hash(dm.Predict(dm.spec(QA).with_instructions("other"), lm=lm)) != base
    assert program_hash(dm.ChainOfThought(QA, lm=lm)) != base
    assert program_hash(dm.Predict(QA, lm=lm, format="chat")) != base
    assert program_hash(dm.Predict(QA, lm=lm, template="{{ inputs }}")) != base


def test_a_function_counts_with_the_predictors_that_it_uses() -> None:
    def build(ask: Any) -> Any:
        def program(question: str) -> QA:
            return ask(question=question)  # type: ignore[no-any-return]  # whatever `ask` is

        return program

    ask = dm.Predict(QA, lm=right())
    assert program_hash(build(ask)) == program_hash(build(ask))
    assert program_hash(build(ask)) != program_hash(build(ask.with_instructions("x")))


def test_hashes_are_the_same_in_every_process() -> None:
    code = (
        "from evaluation_cases import correct, right, QA\n"
        "import declm as dm\n"
        "from declm.evaluation.fingerprints import metric_hash, program_hash\n"
        "f = lambda gold, got: got in {'a', 'b', 'c'} and got in (1, {2})\n"
        "print(metric_hash(correct), program_hash(dm.Predict(QA, lm=right())), metric_hash(f))\n"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }  # fmt: skip
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (helper, "helper"),
        (functools.partial(helper, 1), "helper"),
        (Above(1), "Above"),
        (lambda a: a, "<lambda>"),
        (dm.Predict(QA), "Predict(QA)"),
        (Step(None), "Step"),
    ],
)
def test_names_are_readable(thing: Any, name: str) -> None:
    assert name_of(thing) == name
