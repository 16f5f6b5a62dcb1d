"""Makes the waiting trials of a stage, one for each trial of its budget."""

from __future__ import annotations

import warnings

import optuna
from optuna.exceptions import ExperimentalWarning

from search.store.optuna_private import study_database_id
from search.store.records import StageRecord
from search.store.storage import Storage


def fill_queue(storage: Storage, record: StageRecord) -> None:
    """Add the waiting trials that the stage's budget still lacks. Only the study's supervisor may call this."""
    pinned = record.pinned
    study = optuna.create_study(
        study_name=record.optuna_study, storage=storage.trials, direction=pinned.direction, load_if_exists=True
    )
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        study.set_metric_names([pinned.metric])  # Names the axes in optuna-dashboard.
    storage.trials.fill_queue(study_database_id(study), pinned.queue[: pinned.trials])
