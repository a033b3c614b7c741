"""The tables of `docs/benchmarks.md`, from the lines in `benchmarks/results/`: `python benchmarks/publish.py`.

No published figure is typed by hand. Each table stands between two marks, `<!-- table: NAME -->` and
`<!-- end of table -->`, and shows every line of `NAME.jsonl`, in order.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results"

Line = Mapping[str, Any]

_SECTION = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

SIGNIFICANT = 0.05
"""Below this p-value a difference counts as shown."""


def demo_table(lines: Sequence[Line]) -> str:
    """The demo's outcomes, one row per seed, and how many of them gained."""
    head = ("seed", "plain", "optimized", "difference", "p", "accepted", "demos", "search calls", "seconds")
    rows = [
        (
            line["seed"],
            _score(line["plain"], line["plain_interval"]),
            _score(line["optimized"], line["optimized_interval"]),
            f"{line['optimized'] - line['plain']:+.3f}",
            _p(line["p_value"]),
            "yes" if line["accepted"] else "no",
            line["demos"],
            f"{line['calls']:,}",
            f"{line['seconds']:.0f}",
        )
        for line in lines
    ]
    better = [line for line in lines if line["optimized"] > line["plain"] and line["p_value"] < SIGNIFICANT]
    worse = [line for line in lines if line["optimized"] < line["plain"]]
    told = (
        f"{len(better)} of {len(lines)} seeds are better than the plain program with p < {SIGNIFICANT}; "
        f"{len(worse)} are worse."
    )
    return "\n\n".join([_table(head, rows), told, _where(lines)])


def tasks_table(lines: Sequence[Line]) -> str:
    """Zero-shot against optimized, one row per run."""
    head = "task, test rows, metric, model, seed, zero-shot, optimized, difference, p, calls, tokens, seconds".split(
        ", "
    )
    rows = [
        (
            line["task"] + ("" if line["program"] == "predict" else f" ({line['program']})"),
            line["rows"]["test"],
            line["metric"],
            line["model"],
            line["seed"],
            _measured(line["plain"]),
            _measured(line["optimized"]),
            f"{line['difference']:+.3f}" + ("" if line["search"]["accepted"] else " (not accepted)"),
            _p(line["p"]),
            _parts(line, "calls"),
            _parts(line, "tokens"),
            _parts(line, "seconds"),
        )
        for line in lines
    ]
    note = "Calls, tokens and seconds: zero-shot on test / search / optimized on test."
    return "\n\n".join([_table(head, rows), note, _where(lines)])


def imports_table(lines: Sequence[Line]) -> str:
    """The newest measurement of what importing costs."""
    head = ("in a fresh process", "ms", "MiB", "litellm, optuna or numpy loaded", "sockets made")
    line = lines[-1]
    rows = [
        (f"`{m['statement']}`", f"{m['ms']:.0f}", f"{m['mib']:.0f}", ", ".join(m["loaded"]) or "none", m["sockets"])
        for m in line["measured"]
    ]
    return "\n\n".join([_table(head, rows), f"Medians of {line['times']} processes.", _where([line])])


def codecs_table(lines: Sequence[Line]) -> str:
    """The newest measurement of calls through litellm's codecs."""
    line = lines[-1]
    rows = [
        (f"`{m['model']}`", f"{m['declm']:.2f}", f"{m['litellm']:.2f}", f"{m['declm'] / m['litellm']:.2f}")
        for m in line["measured"]
    ]
    note = f"Milliseconds of a call over loopback; medians of {line['calls']} calls each, by turns, in two processes."
    head = ("model", "declm", "`litellm.acompletion`", "ratio")
    return "\n\n".join([_table(head, rows), note, _where([line])])


