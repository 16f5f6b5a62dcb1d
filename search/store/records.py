"""Records of studies, stages, epochs and workers: writing and reading them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Row, Text, bindparam, cast, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from search.store.champion_record import ChampionRecord
from search.store.pinned_stage import PinnedStage
from search.store.retries import retried
from search.store.states import StageState, StudyState
from search.store.storage import Storage
from search.store.study_data import StudyData
from search.store.study_definition import StudyDefinition
from search.store.tables import epochs, insert_new, stages, studies, workers
from search.store.write_trials import write_values

WORKER_SEEN_S = 30.0
"""Seconds without a status update after which a worker is no longer shown."""

# Statements that a worker repeats for each trial are built once: building one takes longer than running it.
_study_state = select(studies.c.state).where(studies.c.name == bindparam("name"))
_stages = (
    select(*(cast(column, Text).label("pinned") if column.name == "pinned" else column for column in stages.c))
    .where(stages.c.study == bindparam("study"))
    .order_by(stages.c.position)
)
_stages_in_state = _stages.where(stages.c.state == bindparam("state"))
_worker_update = (
    update(workers)
    .where(workers.c.name == bindparam("own_name"))
    .values({column.name: bindparam(f"new_{column.name}") for column in workers.c})
)
_worker_insertion = insert(workers)


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """A study as its first command pinned it, with its state and champion."""

    name: str
    definition: StudyDefinition
    data: StudyData
    state: StudyState
    """`running`, `promoting` (naming the champion) or `done`."""
    created_at: float
    """Time at which the study was pinned, in seconds since the epoch."""
    deadline: float | None
    """Time at which the search must end, in seconds since the epoch; None without a time budget."""
    champion: ChampionRecord | None
    """The champion; None before it is registered."""

    @classmethod
    def from_row(cls, row: Row[Any]) -> StudyRecord:
        """Read a row of sieve_study."""
        champion = None if row.champion is None else ChampionRecord.from_json(row.champion)
        definition, data = StudyDefinition.from_json(row.definition), StudyData.from_json(row.data)
        return cls(**{**row._mapping, "definition": definition, "data": data, "champion": champion})


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """A pinned stage: all settings that a worker needs to run its trials."""

    study: str
    position: int
    """Position among the stages of the study, from 0."""
    name: str
    optuna_study: str
    """Name of the Optuna study that holds the stage's trials."""
    pinned: PinnedStage
    state: StageState
    """`filling` while its trials are being queued, `open` while workers may claim them, `closed` afterwards."""
    opened_at: float
    """Time at which the stage was pinned, in seconds since the epoch."""
    deadline: float | None
    """Time at which the stage must end, in seconds since the epoch; None without a time budget."""

    @classmethod
    def from_row(cls, row: Row[Any]) -> StageRecord:
        """Read a row of sieve_stage, in which `pinned` is text."""
        return cls(**{**row._mapping, "pinned": _pinned(row.pinned)})

    def to_row(self) -> dict[str, Any]:
        """The columns of the stage's row in sieve_stage."""
        return {**vars(self), "pinned": self.pinned.to_json()}


@lru_cache(maxsize=64)
def _pinned(stored: str) -> PinnedStage:
    """Read a pinned stage, once: a worker reads its stages before each trial, and a long queue takes milliseconds."""
    return PinnedStage.from_json(json.loads(stored))


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """A finished epoch of a trial."""

    trial_id: int
    epoch: int
    """Number of the epoch, from 1, counted through all folds."""
    metrics: dict[str, float]
    """Metrics of the epoch by name."""
    value: float
    """The value that the pruner compares."""
    finished_at: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class WorkerRecord:
    """A worker's last status update."""

    name: str
    """Unique name of the worker's process, from `search.store.processes.process_name`."""
    study: str
    device: str
    doing: str
    """What the worker is doing, as text."""
    seen_at: float
    """Time of the status update, in seconds since the epoch."""

    @property
    def host(self) -> str:
        """Name of the machine, without the suffix that separates machines of one name."""
        return self.name.split(":")[0].rpartition("-")[0]


@retried
def read_study(storage: Storage, name: str) -> StudyRecord | None:
    """The pinned study of that name, or None."""
    with storage.reader.begin() as connection:
        row = connection.execute(select(studies).where(studies.c.name == name)).one_or_none()
    return StudyRecord.from_row(row) if row else None


