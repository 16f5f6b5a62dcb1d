"""Removes the files that trials need only until their results are recorded: checkpoints and half-written bundles."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from search import names
from search.stage.snapshot import is_over, stage_trials
from search.store.records import StageRecord, read_stages
from search.store.storage import Storage
from search.trials.artifacts import Artifacts


def remove_working_files(artifacts: Artifacts, record: StageRecord, number: int) -> None:
    """Delete a trial's checkpoints, half-written ones included, once its result is recorded.

    A finalist's classifier stays.
    """
    folder = names.trial_folder(artifacts.root, record.study, record.name, number)
    for checkpoint in folder.glob(f"*{names.CHECKPOINT_FILE}*"):
        checkpoint.unlink(missing_ok=True)
    remove_half_written_bundles(folder)
    if folder.is_dir() and not any(folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)
    artifacts.remove_checkpoints(folder)


def remove_half_written_bundles(folder: Path) -> None:
    """Delete what processes left in `folder` that were killed while they saved a classifier there."""
    for half in folder.glob(f".{names.BUNDLE_FOLDER}.*.part"):
        shutil.rmtree(half, ignore_errors=True)


def leftover_checkpoints(storage: Storage, root: Path, study: str) -> Iterator[Path]:
    """Find checkpoints of a study's finished trials; a finished trial is never resumed, so they are not needed."""
    for record, number in _finished(storage, study):
        folder = names.trial_folder(root, study, record.name, number)
        yield from folder.glob(f"*{names.CHECKPOINT_FILE}*")


def remove_leftovers(storage: Storage, artifacts: Artifacts, study: str) -> None:
    """Delete the checkpoints of all finished trials, half-written ones included.

    A worker deletes them itself after it recorded a result, unless it is killed in between. Trials that wait or run
    keep their checkpoints, since they resume from them; finalists' classifiers stay.
    """
    for record, number in _finished(storage, study):
        remove_working_files(artifacts, record, number)


def _finished(storage: Storage, study: str) -> Iterator[tuple[StageRecord, int]]:
    for record in read_stages(storage, study):
        for trial in stage_trials(storage, record):
            if is_over(trial, record):
                yield record, trial.number
