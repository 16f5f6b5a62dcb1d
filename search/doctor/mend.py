"""What can be mended without a decision: nothing that a search, running or to come, needs is touched."""

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
    """Do what is safe to do; says what was done."""
    requeued = _requeue(storage)
    if requeued:
        yield f"{requeued} trials put back into the queue"
    for study in study_names(storage):
        left = len(list(leftover_checkpoints(storage, open_artifacts(settings).root, study)))
        if left:
            remove_leftovers(storage, open_artifacts(settings), study)
            yield f"{study}: {left} checkpoints removed"
    removed = remove_cache_leftovers(settings.cache_home)
    if removed:
        yield f"{removed} useless entries of the cache removed"
    for study in study_names(storage):
        synced = sync(settings, storage, study)
        if synced.trials_sent or synced.looks_sent:
            yield str(synced)


def _requeue(storage: Storage) -> int:
    """Put trials back whose workers are gone. A stray trial gets a lease that has run out, and is reaped as others."""
    for record, _, trial_id in stray_trials(storage):
        row = {"trial_id": trial_id, "optuna_study": record.optuna_study, "owner": process_name()}
        try:
            with storage.engine.begin() as connection:
                connection.execute(insert(leases).values(**row, token=uuid.uuid4().hex, expires_at=0.0))
        except IntegrityError:
            continue  # Somebody works on it after all.
    stages = [record for study in study_names(storage) for record in read_stages(storage, study)]
    return len(reap(storage, [record.optuna_study for record in stages]))
