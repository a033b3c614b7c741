"""Optimizes with DSPy: `python benchmarks/optimizers_peers.py < job`, in the peers' environment.

Reads one JSON object: the task's rows and labels, the server's address, the optimizer and its seed. Writes one JSON
object: the number of rows that the compiled program gets right on test, before and after; calls are counted at the
server, which is told by `/mark` when compiling has ended.
"""

from __future__ import annotations

import json
import logging
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import dspy  # pyright: ignore[reportMissingImports]  # in the peers' environment only

logging.disable(logging.WARNING)

Row = Mapping[str, Any]


def signature(job: Mapping[str, Any]) -> Any:
    """The task's signature with the instruction that declm's has."""
    fields: dict[str, Any] = {name: (str, dspy.InputField()) for name in job["inputs"]}
    for name, values in job["outputs"].items():
        special: Any = Literal
        kind: Any = special[tuple(values)] if values else str
        if job["kinds"][name] != "string" and not values:
            kind = list[str]
        fields[name] = (kind, dspy.OutputField())
    return dspy.make_signature(fields, job["instructions"])


def examples(job: Mapping[str, Any], rows: Sequence[Row]) -> list[Any]:
    """Rows as DSPy takes them."""
    return [dspy.Example(**row).with_inputs(*job["inputs"]) for row in rows]


def scorer(job: Mapping[str, Any]) -> Callable[..., Any]:
    """Share of the outputs that are right; with feedback where an optimizer takes it."""

    def score(gold: Any, got: Any, *_: Any, **__: Any) -> float:
        right = [str(gold[name]) == str(got.get(name)) for name in job["outputs"]]
        return sum(right) / len(right)

    return score


def reflective(job: Mapping[str, Any]) -> Callable[..., Any]:
    """The same with words on what was wrong, for GEPA."""
    plain = scorer(job)

    def score(gold: Any, got: Any, *_: Any) -> Any:
        wrong = [
            f"{name} is {got.get(name)!r}, not {gold[name]!r}"
            for name in job["outputs"]
            if str(gold[name]) != str(got.get(name))
        ]
        return dspy.Prediction(score=plain(gold, got), feedback="; ".join(wrong) or "right")

    return score


def compiled(job: Mapping[str, Any], program: Any, lm: Any) -> Any:
    """The program after the optimizer."""
    train, val = examples(job, job["train"]), examples(job, job["val"])
    metric, name, seed = scorer(job), job["optimizer"], job["seed"]
    if name == "LabeledFewShot":
        return dspy.LabeledFewShot(k=16).compile(program, trainset=train)
    if name == "RandomSearch":
        search = dspy.BootstrapFewShotWithRandomSearch(metric=metric, max_labeled_demos=16, num_threads=4)
        return search.compile(program, trainset=train, valset=val)
    if name.startswith("MIPROv2"):
        search = dspy.MIPROv2(
            metric=metric, auto=name.split("-")[1], max_labeled_demos=16, num_threads=4, seed=seed, verbose=False
        )
        return search.compile(program, trainset=train, valset=val, seed=seed)
    start = dspy.LabeledFewShot(k=16).compile(program, trainset=train) if name == "LabeledFewShot+GEPA" else program
    gepa = dspy.GEPA(metric=reflective(job), auto=job.get("auto", "light"), reflection_lm=lm, num_threads=4, seed=seed)
    return gepa.compile(start, trainset=train, valset=val)


def marked(url: str) -> int:
    """Calls at the server since the last mark."""
    with urllib.request.urlopen(f"{url}/mark") as answer:
        return int(json.loads(answer.read())["calls"])


def main() -> None:
    """Do one job."""
    job: Mapping[str, Any] = json.loads(sys.stdin.read())
    lm = dspy.LM("openai/learner", api_base=job["url"], api_key="none", cache=True, temperature=job["temperature"])
    adapter = dspy.JSONAdapter() if job["adapter"] == "json" else dspy.ChatAdapter()
    dspy.configure(lm=lm, adapter=adapter)
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    program = dspy.Predict(signature(job))
    marked(job["url"])
    best = compiled(job, program, lm)
    calls = marked(job["url"])
    test = examples(job, job["test"])
    evaluate = dspy.Evaluate(devset=test, metric=scorer(job), num_threads=4, display_progress=False)
    print(json.dumps({"score": evaluate(best).score / 100.0, "calls": calls, "test_calls": marked(job["url"])}))


if __name__ == "__main__":
    main()
