"""Stages with two aims: a good metric and a low cost, and the front of trials that no other beats in both.

In the database, each trial has the metric as its single value; the cost is a user attribute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.stage.snapshot import rank_trials


def front(trials: Sequence[FrozenTrial], against: str, *, maximize: bool) -> list[FrozenTrial]:
    """The complete trials that no other beats in both aims: best metric first, each next trial cheaper.

    `against` names the user attribute that holds the cost. Of trials that are equal in both aims, the one with the
    lowest number is taken.
    """
    ranked = rank_trials(trials, maximize=maximize)
    ranked.sort(key=lambda trial: trial.user_attrs[against])
    ranked.sort(key=lambda trial: _value(trial), reverse=maximize)  # Keeps the cheaper of equal ones first.
    chosen: list[FrozenTrial] = []
    for trial in ranked:
        if not chosen or trial.user_attrs[against] < chosen[-1].user_attrs[against]:
            chosen.append(trial)
    return chosen


@dataclass(frozen=True, kw_only=True)
class FrontTrial:
    """A trial that no other beats in both aims."""

    trial: int
    """Number of the trial."""
    value: float
    """The study's metric."""
    against: str
    """Name of the trial attribute that is kept small, such as `macs`."""
    cost: int
    """Value of that attribute."""

    def to_json(self) -> dict[str, Any]:
        """The object that `search.run --json` holds for the trial."""
        return {"trial": self.trial, "value": self.value, self.against: self.cost}


def front_trials(trials: Sequence[FrozenTrial], against: str, *, maximize: bool) -> tuple[FrontTrial, ...]:
    """The trials of `front` as records for output."""
    return tuple(
        FrontTrial(trial=trial.number, value=_value(trial), against=against, cost=trial.user_attrs[against])
        for trial in front(trials, against, maximize=maximize)
    )


class AgainstCost(BaseSampler):
    """A sampler that draws with two objectives, metric and cost, in an Optuna study that has only the metric.

    It copies the study's trials into a study with both values once, so make a new one for each trial. Every parameter
    is drawn independently, as Optuna's TPE does by default for several objectives.
    """

    def __init__(self, sampler: BaseSampler, against: str, direction: Literal["maximize", "minimize"]) -> None:
        self._sampler = sampler
        self._against = against
        self._direction = direction
        self._shown: optuna.Study | None = None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return no parameter: each is drawn independently."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw nothing jointly."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw a parameter in a study that has both values."""
        if self._shown is None:
            self._shown = self._with_two_values(study)
        return self._sampler.sample_independent(self._shown, trial, param_name, param_distribution)

    def _with_two_values(self, study: optuna.Study) -> optuna.Study:
        shown = optuna.create_study(directions=[self._direction, "minimize"], sampler=self._sampler)
        for trial in study.get_trials(deepcopy=False):  # All trials, so that they keep their numbers.
            complete = trial.state == TrialState.COMPLETE
            shown.add_trial(
                create_trial(
                    state=trial.state,
                    values=[_value(trial), trial.user_attrs[self._against]] if complete else None,
                    params=trial.params,
                    distributions=trial.distributions,
                    constraints=trial.constraints,
                )
            )
        return shown


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value
