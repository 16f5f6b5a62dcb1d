"""The trials of the stages that a stage extends, as its sampler sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, json_to_distribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, create_trial

from search import names
from search.stage.distributions import holds
from search.stage.seeds import derive_seed
from search.store.pinned_stage import PinnedStage


class EarlierTrials:
    """Reads the trials of earlier stages, and gives each a random value for every parameter that it lacks.

    All such trials used the start value of the parameter. The sampler's model would take that value for good, because
    the best trials used it (docs/decisions/growing-spaces.md).
    """

    def __init__(self, stage: PinnedStage, studies: Sequence[Study]) -> None:
        """`studies` are the Optuna studies of the stages that `stage` extends."""
        self._stage = stage
        self._studies = studies
        self._spaces = [
            {parameter.name: (parameter, json_to_distribution(parameter.distribution)) for parameter in space}
            for space in stage.spaces
        ]
        self._completed: dict[tuple[int, int], tuple[dict[str, Any], dict[str, BaseDistribution]] | None] = {}
        self._shown: dict[tuple[int, int], tuple[FrozenTrial, FrozenTrial]] = {}

    def __bool__(self) -> bool:
        return bool(self._studies)

    def read(self) -> list[FrozenTrial]:
        """The trials that have reported an epoch, in order, with a value for each parameter of the stage.

        A trial with a value that the stage's space does not hold is left out.
        """
        found = (
            self._of(index, trial)
            for index, study in enumerate(self._studies)
            for trial in study.get_trials(deepcopy=False)
            if trial.intermediate_values
        )
        return [trial for trial in found if trial is not None]

    def _of(self, index: int, trial: FrozenTrial) -> FrozenTrial | None:
        key = (index, trial.number)
        if key in self._shown and self._shown[key][0] is trial:
            return self._shown[key][1]
        if key not in self._completed:
            self._completed[key] = self._complete(index, trial)
        completed = self._completed[key]
        if completed is None:
            return None
        params, distributions = completed
        # Their number -1 is below that of any trial of the stage, so that none is taken for one of its own.
        shown = create_trial(
            state=trial.state,
            value=trial.value,
            params=params,
            distributions=distributions,
            intermediate_values=trial.intermediate_values,
            user_attrs=trial.user_attrs,
        )
        self._shown[key] = trial, shown
        return shown

    def _complete(self, index: int, trial: FrozenTrial) -> tuple[dict[str, Any], dict[str, BaseDistribution]] | None:
        base = trial.params.get(names.BASE, 0)
        params: dict[str, Any] = {}
        distributions: dict[str, BaseDistribution] = {}
        if names.BASE in trial.params:
            params[names.BASE] = base
            distributions[names.BASE] = CategoricalDistribution(range(len(self._stage.bases)))
        sampler = RandomSampler(seed=derive_seed(self._stage.seed, "earlier", index, trial.number))
        for name, (parameter, distribution) in self._spaces[base].items():
            if not parameter.exists_for({**self._stage.bases[base], **params}):
                continue
            if name in trial.params:
                params[name] = trial.params[name]
            else:
                params[name] = sampler.sample_independent(self._studies[index], trial, name, distribution)
            distributions[name] = distribution
            if not holds(distribution, params[name]):
                return None
        return params, distributions
