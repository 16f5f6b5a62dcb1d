"""How long a trial took, and how much of that went into checkpoints and into the database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from models.training.metrics import EpochMetrics
from search import names


@dataclass(kw_only=True, eq=False)
class TrialClock:
    """Times one trial while it runs. All durations are in seconds."""

    gang: int = 1
    """Number of trials that are trained together; of several, each counts only its share of their time."""
    epochs: int = 0
    """Epochs trained so far, those of an earlier owner included."""
    trained_s: float = 0.0
    """Training and validation of these epochs."""
    resumed_s: float = 0.0
    """The part of `trained_s` that an earlier owner of the trial trained."""
    checkpoint_s: float = 0.0
    """Keeping the best weights and writing checkpoints."""
    service_s: float = 0.0
    """Reporting epochs to the database and asking the pruner."""
    started_at: float = field(default_factory=time.monotonic)
    reported_at: float = 0.0
    """When the last epoch had been reported; 0 before the first."""

    def count_epoch(self, duration_s: float) -> None:
        """Count an epoch that was trained."""
        self.epochs += 1
        self.trained_s += duration_s

    @contextmanager
    def reporting(self, metrics: EpochMetrics) -> Iterator[None]:
        """Wrap the report of an epoch. What lies between two reports beside the training is the checkpoint's time."""
        began_at = time.monotonic()
        if metrics.epoch > 1 and self.reported_at and self.gang == 1:  # The first epoch follows all preparations.
            self.checkpoint_s += max(0.0, began_at - self.reported_at - metrics.duration_s)
        yield
        self.reported_at = time.monotonic()
        self.service_s += self.reported_at - began_at

    def attributes(self) -> dict[str, Any]:
        """The trial's attributes about time: epochs, duration, and where it went."""
        alone_s = self.resumed_s + time.monotonic() - self.started_at
        duration_s = alone_s if self.gang == 1 else self.trained_s
        spent_s = {"checkpoint": round(self.checkpoint_s, 4), "service": round(self.service_s, 4)}
        timed: dict[str, Any] = {
            names.EPOCHS_DONE: self.epochs, names.DURATION_S: round(duration_s, 3), names.SPENT_S: spent_s,
        }  # fmt: skip
        if self.gang > 1:
            timed[names.GANG] = self.gang
        if self.epochs:
            timed[names.EPOCH_S] = self.trained_s / self.epochs
        return timed
