"""How long the epochs of a trial took, from the database: a trial that has not ended has no attributes about it."""

from __future__ import annotations

from search.store.records import read_epochs
from search.store.storage import Storage


def epoch_times_s(storage: Storage, trial_id: int) -> list[float]:
    """Seconds of each epoch that the trial has reported, training and validation."""
    return [float(row.metrics["duration_s"]) for row in read_epochs(storage, trial_id)]
