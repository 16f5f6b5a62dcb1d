"""Records of studies, stages, epochs and workers: writing and reading them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from search.store.retries import retried
from search.store.storage import Storage
from search.store.tables import epochs, insert_new, stages, studies, workers

WORKER_SEEN_S = 30.0
"""Seconds without a status update after which a worker is no longer shown."""


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """A study as the first command that ran it pinned it."""

    name: str
    definition: dict[str, Any]
    data: dict[str, Any]
    state: str
    created_at: float
    deadline: float | None
    champion: dict[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """A pinned stage: all that a worker needs to run its trials."""

    study: str
    position: int
    name: str
    optuna_study: str
    pinned: dict[str, Any]
    state: str
    opened_at: float
    deadline: float | None


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """A finished epoch of a trial."""

    trial_id: int
    epoch: int
    """From 1, counted through all folds."""
    metrics: dict[str, float]
    value: float
    """What the pruner compares."""
    finished_at: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class WorkerRecord:
    """A worker as it last described itself."""

    name: str
    """As `search.store.processes.process_name` gives it."""
    study: str
    device: str
    doing: str
    seen_at: float

    @property
    def host(self) -> str:
        """The machine's name, without the suffix that distinguishes machines of the same name."""
        return self.name.split(":")[0].rpartition("-")[0]


@retried
def read_study(storage: Storage, name: str) -> StudyRecord | None:
    """The pinned study of that name, or None."""
    with storage.reader.begin() as connection:
        row = connection.execute(select(studies).where(studies.c.name == name)).one_or_none()
    return StudyRecord(**row._mapping) if row else None


@retried
def study_names(storage: Storage) -> list[str]:
    """The names of all studies in this database, oldest first."""
    with storage.reader.begin() as connection:
        return list(connection.execute(select(studies.c.name).order_by(studies.c.created_at)).scalars())


def create_study(storage: Storage, name: str, *, definition: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
    """Pin a study; False if another process pinned it first."""
    row = {"name": name, "definition": definition, "data": data, "state": "running", "created_at": time.time()}
    return _insert_study(storage, row)


@retried
def _insert_study(storage: Storage, row: Mapping[str, Any]) -> bool:
    """Insert a study's row; True again if a call whose answer was lost in an outage has inserted this very row."""
    try:
        with storage.engine.begin() as connection:
            connection.execute(insert(studies).values(**row))
    except IntegrityError:
        record = read_study(storage, row["name"])
        return record is not None and record.created_at == row["created_at"]
    return True


@retried
def update_study(storage: Storage, name: str, **values: Any) -> None:
    """Set columns of a study's row: `state`, `deadline` or `champion`."""
    with storage.engine.begin() as connection:
        connection.execute(update(studies).where(studies.c.name == name).values(**values))


@retried
def read_stages(storage: Storage, study: str, *, state: str | None = None) -> list[StageRecord]:
    """The stages of a study that are pinned so far, in order; only those in `state`, if given."""
    query = select(stages).where(stages.c.study == study).order_by(stages.c.position)
    if state is not None:
        query = query.where(stages.c.state == state)
    with storage.reader.begin() as connection:
        return [StageRecord(**row._mapping) for row in connection.execute(query)]


@retried
def pin_stage(storage: Storage, record: StageRecord) -> None:
    """Record a pinned stage, once. Raises IntegrityError if another one is recorded at its position."""
    try:
        with storage.engine.begin() as connection:
            connection.execute(insert(stages).values(**vars(record)))
    except IntegrityError:
        written = ((stage.position, stage.opened_at) for stage in read_stages(storage, record.study))
        if (record.position, record.opened_at) not in written:
            raise


@retried
def update_stage(storage: Storage, record: StageRecord, **values: Any) -> None:
    """Set columns of a stage's row: `state` or `deadline`."""
    with storage.engine.begin() as connection:
        connection.execute(
            update(stages).where(stages.c.study == record.study, stages.c.position == record.position).values(**values)
        )


@retried
def add_epochs(storage: Storage, done: Sequence[EpochRecord]) -> None:
    """Record finished epochs and report their values to Optuna, in one transaction.

    An epoch that is repeated after a crash keeps its first record. Nothing is reported to a finished trial.
    """
    rows = [
        {"trial_id": epoch.trial_id, "epoch": epoch.epoch, "metrics": epoch.metrics, "finished_at": epoch.finished_at}
        for epoch in done
    ]
    with storage.engine.begin() as connection:
        connection.execute(insert_new(epochs, connection.dialect.name), rows)
        storage.trials.report(connection, [(epoch.trial_id, epoch.epoch, epoch.value) for epoch in done])


@retried
def read_epochs(storage: Storage, trial_id: int) -> list[Row[Any]]:
    """The rows of `sieve_epoch` of one trial, by epoch."""
    with storage.reader.begin() as connection:
        return list(connection.execute(select(epochs).where(epochs.c.trial_id == trial_id).order_by(epochs.c.epoch)))


@retried
def show_worker(storage: Storage, record: WorkerRecord) -> None:
    """Store a worker's status, which replaces its last one."""
    with storage.engine.begin() as connection:
        changed = connection.execute(update(workers).where(workers.c.name == record.name).values(**vars(record)))
        if changed.rowcount == 0:
            connection.execute(insert(workers).values(**vars(record)))


@retried
def forget_worker(storage: Storage, name: str) -> None:
    """Delete the status of a worker that has ended."""
    with storage.engine.begin() as connection:
        connection.execute(delete(workers).where(workers.c.name == name))


@retried
def read_workers(storage: Storage, study: str) -> list[WorkerRecord]:
    """The workers of a study with a status update within `WORKER_SEEN_S`, by name."""
    with storage.reader.begin() as connection:
        query = select(workers).where(workers.c.study == study, workers.c.seen_at > time.time() - WORKER_SEEN_S)
        return [WorkerRecord(**row._mapping) for row in connection.execute(query.order_by(workers.c.name))]
