"""Writes finished epochs to the database, and those that follow each other quickly in one transaction.

An epoch that took longer than `write_s` is written when it ends. Epochs of a small network or of a gang may be shorter
than a transaction; they are collected, and written after `write_s` or with the result of their trial.
"""

from __future__ import annotations

import time

import optuna

from search.store.optuna_private import database_id, frozen_copy
from search.store.records import EpochRecord, add_epochs
from search.store.storage import Storage
from search.timing import Timing


class EpochLog:
    """The epochs of all trials that one worker trains."""

    def __init__(self, storage: Storage, *, write_s: float = Timing.write_epochs_s) -> None:
        """`write_s`: the least time between two writes, in seconds, unless a trial ends."""
        self._storage = storage
        self._write_s = write_s
        self._pending: list[EpochRecord] = []
        self._next_write_at = 0.0

    def report(self, trial: optuna.Trial, epoch: int, metrics: dict[str, float], value: float) -> None:
        """Report an epoch as `Trial.report` does, with all its metrics. It is written now or a moment later."""
        self._pending.append(EpochRecord(trial_id=database_id(trial), epoch=epoch, metrics=metrics, value=value))
        if time.monotonic() >= self._next_write_at:
            self.write()
        frozen_copy(trial).intermediate_values[epoch] = value  # Pruners read the trial's own values there.

    def write(self) -> None:
        """Write all epochs that are not written yet."""
        waiting = list(self._pending)
        if waiting:
            add_epochs(self._storage, waiting)
            del self._pending[: len(waiting)]
        self._next_write_at = time.monotonic() + self._write_s

    def take(self, trial_id: int) -> list[EpochRecord]:
        """Take out the epochs of a trial that are not written yet: its result is written together with them."""
        own = [epoch for epoch in self._pending if epoch.trial_id == trial_id]
        self.discard(trial_id)
        return own

    def discard(self, trial_id: int | None = None) -> None:
        """Drop unwritten epochs of one trial, or of all trials: another worker trains them again."""
        self._pending = [epoch for epoch in self._pending if trial_id not in (None, epoch.trial_id)]
