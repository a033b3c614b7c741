"""The Optuna study behind a search: ask for choices, tell scores, nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from declm.optimizers.trials import Trial

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution


class Study:
    """A seeded TPE study over integer choices.

    The same seed and the same sequence of asks and tells give the same choices: a search that tells
    in a fixed order can be replayed.
    """

    def __init__(self, sizes: Mapping[str, int], seed: int) -> None:
        import optuna

        # Optuna writes a line to stderr per study and trial, under the user's progress bar.
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=8)
            self.optuna: optuna.Study = optuna.create_study(direction="maximize", sampler=sampler)
        finally:
            optuna.logging.set_verbosity(level)
        self._distributions = _distributions(sizes)
        self._open: dict[int, optuna.Trial] = {}

    @classmethod
    def of(cls, trials: Sequence[Trial], seed: int) -> Study:
        """A study that holds the trials of a search which did not ask one."""
        made = cls({"candidate": 1 + max(trial.number for trial in trials)}, seed)
        for trial in trials:
            # What an outage leaves of a score says nothing about a candidate.
            if not math.isnan(trial.score) and trial.fate not in ("repeated", "outage"):
                made.add({"candidate": trial.number}, trial.score, trial.attributes)
        return made

    def open_with(self, points: Sequence[Mapping[str, int]]) -> None:
        """Try these points first."""
        for point in points:
            self.optuna.enqueue_trial(dict(point))

    def ask(self) -> tuple[int, dict[str, int]]:
        """A number and the choices to try next."""
        trial = self.optuna.ask(self._distributions)
        self._open[trial.number] = trial
        return trial.number, {name: int(value) for name, value in trial.params.items()}

    def tell(self, number: int, value: float | None, trial: Trial) -> None:
        """Report what became of an asked number; None marks it as failed, which teaches the sampler nothing."""
        import optuna

        opened = self._open.pop(number)
        for name, attribute in trial.attributes.items():
            opened.set_user_attr(name, attribute)
        for name, excess in trial.excess.items():
            opened.set_constraint(name, excess)
        state = optuna.trial.TrialState.FAIL if value is None else optuna.trial.TrialState.COMPLETE
        self.optuna.tell(opened, value, state=state)

    def add(self, choices: Mapping[str, int], value: float, attributes: Mapping[str, object]) -> None:
        """Enter a point whose score is known: the baseline."""
        import optuna

        self.optuna.add_trial(
            optuna.trial.create_trial(
                params=dict(choices), distributions=dict(self._distributions), value=value, user_attrs=dict(attributes)
            )
        )


def _distributions(sizes: Mapping[str, int]) -> dict[str, BaseDistribution]:
    from optuna.distributions import CategoricalDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {}
    for name, size in sizes.items():
        # More demos is an order that the sampler can use; texts and subsets have none.
        ordered = name.endswith(":demos")
        found[name] = IntDistribution(0, size - 1) if ordered else CategoricalDistribution(range(size))
    return found
