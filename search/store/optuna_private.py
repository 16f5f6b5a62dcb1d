"""Everything that Sieve uses of Optuna beyond its public interface, in one place.

Optuna may change any of it in a minor version. `TESTED` lists the versions for which
`tests/search/store/test_optuna_private.py` has checked each assumption; pyproject.toml allows no others. To allow a new
version, add it here and there, and run that test: it names each assumption that no longer holds.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from optuna import Study, Trial
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage as CachedStorage
from optuna.storages._cached_storage import _StudyInfo as CachedStudy
from optuna.storages._rdb.models import StudyModel as StudyModel
from optuna.storages._rdb.models import TrialIntermediateValueModel as TrialIntermediateValueModel
from optuna.storages._rdb.models import TrialModel as TrialModel
from optuna.storages._rdb.models import TrialParamModel as TrialParamModel
from optuna.storages._rdb.models import TrialSystemAttributeModel as TrialSystemAttributeModel
from optuna.storages._rdb.models import TrialUserAttributeModel as TrialUserAttributeModel
from optuna.storages._rdb.models import TrialValueModel as TrialValueModel
from optuna.trial import FrozenTrial
from sqlalchemy import Engine
from sqlalchemy.orm import scoped_session, sessionmaker

TESTED = ("5.0",)
"""Minor versions of Optuna that the assumptions below were tested with."""

FIXED_PARAMS = "fixed_params"
"""System attribute in which Optuna keeps the parameters that a waiting trial must get."""

__all__ = [
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
    "read_trials",
    "study_database_id",
    "with_engine",
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


def with_engine(backend: RDBStorage, engine: Engine) -> RDBStorage:
    """A view of `backend` whose sessions use `engine`; it shares everything else and opens no connection itself."""
    view = RDBStorage.__new__(RDBStorage)  # The constructor would connect, and check the tables again.
    view.__dict__.update(vars(backend))
    view.scoped_session = scoped_session(sessionmaker(bind=engine))
    return view


def read_trials(
    backend: RDBStorage, study_id: int, *, ids: Set[int] = frozenset(), newer_than: int = -1
) -> list[FrozenTrial]:
    """Read a study's trials with these database ids, and all whose id is greater than `newer_than`."""
    trials: list[Any] = backend._get_trials(study_id, None, set(ids), newer_than)
    return trials
