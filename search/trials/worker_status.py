"""A worker's line in `search.status`: what it is doing, written to the database at most every `status_s` seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from data.errors import StorageAway
from models.config import TrainConfig
from models.training.metrics import EpochMetrics
from search.store.claims import Claim
from search.store.records import WorkerRecord, forget_worker, show_worker
from search.store.storage import Storage
from search.timing import Timing


class WorkerStatus:
    """Writes what one worker is doing."""

    def __init__(
        self, storage: Storage, *, name: str, study: str, device: str, is_stopping: Callable[[], bool],
        status_s: float = Timing.status_s,
    ) -> None:  # fmt: skip
        self._storage = storage
        self._name = name
        self._study = study
        self._device = device
        self._is_stopping = is_stopping
        self._status_s = status_s
        self._doing = "starting"
        self._next_update_at = 0.0

    def update(self, doing: str) -> None:
        """Write a new status."""
        self._doing = f"{doing} (stopping after this trial)" if self._is_stopping() else doing
        self.write()

    def update_after_epoch(
        self, claims: Sequence[Claim], claim: Claim, metrics: EpochMetrics, config: TrainConfig
    ) -> None:
        """Write the epoch that a trial has reached, if the last update is old enough; for a gang, its first trial's."""
        if claim != claims[0] or time.monotonic() < self._next_update_at:
            return
        self._next_update_at = time.monotonic() + self._status_s
        gang = f" and {len(claims) - 1} more" if len(claims) > 1 else ""
        self.update(
            f"{claim.optuna_study} #{claim.number}{gang} epoch {metrics.epoch}/{config.epochs} "
            f"{metrics.val_accuracy:.3f} {metrics.images_per_s:,.0f} images/s"
        )

    def write(self) -> None:
        """Write the current status again, with the time: a worker without a recent one is not shown."""
        show_worker(
            self._storage,
            WorkerRecord(
                name=self._name, study=self._study, device=self._device, doing=self._doing, seen_at=time.time()
            ),
        )

    def remove(self) -> None:
        """Remove the worker's line; in an outage of the database it disappears by itself after a while."""
        with suppress(StorageAway):
            forget_worker(self._storage.without_retries, self._name)
