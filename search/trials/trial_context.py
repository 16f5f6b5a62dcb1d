"""What all trials of a worker share: the database, the device, the files, and the worker's hooks into the training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import torch

from models.config import TrainConfig
from models.training.metrics import EpochMetrics
from search.stage.feasibility import Feasible, anything
from search.store.claims import Claim
from search.store.storage import Storage
from search.timing import DEFAULT_TIMING, Timing
from search.trials.artifacts import Artifacts
from search.trials.epoch_log import EpochLog
from search.trials.workload import WorkloadBuilder

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class TrialContext:
    """A worker's resources and hooks, passed to each of its trials."""

    storage: Storage
    workloads: WorkloadBuilder
    device: torch.device
    artifacts: Artifacts
    on_epoch: Callable[[Claim, EpochMetrics, TrainConfig], None]
    """Called after each epoch, before the epoch is reported. Raises LeaseLost if another worker has the trial."""
    is_feasible: Feasible = anything
    """Whether a configuration's network can be built; parameters of a trial are drawn again until it can."""
    interruptible: Callable[[], AbstractContextManager[object]] = nullcontext
    """Wraps what a signal may end at any point: preparing and training, but never a call to the database."""
    watching: Callable[[], AbstractContextManager[object]] = nullcontext
    """Wraps what has to make progress: training. Preparing may wait for another process for any length of time."""
    on_batch: Callable[[], None] = lambda: None
    """Called after each batch, as a sign of progress."""
    shares_device: Callable[[], bool] = lambda: False
    """Whether other workers of the study may use memory of the same device."""
    count_workers: Callable[[], int] = lambda: 1
    """The number of workers of the study, this one included. It is a call to the database."""
    timing: Timing = DEFAULT_TIMING
    branch_limits: dict[tuple[object, ...], int] = field(default_factory=dict)
    """How many networks of a shape the device trains at once, by shape, as measured by `search.trials.branch_gang`."""

    @cached_property
    def epoch_log(self) -> EpochLog:
        """Writes the epochs of all the worker's trials to the database."""
        return EpochLog(self.storage, write_s=self.timing.write_epochs_s)

    def epochs(self, training: Iterable[T]) -> Iterator[T]:
        """Yield the epochs of a training; a signal may interrupt the training, but not what the caller does between."""
        epochs = iter(training)
        while True:
            with self.interruptible(), self.watching():
                epoch = next(epochs, None)
            if epoch is None:
                return
            yield epoch
