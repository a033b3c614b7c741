"""From first to last: open a bench, score the given program, explore, confirm the winner, and say what came out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from declm import loops
from declm.errors import BudgetExceeded, LMError, TooManyErrors
from declm.optimizers.acceptance import Evidence, Verdict, judge
from declm.optimizers.base import M, Optimized, Problem
from declm.optimizers.bench import Bench
from declm.optimizers.confirmation import CONFIRM_ROWS, ahead, finalists, unseen
from declm.optimizers.core import Lost, Search
from declm.optimizers.forecasts import forecast_of
from declm.optimizers.race import padded
from declm.optimizers.reporting import INTERRUPTED, SearchReport
from declm.optimizers.study import Study


async def searched(
    problem: Problem[M], explore: Callable[[Search], Awaitable[None]], *, trials: int, runs: int = 0, texts: int = 0
) -> Optimized[M]:
    """Open a bench, say what the search will cost, and run it.

    Args:
        problem: what is searched.
        explore: makes candidates and lets the search compare them.
        trials: candidates that it will compare on all of val, at most.
        runs: runs of the program besides: on train, or on parts of val.
        texts: texts that it will let the proposer write.

    Raises:
        BudgetExceeded: the budget does not even cover the given program on val.
    """
    with Bench.over(problem) as bench:
        if texts:
            bench.check_proposers()
        bench.announce(forecast_of(problem, trials, runs, texts))
        with bench.progress(trials) as bar:
            search = Search(bench, bar=bar)
            await run(search, explore)
        return result(search, problem)


async def run(search: Search, explore: Callable[[Search], Awaitable[None]]) -> None:
    """Score the given program, explore within the limits, and judge the winner.

    Raises:
        BudgetExceeded: the budget does not even cover the given program on val.
    """
    await search.begin()
    confirm = Evidence()
    try:
        try:
            await explore(search)
        except BudgetExceeded as error:
            search.stopped = error.limit
        except Lost:
            pass  # the troubles say what happened
        except (TooManyErrors, LMError) as error:
            search.bench.troubles.append(f"the search ended early: {error.message}")
        confirm = await _confirmation(search)
    except asyncio.CancelledError:
        if not search.problem.stop.is_set():
            raise
        search.stopped = INTERRUPTED
    search.verdict = _judged(search, confirm)


async def _confirmation(search: Search) -> Evidence:
    """Scores of the finalists and of the given program on rows that played no part in the search; the best wins.

    On val alone the luckiest of candidates that are about as good would win.
    """
    if search.best is search.baseline:
        return Evidence()
    rivals = finalists(search.best, search.finished)
    rows = unseen(search.problem, [rival.state for rival in rivals], search.bench.harvested)[:CONFIRM_ROWS]
    while rows and not search.bench.affords((len(rivals) + 1) * len(rows), 1.0):
        rivals, rows = (rivals[:-1], rows) if len(rivals) > 1 else (rivals, rows[: len(rows) // 2])
    try:
        states = [search.baseline.state, *(rival.state for rival in rivals)]
        theirs, *found = await loops.together(search.bench.scores_of(state, rows) for state in states)
    except BudgetExceeded:
        return Evidence()
    except (TooManyErrors, LMError) as error:
        search.bench.troubles.append(f"no confirmation on further rows: {error.message}")
        return Evidence()
    first = ahead([[*rival.scores, *scores] for rival, scores in zip(rivals, found, strict=True)])
    search.best = rivals[first]
    return Evidence(found[first], theirs, len(rivals))


def _judged(search: Search, confirm: Evidence) -> Verdict | None:
    """Test the winner against the given program."""
    if search.best is search.baseline:
        return None
    seen = {**search.parts, **search.scores}
    tried = {key: scores for key, scores in seen.items() if key != search.baseline.state.hash}
    rows = [padded(scores, len(search.problem.val)) for scores in tried.values()]
    winner = list(tried).index(search.best.state.hash)
    return judge(search.baseline.scores, rows, winner, confirm, search.problem.seed)


def result(search: Search, problem: Problem[M], study: Study | None = None) -> Optimized[M]:
    """The winner if it is accepted, else the given program, and the report."""
    forced = problem.accept == "best" or not search.problem.limits.allow(search.bench.cost(search.baseline.state))
    accepted = search.verdict is not None and (forced or search.verdict.significant)
    best = search.best if accepted else search.baseline
    report = SearchReport(
        program=type(problem.program).__name__,
        trials=tuple(search.trials),
        baseline=search.baseline.mean,
        best=search.best.mean,
        best_number=search.best.number,
        rows=len(problem.val),
        accepted=accepted,
        verdict=search.verdict,
        stopped=search.stopped,
        troubles=tuple(search.bench.troubles),
        differences=tuple(search.baseline.state.diff(search.best.state)),
        usage=search.bench.usage,
    )
    return Optimized(
        program=problem.program.with_state(best.state),
        score=best.mean,
        baseline=search.baseline.mean,
        report=report,
        study=(study or Study.of(search.trials, problem.seed)).optuna,
        usage=search.bench.usage,
    )
