"""Everything that Sieve uses of Optuna beyond its public interface, in one place.

Optuna may change any of it in a minor version. `TESTED` lists the versions for which
`tests/search/store/test_optuna_private.py` has checked each assumption; pyproject.toml allows no others. To allow a new
version, add it here and there, and run that test: it names each assumption that no longer holds.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Sequence
from typing import Any, cast

from optuna import Study, Trial
from optuna.storages._cached_storage import _CachedStorage as CachedStorage
from optuna.storages._cached_storage import _StudyInfo as CachedStudy
from optuna.storages._rdb.models import StudyModel as StudyModel
from optuna.storages._rdb.models import TrialIntermediateValueModel as TrialIntermediateValueModel
from optuna.storages._rdb.models import TrialModel as TrialModel
from optuna.storages._rdb.models import TrialParamModel as TrialParamModel
from optuna.storages._rdb.models import TrialSystemAttributeModel as TrialSystemAttributeModel
from optuna.storages._rdb.models import TrialUserAttributeModel as TrialUserAttributeModel
from optuna.storages._rdb.models import TrialValueModel as TrialValueModel
from optuna.trial import FrozenTrial, TrialState

TESTED = ("5.0",)
"""Minor versions of Optuna that the assumptions below were tested with."""

FIXED_PARAMS = "fixed_params"
"""System attribute in which Optuna keeps the parameters that a waiting trial must get."""
CONSTRAINT = "constraints:"
"""Prefix of the system attributes in which Optuna keeps the constraint values of a trial; their names follow."""

__all__ = [
    "CONSTRAINT",
    "FIXED_PARAMS",
    "TESTED",
    "CachedStorage",
    "CachedStudy",
    "StudyModel",
    "TrialIntermediateValueModel",
    "TrialModel",
    "TrialParamModel",
    "TrialSystemAttributeModel",
    "TrialUserAttributeModel",
    "TrialValueModel",
    "database_id",
    "draw_again",
    "frozen_copy",
    "show_only",
    "study_database_id",
]


def database_id(trial: Trial | FrozenTrial) -> int:
    """The trial's key in the database, which is unique over all studies, unlike its number."""
    return int(trial._trial_id)


def study_database_id(study: Study) -> int:
    """The Optuna study's key in the database."""
    return int(study._study_id)


def frozen_copy(trial: Trial) -> FrozenTrial:
    """The trial as this process opened it, with what this process has set since. Optuna reads parameters from it."""
    frozen: FrozenTrial = trial._cached_frozen_trial
    return frozen


def draw_again(trial: Trial) -> None:
    """Make an open trial forget its parameters, and let its sampler prepare another draw."""
    frozen = frozen_copy(trial)
    frozen.params, frozen.distributions = {}, {}
    trial.relative_search_space = trial._relative_params = None
    trial.study.sampler.before_trial(trial.study, frozen)


class _Shown:
    """An Optuna study of which a sampler sees only some trials."""

    def __init__(self, study: Study, trials: Sequence[FrozenTrial]) -> None:
        self._study = study
        self._trials = trials

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        chosen = [trial for trial in self._trials if states is None or trial.state in states]
        return copy.deepcopy(chosen) if deepcopy else chosen

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return self.get_trials(deepcopy, states)


def show_only(study: Study, trials: Sequence[FrozenTrial]) -> Study:
    """A view of a study for a sampler's draw, in which the study has these trials."""
    return cast(Study, _Shown(study, trials))
