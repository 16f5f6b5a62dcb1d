"""Epochs on their way to the database: those that follow each other quickly are written together.

An epoch that takes longer than `WRITE_S` is written when it ends. Shorter ones, of a small network or a gang of heads,
would keep the database busy with one transaction each; they wait for a moment, or for the end of their trial.
"""

from __future__ import annotations

import time

import optuna

from search.store.optuna_private import database_id, frozen_copy
from search.store.records import EpochRecord, add_epochs
from search.store.storage import Storage

WRITE_S = 0.25
"""Between two writes, unless a trial ends."""


class EpochLog:
    """One per worker, for all trials that it trains."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._pending: list[EpochRecord] = []
        self._next_write_at = 0.0

    def report(self, trial: optuna.Trial, epoch: int, metrics: dict[str, float], value: float) -> None:
        """What `Trial.report` does, with all metrics of the epoch; written now or soon."""
        self._pending.append(EpochRecord(trial_id=database_id(trial), epoch=epoch, metrics=metrics, value=value))
        if time.monotonic() >= self._next_write_at:
            self.write()
        frozen_copy(trial).intermediate_values[epoch] = value  # Where a pruner looks for the trial's own.

    def write(self) -> None:
        """Write all that waits."""
        waiting = list(self._pending)
        if waiting:
            add_epochs(self._storage, waiting)
            del self._pending[: len(waiting)]
        self._next_write_at = time.monotonic() + WRITE_S

    def discard(self, trial_id: int | None = None) -> None:
        """Forget what waits, of one trial or of all: they are another worker's now, or have been written."""
        self._pending = [epoch for epoch in self._pending if trial_id not in (None, epoch.trial_id)]