def parsing_table(lines: Sequence[Line]) -> str:
    """The newest rates of reading broken replies, and the newest times."""
    parts = list[str]()
    rated = next((line for line in reversed(lines) if line["parsers"]), None)
    timed = next((line for line in reversed(lines) if line["speed"]), None)
    if rated is not None:
        groups = ("final", "refusals", "streaming")
        head = ("parser", *groups, *(f"holdout: {group}" for group in groups))
        rows = [
            (
                one["version"] if one["name"] == "declm" else f"{one['name']} ({one['version']})",
                *(_share(one[prefix + group]) for prefix in ("", "holdout ") for group in groups),
            )
            for one in rated["parsers"]
        ]
        made = f"The holdout: {rated['holdout']['size']:,} replies, seed {rated['holdout']['seed']}."
        parts += [_table(head, rows), made]
    if timed is not None:
        rows = [
            (one["shape"], *(f"{ms:.0f}" for ms in one["ms"]), f"{max(_ratios(one['ms'])):.1f}")
            for one in timed["speed"]["growth"]
        ]
        usual = timed["speed"]["usual"]
        parts += [
            _table(("reply of n characters", "ms at n = 250,000", "500,000", "1,000,000", "largest ratio"), rows),
            f"A valid reply of usual length takes {usual['valid']:.0f} µs, a broken one {usual['broken']:.0f} µs.",
        ]
    return "\n\n".join([*parts, _where([line for line in (rated, timed) if line is not None])])


def _share(counts: Sequence[int] | None) -> str:
    return "" if counts is None else f"{100 * counts[0] / counts[1]:.1f} % ({counts[0]} of {counts[1]})"


def _ratios(ms: Sequence[float]) -> list[float]:
    """How much longer twice the length takes; times below a millisecond say nothing."""
    return [after / max(before, 1.0) for before, after in pairwise(ms)]


def prompts_table(lines: Sequence[Line]) -> str:
    """Prompt tokens by signature, and all of them as a share of those of the first peer."""
    last = lines[-1]
    peers = [sum(one["tokens"]) for one in last["lines"] if not one["name"].startswith("declm")]
    head = ("prompt", *last["signatures"], "all", "share")
    rows = [
        (one["name"], *one["tokens"], sum(one["tokens"]), f"{sum(one['tokens']) / peers[0]:.2f}" if peers else "")
        for one in last["lines"]
    ]
    return "\n\n".join([_table(head, rows), _where([last])])


def scores_table(lines: Sequence[Line]) -> str:
    """Scores of all libraries and formats, one row for each, of every task and model."""
    head = "task, model, prompt, run, score, p, valid, prompt tokens, reply tokens, calls, cut".split(", ")
    rows = [
        (
            line["task"],
            line["model"],
            one["library"],
            one["run"],
            _score(one["score"], one["interval"]) + "".join(f"; {k} {v:.3f}" for k, v in one["also"].items()),
            "" if one["p"] is None else f"{one['difference']:+.3f}, {_p(one['p'])}",
            f"{one['parsed']} of {line['rows']}",
            f"{one['prompt_tokens']:.0f}",
            f"{one['reply_tokens']:.0f}",
            one["calls"],
            one["cut"],
        )
        for line in lines
        for one in line["cells"]
    ]
    return "\n\n".join([_table(head, rows), _where(lines)])


def promises_table(lines: Sequence[Line]) -> str:
    """The newest counts of what parsing promises."""
    last = lines[-1]
    held = [(one["name"], f"{one['examples']:,}", "no" if one["falsified"] else "yes") for one in last["properties"]]
    steps = ("accepted", "rendered", "parsed", "refused", "read_back")
    types = [(one["name"], *(f"{one[step]} of {one['of']}" for step in steps)) for one in last["types"]]
    injections = [(one["name"], one["replies"], one["overwritten"], one["refused"]) for one in last["injections"]]
    return "\n\n".join([
        _table((f"property (seed {last['seed']})", "examples", "held"), held),
        _table(("types", "accepted", "rendered", "parsed", "invalid refused", "read back"), types),
        _table((f"{last['payloads']} payloads", "replies", "fields overwritten", "replies refused"), injections),
        _where([last]),
    ])  # fmt: skip


