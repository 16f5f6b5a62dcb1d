"""Runs one trial only to time it: by the same code as every trial, in a scratch database on the disk of the home."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch

from data.errors import SieveError
from data.files import writing_below
from data.spec import DataSpec
from models.config import TrainConfig
from models.registry import resolved
from search import names
from search.profile.laps import Laps, TimedTrialRun, TimedWorkloadBuilder, timing_optimizers
from search.settings import Settings
from search.stage.describe import describe_data, describe_study
from search.stage.pinning import pin_search
from search.stage.samplers import make_pruner, make_sampler
from search.store.claims import claim_next, finish
from search.store.pinned_stage import PinnedStage
from search.store.processes import process_name
from search.store.records import StageRecord, create_study, pin_stage
from search.store.storage import Storage
from search.supervisor.stage_queue import fill_queue
from search.terminal import say
from search.tracking.mirror import Mirror
from search.trials.artifacts import SharedFolder
from search.trials.run_trial import run_trial
from search.trials.trial_context import TrialContext
from search.trials.workload import WorkloadBuilder
from search.urls import sqlite_url
from studies.definition import Stage, Study

START_MLFLOW = "start MLflow"
"""The supervisor does this while workers train."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The trial that is timed."""

    study: str
    trial: str
    config: TrainConfig
    spec: DataSpec
    metric: str


@contextmanager
def scratch_home(settings: Settings) -> Iterator[Settings]:
    """Settings with a temporary folder on the disk of the home for everything that a trial writes."""
    with writing_below(settings.home):
        settings.home.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix="profile-", dir=settings.home, ignore_cleanup_errors=True)
    with folder as name:
        home = Path(name)
        yield replace(
            settings,
            home=home,
            storage_url=sqlite_url(home / names.STORAGE_FILE),
            tracking_url=sqlite_url(home / names.TRACKING_FILE),
            artifact_location=(home / names.ARTIFACT_FOLDER).as_uri(),
        )


def rehearse(
    subject: Subject,
    storage: Storage,
    settings: Settings,
    workloads: TimedWorkloadBuilder,
    device: torch.device,
    laps: Laps,
) -> None:
    """Claim, train, report, finish and mirror the trial. Raises SieveError if it does not train to its end."""
    stage, record = _pin(subject, storage, workloads)
    laps.end("")
    mirror = Mirror(settings, storage, subject.study)
    mirror.sync()
    laps.end(START_MLFLOW)
    claim = claim_next(storage, record.optuna_study, process_name())
    assert claim is not None
    study = storage.load_study(record.optuna_study, sampler=make_sampler(stage), pruner=make_pruner(stage))
    context = TrialContext(
        storage=storage,
        workloads=cast(WorkloadBuilder, workloads),
        device=device,
        artifacts=SharedFolder(settings.home),
        on_epoch=lambda claim, metrics, config: None,
    )
    run = TimedTrialRun(
        trial=storage.open_trial(study, claim.trial_id), claim=claim, stage=stage, context=context, laps=laps
    )
    with timing_optimizers(laps):
        result = run_trial(run)
    finish(storage, claim, result)
    laps.end("storage")
    if result.outcome != "complete":
        raise SieveError(f"the trial did not complete: {result.attributes.get(names.REASON)}")
    mirror.sync()
    laps.end("tracking")


def _pin(subject: Subject, storage: Storage, workloads: TimedWorkloadBuilder) -> tuple[PinnedStage, StageRecord]:
    """Pin a study of this one trial in the scratch database."""
    stage = Stage(name="profile", space={}, trials=1, epochs=subject.config.epochs, sampler="random")
    study = Study(
        name=subject.study,
        description="",
        config=subject.config,
        stages=(stage,),
        folds=subject.spec.folds,
        metric=subject.metric,
    )
    data = describe_data(subject.spec, workloads.open_data(resolved(subject.config)).search)
    for note in data.notes:
        say(note)
    create_study(storage, study.name, definition=describe_study(study), data=data)
    pinned = pin_search(study, 0, stage, [subject.config])
    record = StageRecord(
        study=study.name,
        position=0,
        name=stage.name,
        optuna_study=names.optuna_study(study.name, 0, stage.name),
        pinned=pinned,
        state="open",
        opened_at=time.time(),
        deadline=None,
    )
    pin_stage(storage, record)
    fill_queue(storage, record)
    return pinned, record
