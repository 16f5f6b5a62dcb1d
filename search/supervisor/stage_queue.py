"""Adds the waiting trials of a stage: those of its budget, and more while a time budget leaves time for them."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from search import names
from search.store.optuna_private import study_database_id
from search.store.pinned_stage import PinnedStage
from search.store.records import StageRecord, update_stage
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


def add_trials(
    storage: Storage, record: StageRecord, trials: Sequence[FrozenTrial], planned_end: float | None
) -> StageRecord:
    """Add trials to a stage whose queue runs empty before `planned_end`; returns its record, changed if it has more.

    A search stage gets as many trials as are running, if there is time for an epoch of each. The last stage gets one
    run of each finalist, if there is time for whole runs, because its runs are never cut. `planned_end` is in seconds
    since the epoch. Nothing is added without it, beyond the stage's slots, or to a stage that ends early. Only the
    study's supervisor may call this.
    """
    pinned = record.pinned
    running = sum(trial.state == TrialState.RUNNING for trial in trials)
    waiting = sum(trial.state == TrialState.WAITING for trial in trials)
    free = len(pinned.queue) - pinned.trials
    if planned_end is None or not free or pinned.early_end or waiting >= (1 if pinned.is_final else max(1, running)):
        return record
    more = len(pinned.bases) if pinned.is_final else max(1, running)
    if pinned.is_final:
        needed_s = _run_s(trials) * (_share_left(pinned, trials) + math.ceil(more / max(1, running)))
    else:
        needed_s = _epoch_s(trials)
    if time.time() + needed_s > planned_end:
        return record
    larger = replace(record, pinned=replace(pinned, trials=pinned.trials + min(more, free)))
    update_stage(storage, larger, pinned=larger.pinned.to_json())
    fill_queue(storage, larger)
    return larger


def _epoch_s(trials: Sequence[FrozenTrial]) -> float:
    """Mean seconds of an epoch, of a gang's if there are gangs; infinite before a trial has ended."""
    return _mean(trials, names.EPOCH_S)


def _run_s(trials: Sequence[FrozenTrial]) -> float:
    """Mean seconds of a whole run, of a gang's if there are gangs; infinite before one has ended."""
    return _mean([trial for trial in trials if trial.state == TrialState.COMPLETE], names.DURATION_S)


def _share_left(pinned: PinnedStage, trials: Sequence[FrozenTrial]) -> float:
    """The largest share of its epochs that a running run of the last stage still has to train; 0 if none is running."""
    return max(
        (
            1 - len(trial.intermediate_values) / pinned.config(trial.params).epochs
            for trial in trials
            if trial.state == TrialState.RUNNING
        ),
        default=0.0,
    )


def _mean(trials: Sequence[FrozenTrial], attribute: str) -> float:
    """The mean of an attribute that holds a time, which in a gang is the trial's share."""
    known = [
        trial.user_attrs[attribute] * trial.user_attrs.get(names.GANG, 1)
        for trial in trials
        if attribute in trial.user_attrs
    ]
    return fmean(known) if known else math.inf
