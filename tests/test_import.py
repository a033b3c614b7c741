"""`import declm` is quick, quiet and loads nothing heavy; measured in fresh processes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

import pytest

import declm

pytestmark = pytest.mark.timeout(300)  # a fresh process may wait long for a busy machine

HEAVY = ["aiohttp", "httpx", "instructor", "litellm", "numpy", "openai", "optuna", "pandas", "tqdm", "xllamacpp"]

WATCH = """
import json, sys
sockets = []
sys.addaudithook(lambda event, args: sockets.append(event) if event.startswith("socket.") else None)
{code}
print(json.dumps({{"modules": sorted(sys.modules), "sockets": sockets}}))
"""

DECLARE = """
import declm as dm
class QA(dm.Signature):
    question: str = dm.Input("what to answer")
    answer: str = dm.Output()
dm.spec(QA).request({"question": "x"})
"""

PREDICTOR = DECLARE + "dm.Predict(QA)\n"


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, f"importing must print nothing, and warned: {done.stderr}"
    return done.stdout


@pytest.mark.parametrize("code", ["import declm", DECLARE, PREDICTOR], ids=["import", "signature", "predictor"])
def test_no_heavy_library_is_loaded_and_no_socket_opened_before_a_call(code: str) -> None:
    seen = json.loads(fresh(WATCH.format(code=code)))
    assert not [name for name in HEAVY if name in seen["modules"]]
    assert not seen["sockets"]


def test_import_loads_neither_pydantic_nor_jinja2() -> None:
    seen = json.loads(fresh(WATCH.format(code="import declm")))
    assert not {"pydantic", "jinja2"} & set(seen["modules"])


def test_import_time_is_a_fraction_of_that_of_pydantic_and_jinja2() -> None:
    """Ratios hold on a busy machine where milliseconds do not; benchmarks/ has the milliseconds."""
    timed = "import time; started = time.perf_counter(); import {}; print(time.perf_counter() - started)"
    ours, theirs = [], []
    for _ in range(5):  # interleaved, so that a slow moment of the machine hits both
        ours.append(float(fresh(timed.format("declm"))))
        theirs.append(float(fresh(timed.format("pydantic, jinja2"))))
    assert statistics.median(ours) < statistics.median(theirs)


def test_all_names_load_in_any_order() -> None:
    fresh(
        "import random, declm\nnames = declm.__all__.copy()\nrandom.shuffle(names)\nfor n in names: getattr(declm, n)"
    )


def test_a_star_import_gives_all_names() -> None:
    fresh("from declm import *\nassert Signature and spec and LM and data")


def test_functions_are_not_shadowed_by_modules_of_a_similar_name() -> None:
    """A submodule that is imported becomes an attribute of its package and would replace a function."""
    fresh(
        "import declm, importlib, pkgutil\n"
        "for m in pkgutil.walk_packages(declm.__path__, 'declm.'):\n"
        "    m.name.endswith('__main__') or importlib.import_module(m.name)\n"
        "assert all(callable(getattr(declm, n)) for n in ('spec', 'predict', 'evaluate', 'optimize', 'define', 'fill'))"
    )


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'declm' has no attribute 'Signatur'"):
        declm.Signatur  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