def soak_table(lines: Sequence[Line]) -> str:
    """What many calls leave behind, one row for each run."""
    head = ("calls", "in flight", "cache", "seconds", "bytes a call", "MiB, warm to end", "descriptors", "threads")
    rows = list[tuple[object, ...]]()
    for line in lines:
        warm, end = line["states"][len(line["states"]) // 5], line["states"][-1]
        sizes = " to ".join(f"{state['bytes'] / 2**20:.1f}" for state in (warm, end))
        counts = (f"{warm[what]} to {end[what]}" for what in ("descriptors", "threads"))
        cache = "yes" if line["cache"] else "no"
        seconds = f"{line['seconds']:.0f}"
        rows.append((f"{line['calls']:,}", line["width"], cache, seconds, f"{line['slope']:.0f}", sizes, *counts))
    return "\n\n".join([_table(head, rows), _where(lines)])


def runtime_table(lines: Sequence[Line]) -> str:
    """What calls cost beside DSPy, one row for each case of each run."""
    head = ("measure", "declm", "DSPy 3.4.1", "ratio", "goal", "met", "ratio of the goal")
    rows = list[tuple[object, ...]]()
    for line in lines:
        for one in line["rows"]:
            ours, theirs, unit = one["ours"], one["theirs"], one["unit"]
            ratio = "" if not theirs else f"{ours / theirs:.2f}"
            goal = f"{one['goal']:g} {unit}" if one["goal"] is not None else f"{one['share']:g} of DSPy's"
            met = {True: "yes", False: "no", None: ""}[one["met"]]
            them = "" if theirs is None else f"{theirs:,.3g} {unit}"
            wanted = f"{one['goal'] / one['reference']:.2g}" if one.get("reference") else ""
            rows.append((one["name"], f"{ours:,.3g} {unit}", them, ratio, goal, met, wanted))
    return "\n\n".join([_table(head, rows), _where(lines)])


def faults_table(lines: Sequence[Line]) -> str:
    """What came of faults beside DSPy, one row for each."""
    rows = list[tuple[object, ...]]()
    for line in lines:
        for one in line["rows"]:
            cells = [
                f"{found['text']}{'' if found['kept'] else ' **(broken)**'}" if found else ""
                for found in (one.get("declm"), one.get("dspy"))
            ]
            rows.append((one["name"], *(cell.replace("|", "\\|") for cell in cells)))
    return "\n\n".join([_table(("fault", "declm", "DSPy 3.4.1"), rows), _where(lines)])


def optimizers_table(lines: Sequence[Line]) -> str:
    """Mean accuracy by task; then the default against each of DSPy's optimizers at its number of calls."""
    tasks = list(dict.fromkeys(line["task"] for line in lines))
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        name = line["optimizer"]
        if name == "JointSearch":
            name = f"default, {line['budget']:,} calls" if line["budget"] in ROUND else ""
        if name:
            groups.setdefault((line["framework"], name), []).append(line)
    rows = [
        (framework, name, *(_mean_of(group, task) for task in tasks), f"{_mean([g['calls'] for g in group]):,.0f}")
        for (framework, name), group in groups.items()
    ]
    seeds = {(line["task"], line["seed"]) for line in lines}
    told = f"Means over seeds; {len(seeds)} pairs of task and seed."
    pairs = [(*_against(lines, name),) for framework, name in groups if framework == "dspy"]
    return "\n\n".join(
        [
            _table(("", "optimizer", *tasks, "calls"), rows),
            told,
            _table(("DSPy's", "n", "DSPy", "declm's default", "difference", "better / worse"), pairs),
            _where(lines),
        ]
    )


ROUND = (150, 300, 600, 1200, 2400)
"""Budgets of the default's anytime curve."""


def _against(lines: Sequence[Line], name: str) -> tuple[object, ...]:
    """One of DSPy's optimizers against the default with as many calls, or without any where it made none."""
    found: list[tuple[float, float]] = []
    for line in lines:
        if (line["framework"], line["optimizer"]) != ("dspy", name):
            continue
        wanted = ("JointSearch", line["calls"]) if line["calls"] else ("balanced 16", None)
        same = [
            other["accuracy"]
            for other in lines
            if (other["task"], other["seed"], other["framework"]) == (line["task"], line["seed"], "declm")
            and (other["optimizer"], other.get("budget")) == wanted
        ]
        found += [(line["accuracy"], same[0])] if same else []
    theirs, ours = _mean([a for a, _ in found]), _mean([b for _, b in found])
    counts = f"{sum(b > a for a, b in found)} / {sum(b < a for a, b in found)}"
    return name, len(found), f"{theirs:.3f}", f"{ours:.3f}", f"{ours - theirs:+.3f}", counts


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _mean_of(group: Sequence[Line], task: str) -> str:
    values = [line["accuracy"] for line in group if line["task"] == task]
    return f"{_mean(values):.3f}" if values else "-"


def gains_table(lines: Sequence[Line]) -> str:
    """How often a better program was returned where there is none, and where there is one."""
    rows = [
        (
            line["optimizer"],
            "none" if not line["gain"] else f"{100 * line['gain']:.0f} points",
            line["tasks"],
            line["accepted"],
            line["found"] if line["gain"] else "-",
            f"{line['candidates']:.0f}",
            f"{line['calls']:,.0f}",
        )
        for line in lines
    ]
    head = ("optimizer", "true gain", "tasks", "returned as better", "and is", "candidates", "calls")
    return "\n\n".join([_table(head, rows), _where(lines)])


def speed_table(lines: Sequence[Line]) -> str:
    """Times of whole searches."""
    rows = [(line["what"], f"{line['seconds']:.2f}", f"{line['calls']:,}", line.get("n", 1)) for line in lines]
    return "\n\n".join([_table(("search", "seconds", "calls", "n"), rows), _where(lines)])


TABLES: Mapping[str, Callable[[Sequence[Line]], str]] = {
    "demo_seeds": demo_table,
    "real_tasks": tasks_table,
    "faults": faults_table,
    "codecs": codecs_table,
    "imports": imports_table,
    "parsing": parsing_table,
    "parsing_promises": promises_table,
    "prompt_tokens": prompts_table,
    "prompt_scores": scores_table,
    "runtime": runtime_table,
    "soak": soak_table,
    "optimizers": optimizers_table,
    "gains": gains_table,
    "search_speed": speed_table,
}
"""The tables by the name of their results file."""


def filled(page: str, results: Path) -> str:
    """The page with its tables made anew.

    Raises:
        ValueError: a table of the page is of no known name, or a line of results can't be read.
    """
    return _SECTION.sub(lambda section: f"{section[1]}{_section(section[2], results)}\n{section[3]}", page)


def _section(name: str, results: Path) -> str:
    if name not in TABLES:
        raise ValueError(f"there is no table {name!r}; there are {', '.join(TABLES)}")
    path = results / f"{name}.jsonl"
    lines = [json.loads(text) for text in path.read_text("utf-8").splitlines()] if path.is_file() else []
    return TABLES[name](lines) if lines else f"No runs yet: `benchmarks/results/{name}.jsonl` is missing."


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    cells = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells)


