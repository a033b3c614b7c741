"""`MIPROv2`: instructions and demo sets of all predictors in one Bayesian search on parts of val.

Source: Opsahl-Ong et al. 2024 (arXiv 2406.11695), and its second version in DSPy. Kept are the grounded proposals, the
demo sets, the search over both by TPE on random parts of val, and the full scoring of the best mean now and then.
Different on purpose: a part's rows are not paid for again by the full scoring, an outage is no score, seeds of
0 count, trials run several at a time, and the winner is tested before it is returned.
"""

from __future__ import annotations

import math
import random
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from declm import loops
from declm.demo import Demo
from declm.errors import UsageError
from declm.optimizers.base import M, Optimized, Problem, at_least
from declm.optimizers.bootstrapping import BootstrapFewShot, LabeledFewShot, labels, showing
from declm.optimizers.candidates import Candidate
from declm.optimizers.core import Search
from declm.optimizers.ending import searched
from declm.optimizers.harvest import examples
from declm.optimizers.proposals import words
from declm.optimizers.race import mean
from declm.optimizers.spaces import unique
from declm.optimizers.study import Study
from declm.optimizers.writing import brief, instructed, written
from declm.state import ProgramState, predictors

EFFORT = {"light": 6, "medium": 12, "heavy": 18}
"""Demo sets, from which the other numbers follow."""

SUMMARY_ROWS = 10
"""Rows that a summary of the data is made from, at a time."""

SUMMARIES = 3
"""Times that the summary is looked over with other rows."""

Sets = Sequence[Mapping[str, Sequence[Demo]]]


@dataclass(frozen=True)
class MIPROv2:
    """Search instructions and demo sets jointly.

    Args:
        auto: `light`, `medium` or `heavy` search: 6, 12 or 18 demo sets, and half as many instructions.
        trials: combinations that are tried; None takes a number that suits the two.
        bootstrapped: bootstrapped demos of a set, at most; 0 with `labeled=0` searches instructions alone.
        labeled: demos of a set in all, at most.
        minibatch: rows of val that a trial is scored on; all of val where it has no more than `minibatch + 15`.
        full_every: trials between two full scorings of the best mean.
        temperature: of the proposer.

    Cost: about `trials * minibatch + (2 + trials / full_every) * len(val)` runs, a few of the teacher's for
    each demo set, and an instruction per predictor and set.
    """

    auto: Literal["light", "medium", "heavy"] = "light"
    trials: int | None = None
    bootstrapped: int = 4
    labeled: int = 4
    minibatch: int = 35
    full_every: int = 5
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.auto not in EFFORT:
            raise UsageError(f"auto={self.auto!r} is none of {', '.join(map(repr, EFFORT))}")
        at_least("MIPROv2", trials=(self.trials, 1), minibatch=(self.minibatch, 1), full_every=(self.full_every, 1))
        at_least("MIPROv2", bootstrapped=(self.bootstrapped, 0), labeled=(self.labeled, 0))

    async def run(self, problem: Problem[M]) -> Optimized[M]:
        """Search; see `Optimizer`."""
        trials, steps = self._trials(problem), len(predictors(problem.program))
        runs = trials * self._size(len(problem.val)) + self._sets * max(self.bootstrapped, 3)
        full = trials // self.full_every + 1
        return await searched(problem, self._explore, trials=full, runs=runs, texts=steps * (self._texts + SUMMARIES))

    @property
    def _is_zero_shot(self) -> bool:
        return not self.bootstrapped and not self.labeled

    @property
    def _sets(self) -> int:
        return EFFORT[self.auto]

    @property
    def _texts(self) -> int:
        return self._sets if self._is_zero_shot else self._sets // 2

    def _trials(self, problem: Problem[Any]) -> int:
        variables = len(predictors(problem.program)) * (1 if self._is_zero_shot else 2)
        usual = int(max(2 * variables * math.log2(self._sets), 1.5 * self._sets))
        wanted = usual if self.trials is None else self.trials
        return wanted if problem.budget.trials is None else min(wanted, problem.budget.trials)

    def _size(self, rows: int) -> int:
        return rows if rows <= self.minibatch + 15 else self.minibatch

    async def _explore(self, search: Search) -> None:
        sets = await self._demo_sets(search)
        paths = tuple(search.bench.predictors)
        found = await loops.together(self._instructions(search, path, sets) for path in paths)
        texts = dict(zip(paths, found, strict=True))
        shown: Sets = [{}] if self._is_zero_shot else sets
        await _Trials(self, search, texts, shown).run(self._trials(search.problem), self._size(len(search.problem.val)))

    async def _demo_sets(self, search: Search) -> Sets:
        """The program's own, labelled ones, bootstrapped ones in order, then bootstrapped ones from shuffled rows."""
        problem, rng = search.problem, random.Random(f"declm:{search.problem.seed}:mipro")
        # Where no demos are to be shown, some are made for the proposer all the same.
        most, filled = (3, 0) if self._is_zero_shot else (self.bootstrapped, self.labeled)
        found: list[Mapping[str, Sequence[Demo]]] = [{}]
        if filled:
            found.append(
                _shown(LabeledFewShot(filled).compile(problem.program, problem.train, seed=problem.seed).state)
            )
        while most and len(found) < self._sets:
            rows, count = list(problem.train), most
            if len(found) > 2:
                rng.shuffle(rows)
                count = rng.randint(1, most)
            found.append(_shown(await BootstrapFewShot(count, filled).state(search, rows, problem.seed)))
        return found

    async def _instructions(self, search: Search, path: str, sets: Sets) -> tuple[str | None, ...]:
        """The present instructions, and proposals that are each grounded in another demo set."""
        state, rng = search.problem.program.state, random.Random(f"declm:{search.problem.seed}:mipro:{path}")
        summary, tips = await self._summary(search, path), words("tips")

        def asked(draw: int) -> Coroutine[Any, Any, str | None]:
            order = [*sets[draw % len(sets) :], *sets[: draw % len(sets)]]
            demos = [demo for shown in order for demo in shown.get(path, ())]
            told = brief(search.bench, path, state, solved=examples(demos[:3]), summary=summary)
            tip = rng.choice(tips)
            return written(search.bench, told, "instructions", draw, hint=tip, temperature=self.temperature)

        texts = await loops.together(asked(draw) for draw in range(1, self._texts))
        return unique([state.predictors[path].instructions, *(text for text in texts if text)])

    async def _summary(self, search: Search, path: str) -> str:
        """What the data is like, looked over several times with further rows."""
        known = examples(labels(search.problem.program, search.problem.train)[path].demos)
        summary = ""
        for draw in range(min(SUMMARIES, math.ceil(len(known) / SUMMARY_ROWS))):
            part = known[draw * SUMMARY_ROWS : (draw + 1) * SUMMARY_ROWS]
            told = brief(search.bench, path, search.problem.program.state, solved=part, summary=summary)
            summary = await written(search.bench, told, "summary", draw) or summary
        return summary


