"""Replays a search on a table of learning curves: simulated workers train, and each epoch takes one unit of time."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Key = tuple[Any, ...]
"""The values of a configuration's parameters."""


class Curves(Protocol):
    """The validation accuracies of configurations after each epoch."""

    def __getitem__(self, key: Key, /) -> Sequence[float]:
        """The curve of a configuration."""


@dataclass(kw_only=True, eq=False)
class Training:
    """Consecutive epochs of one configuration, trained by one worker."""

    key: Key
    """The configuration's cell in the table."""
    next: int
    """The next epoch to train, from 1."""
    last: int
    """The last epoch, unless the strategy stops the training before."""
    trial: Any = None
    """What the strategy remembers the training by."""


class Strategy(Protocol):
    """A way of searching. It never sees a curve beyond the epochs that were trained."""

    def begin(self, spent: int) -> Training | None:
        """The training that a free worker begins after `spent` epochs; None if it has to wait for running ones."""

    def stops(self, training: Training, epoch: int, accuracy: float) -> bool:
        """Report an epoch; returns whether the training stops before its last epoch."""


@dataclass(kw_only=True)
class Ledger:
    """The epochs that were trained, and the best validation accuracy after each."""

    curves: Curves
    epochs: int
    """Epochs that may be trained in total."""
    best_after: list[float] = field(default_factory=list)

    @property
    def spent(self) -> int:
        """Epochs trained so far."""
        return len(self.best_after)

    def train(self, key: Key, epoch: int) -> float:
        """Train an epoch of a configuration and return its accuracy."""
        accuracy = self.curves[key][epoch - 1]
        self.best_after.append(max(accuracy, self.best_after[-1] if self.best_after else 0.0))
        return accuracy


class NothingLeft(RuntimeError):
    """A strategy has nothing to train and waits for nothing."""


def replay(strategy: Strategy, curves: Curves, *, epochs: int, workers: int) -> Ledger:
    """Let `workers` simulated workers train until `epochs` epochs are spent.

    Raises NothingLeft if the strategy is over before.
    """
    ledger = Ledger(curves=curves, epochs=epochs)
    events: list[tuple[int, int, Training]] = []  # The time at which an epoch ends, its worker, its training.
    idle = list(range(workers))
    now = 0
    while ledger.spent < epochs:
        while idle and (training := strategy.begin(ledger.spent)) is not None:
            heapq.heappush(events, (now + 1, idle.pop(0), training))
        if not events:
            raise NothingLeft(f"after {ledger.spent} of {epochs} epochs")
        now, worker, training = heapq.heappop(events)
        epoch = training.next
        accuracy = ledger.train(training.key, epoch)
        training.next += 1
        if strategy.stops(training, epoch, accuracy) or epoch == training.last:
            idle.append(worker)
        else:
            heapq.heappush(events, (now + 1, worker, training))
    return ledger