@retried
def read_study_state(storage: Storage, name: str) -> StudyState | None:
    """The state of the pinned study of that name, or None."""
    with storage.reader.begin() as connection:
        state: StudyState | None = connection.execute(_study_state, {"name": name}).scalar_one_or_none()
    return state


@retried
def study_names(storage: Storage) -> list[str]:
    """The names of all studies in this database, oldest first."""
    with storage.reader.begin() as connection:
        return list(connection.execute(select(studies.c.name).order_by(studies.c.created_at)).scalars())


def create_study(storage: Storage, name: str, *, definition: StudyDefinition, data: StudyData) -> bool:
    """Pin a study; False if another process pinned it first."""
    row = {
        "name": name,
        "definition": definition.to_json(),
        "data": data.to_json(),
        "state": "running",
        "created_at": time.time(),
    }
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
def read_stages(storage: Storage, study: str, *, state: StageState | None = None) -> list[StageRecord]:
    """The stages of a study that are pinned so far, in order; only those in `state`, if given."""
    query, wanted = (_stages, {}) if state is None else (_stages_in_state, {"state": state})
    with storage.reader.begin() as connection:
        return [StageRecord.from_row(row) for row in connection.execute(query, {"study": study, **wanted})]


@retried
def open_optuna_studies(storage: Storage, study: str) -> list[str]:
    """Names of the Optuna studies of a study's open stages, in order."""
    query = select(stages.c.optuna_study).where(stages.c.study == study, stages.c.state == "open")
    with storage.reader.begin() as connection:
        return list(connection.execute(query.order_by(stages.c.position)).scalars())


@retried
def read_deadline(storage: Storage, optuna_study: str) -> float | None:
    """The time at which a stage must end, in seconds since the epoch; None without a time budget."""
    query = select(stages.c.deadline).where(stages.c.optuna_study == optuna_study)
    with storage.reader.begin() as connection:
        deadline: float | None = connection.execute(query).scalar_one_or_none()
    return deadline


@retried
def pin_stage(storage: Storage, record: StageRecord) -> None:
    """Record a pinned stage, once. Raises IntegrityError if another one is recorded at its position."""
    try:
        with storage.engine.begin() as connection:
            connection.execute(insert(stages).values(**record.to_row()))
    except IntegrityError:
        written = ((stage.position, stage.opened_at) for stage in read_stages(storage, record.study))
        if (record.position, record.opened_at) not in written:
            raise


def update_stage(storage: Storage, record: StageRecord, **values: Any) -> None:
    """Set columns of a stage's row: `state` or `deadline`."""
    update_stages(storage, [record], **values)


@retried
def update_stages(storage: Storage, records: Sequence[StageRecord], **values: Any) -> None:
    """Set columns of the rows of stages of one study, all at once: `state` or `deadline`."""
    positions = [record.position for record in records]
    with storage.engine.begin() as connection:
        of_stages = (stages.c.study == records[0].study, stages.c.position.in_(positions))
        connection.execute(update(stages).where(*of_stages).values(**values))


@retried
def add_epochs(storage: Storage, done: Sequence[EpochRecord]) -> None:
    """Record finished epochs and report their values to Optuna, in one transaction.

    An epoch that is repeated after a crash keeps its first record. Nothing is reported to a finished trial.
    """
    with storage.engine.begin() as connection:
        write_epochs(connection, done)


def write_epochs(connection: Connection, done: Sequence[EpochRecord]) -> None:
    """Do what `add_epochs` does as a part of the caller's transaction."""
    if not done:
        return
    rows = [
        {"trial_id": epoch.trial_id, "epoch": epoch.epoch, "metrics": epoch.metrics, "finished_at": epoch.finished_at}
        for epoch in done
    ]
    connection.execute(insert_new(epochs, connection.dialect.name), rows)
    write_values(connection, [(epoch.trial_id, epoch.epoch, epoch.value) for epoch in done])


@retried
def read_epochs(storage: Storage, trial_id: int) -> list[Row[Any]]:
    """The rows of `sieve_epoch` of one trial, by epoch."""
    with storage.reader.begin() as connection:
        return list(connection.execute(select(epochs).where(epochs.c.trial_id == trial_id).order_by(epochs.c.epoch)))


@retried
def show_worker(storage: Storage, record: WorkerRecord) -> None:
    """Store a worker's status, which replaces its last one."""
    with storage.engine.begin() as connection:
        line = vars(record)
        new = {f"new_{column}": value for column, value in line.items()}
        if connection.execute(_worker_update, {"own_name": record.name, **new}).rowcount == 0:
            connection.execute(_worker_insertion, line)


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