def _measured(of: Mapping[str, Any]) -> str:
    also = "".join(f"; {name} {value:.3f}" for name, value in of["also"].items())
    counts = "".join(f"; {of[what]} {what}" for what in ("failures", "errors") if of[what])
    return _score(of["score"], of["interval"]) + also + counts


def _score(score: float, interval: Sequence[float]) -> str:
    return f"{score:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def _p(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0001 else f"{p:.0e}"


def _parts(line: Line, what: str) -> str:
    return " / ".join(f"{line[part][what]:,.0f}" for part in ("plain", "search", "optimized"))


def _where(lines: Sequence[Line]) -> str:
    """Where the lines were measured, each place once."""
    places = dict.fromkeys(
        f"declm {s['declm']}, Python {s['python']}, {s['system']}, {s['cores']} cores, {s['date']}"
        for s in (line["surroundings"] for line in lines)
    )
    return f"Measured with {'; '.join(places)}."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    made.add_argument("--check", action="store_true", help="change nothing; status 1 if the page is not up to date")
    given = made.parse_args(arguments)
    before = PAGE.read_text("utf-8")
    after = filled(before, RESULTS)
    if not given.check:
        PAGE.write_text(after, "utf-8")
        return 0
    if after != before:
        print("docs/benchmarks.md is not up to date: run  python benchmarks/publish.py", file=sys.stderr)
    return int(after != before)


if __name__ == "__main__":
    sys.exit(main())
