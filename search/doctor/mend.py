"""Repairs that need no decision: they touch nothing that a running or future search needs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from search.doctor.database import stray_trials
from search.doctor.home import remove_cache_leftovers
from search.settings import Settings
from search.store.processes import process_name
from search.store.reaping import reap
from search.store.records import read_stages, study_names
from search.store.storage import Storage
from search.store.tables import leases
from search.sync import sync
from search.trials.artifacts import open_artifacts
from search.trials.working_files import leftover_checkpoints, remove_leftovers


def mend(settings: Settings, storage: Storage) -> Iterator[str]:
    """Make the repairs that are safe; yields a line about each."""
    requeued = requeue(storage)
    if requeued:
        yield f"requeued {_count(requeued, 'trial')}"
    for study in study_names(storage):
        left = len(list(leftover_checkpoints(storage, open_artifacts(settings).root, study)))
        if left:
            remove_leftovers(storage, open_artifacts(settings), study)
            yield f"{study}: deleted {_count(left, 'checkpoint')}"
    removed = remove_cache_leftovers(settings.cache_home)
    if removed:
        yield f"deleted {'1 useless cache entry' if removed == 1 else f'{removed} useless cache entries'}"
    for study in study_names(storage):
        synced = sync(settings, storage, study)
        if synced.trials_sent or synced.looks_sent or synced.champion_registered:
            yield str(synced)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def requeue(storage: Storage) -> int:
    """Requeue trials whose workers are gone. A stray trial first gets an expired lease, so that `reap` finds it."""
    for record, _, trial_id in stray_trials(storage):
        row = {"trial_id": trial_id, "optuna_study": record.optuna_study, "owner": process_name()}
        try:
            with storage.engine.begin() as connection:
                connection.execute(insert(leases).values(**row, token=uuid.uuid4().hex, expires_at=0.0))
        except IntegrityError:
            continue  # A worker claimed it in the meantime.
    stages = [record for study in study_names(storage) for record in read_stages(storage, study)]
    return len(reap(storage, [record.optuna_study for record in stages]))