@dataclass
class _Trials:
    """The search over indices of instructions and demo sets."""

    options: MIPROv2
    search: Search
    texts: Mapping[str, Sequence[str | None]]
    sets: Sets
    tried: dict[str, Candidate] = field(default_factory=dict[str, Candidate])

    async def run(self, trials: int, size: int) -> None:
        search, sizes = self.search, self._sizes()
        study, rng = Study(sizes, search.problem.seed), random.Random(f"declm:{search.problem.seed}:mipro:rows")
        study.add(dict.fromkeys(sizes, 0), search.baseline.mean, {"fate": "baseline"})
        done = 0
        while done < trials:
            asked = [study.ask() for _ in range(min(search.width, trials - done))]
            group = [self._candidate(choices) for _, choices in asked]
            parts = [sorted(rng.sample(range(len(search.problem.val)), size)) for _ in group]
            await loops.together(search.glance(c, part) for c, part in zip(group, parts, strict=True))
            for (number, _), candidate in zip(asked, group, strict=True):
                trial = search.enter(candidate)
                study.tell(number, None if trial.fate == "outage" else trial.score, trial)
                done += 1
                if done % self.options.full_every == 0 or done == trials:
                    await self._full(study)
            search.close(group)

    def _sizes(self) -> dict[str, int]:
        sizes = {f"{path}:instructions": len(texts) for path, texts in self.texts.items()}
        sizes |= {f"{path}:set": len(self.sets) for path in self.texts}
        return {name: size for name, size in sizes.items() if size > 1}

    def _candidate(self, choices: Mapping[str, int]) -> Candidate:
        """A candidate of these choices; one whose state was tried goes on with the scores of that."""
        state = _state(self.search.problem.program.state, self.texts, self.sets, choices)
        made, known = self.search.candidate(state, "trial"), self.tried.get(state.hash)
        made.choices, made.scores = choices, known.scores if known else made.scores
        self.tried[state.hash] = made
        return made

    async def _full(self, study: Study) -> None:
        """Score the best mean of those scored in part on all of val."""
        waiting = [c for key, c in self.tried.items() if key not in self.search.scores and not math.isnan(c.mean)]
        if not waiting:
            return
        best = max(waiting, key=lambda candidate: mean(candidate.scores))
        whole = self.search.candidate(best.state, "full scoring", best)
        await self.search.compare([whole])
        if whole.is_scored:
            study.add(best.choices, whole.mean, {"fate": "finished", "rows": len(whole.scores)})


def _state(
    base: ProgramState, texts: Mapping[str, Sequence[str | None]], sets: Sets, choices: Mapping[str, int]
) -> ProgramState:
    """The state of one instruction and one demo set for each predictor."""
    for path, variants in texts.items():
        chosen = sets[choices.get(f"{path}:set", 0)]
        base = showing(base, {path: chosen[path]}) if path in chosen else base
        text = variants[choices.get(f"{path}:instructions", 0)]
        base = instructed(base, path, text) if text else base
    return base


def _shown(state: ProgramState) -> Mapping[str, Sequence[Demo]]:
    return {path: own.demos for path, own in state.predictors.items()}
