"""Divides a trial's time into named parts without a gap, on the same code that trains every trial."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Generator, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from data.batches import Batch
from models.config import TrainConfig
from models.training.batch_protocols import Labelled, TrainingBatches, ValidationBatches
from models.training.finetuned import FineTuned
from models.training.metrics import EpochMetrics
from search.store.claims import Result
from search.trials.data_source import TrialData
from search.trials.trial_run import TrialRun
from search.trials.workload import Workload, WorkloadBuilder


class Laps:
    """A timeline of named laps: a call of `end` names the time since the call before it.

    On a GPU the marks are events in its stream, which are read at the end. So nothing here waits for the device, and a
    computation counts for the lap in which the device runs it, not for the lap in which Python launched it. Where the
    device idles, the time counts for the lap that it waits for.
    """

    def __init__(self, device: torch.device) -> None:
        self.override: str | None = None
        """While set, every lap is counted under this name."""
        self._on_gpu = device.type == "cuda"
        self._names: list[str] = []
        self._times: list[float] = []
        self._events: list[torch.cuda.Event] = []
        self.end("")

    def end(self, name: str) -> None:
        """End a lap: the time since the last call counts under this name."""
        self._names.append(self.override or name)
        if self._on_gpu:
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
            self._events.append(event)
        else:
            self._times.append(time.perf_counter())

    def totals_s(self) -> dict[str, float]:
        """Seconds by name, in the order of first use. They add up to the time between the first and the last call."""
        if self._on_gpu:
            torch.cuda.synchronize()
            laps_s = [before.elapsed_time(event) / 1000 for before, event in pairwise(self._events)]
        else:
            laps_s = [moment - before for before, moment in pairwise(self._times)]
        totals: dict[str, float] = defaultdict(float)
        for name, seconds in zip(self._names[1:], laps_s, strict=True):
            totals[name] += seconds
        return dict(totals)


@dataclass(kw_only=True, eq=False)
class TimedTrialRun(TrialRun):
    """A trial run that ends a lap when an epoch arrives, and one when it is reported."""

    laps: Laps

    def record(self, metrics: EpochMetrics, config: TrainConfig) -> Result | None:
        """Record the epoch; count the time before it as `checkpoint` and the recording as `storage`."""
        self.laps.end("checkpoint")
        result = super().record(metrics, config)
        self.laps.end("storage")
        return result


class TimedWorkloadBuilder:
    """A workload builder that ends a lap when data and network are ready, and at each part of every training step."""

    def __init__(self, workloads: WorkloadBuilder, laps: Laps) -> None:
        self._workloads = workloads
        self._laps = laps
        self.images = 0
        """Images trained on after the first step."""

    def open_data(self, config: TrainConfig, fold: int = 0) -> TrialData:
        """Open the trial's data and count the time as `open the data`."""
        self._laps.end("storage")
        data = self._workloads.open_data(config, fold)
        self._laps.end("open the data")
        return data

    def prepare(self, config: TrainConfig, data: TrialData, seed: int) -> Workload:
        """Build the network and count its time, and time every batch and forward pass from then on."""
        work = self._workloads.prepare(config, data, seed)
        self._laps.end("build the network")
        _time_forward(work.learning, self._laps)
        train = _TimedTraining(work.train, self._laps, self._count)
        return replace(work, train=train, val=_TimedValidation(work.val, self._laps))

    def _count(self, images: int) -> None:
        self.images += images


@contextmanager
def timing_optimizers(laps: Laps) -> Iterator[None]:
    """End a lap at the start of every optimizer step, which is the end of the backward pass, and at its end."""
    before = register_optimizer_step_pre_hook(lambda *_: laps.end("backward"))
    after = register_optimizer_step_post_hook(lambda *_: laps.end("optimiser"))
    try:
        yield
    finally:
        before.remove()
        after.remove()


def _time_forward(model: nn.Module, laps: Laps) -> None:
    if isinstance(model, FineTuned):
        model.training_logits = _ending(model.training_logits, "forward", laps)  # type: ignore[method-assign]
        return

    def after(module: nn.Module, inputs: Any, output: Any) -> None:
        if module.training:
            laps.end("forward")

    model.register_forward_hook(after)


def _ending(call: Callable[..., Any], name: str, laps: Laps) -> Callable[..., Any]:
    def called(*arguments: Any) -> Any:
        result = call(*arguments)
        laps.end(name)
        return result

    return called


class _TimedTraining:
    """`TrainingBatches` that end a lap at each part of a step; the first step, with its one-time work, is one lap."""

    def __init__(self, batches: TrainingBatches, laps: Laps, count: Callable[[int], None]) -> None:
        self._batches, self._laps, self._count = batches, laps, count
        self._is_first = True

    @property
    def images(self) -> Labelled:
        return self._batches.images

    @property
    def batch_size(self) -> int:
        return self._batches.batch_size

    def __len__(self) -> int:
        return len(self._batches)

    def epoch(self, generator: Generator) -> Iterator[Batch]:
        self._laps.end("first step" if self._is_first else "storage")
        batches = self._batches.epoch(generator)
        while (batch := self._next(batches)) is not None:
            yield batch
            self._laps.end("rest of the step")
            if not self._is_first:
                self._count(len(batch.labels_N))
            self._is_first, self._laps.override = False, None

    def _next(self, batches: Iterator[Batch]) -> Batch | None:
        self._laps.override = "first step" if self._is_first else None
        batch = next(batches, None)
        self._laps.end("data")
        return batch


class _TimedValidation:
    """`ValidationBatches` that end a lap when all of them are evaluated."""

    def __init__(self, batches: ValidationBatches, laps: Laps) -> None:
        self._batches, self._laps = batches, laps

    def __iter__(self) -> Iterator[Batch]:
        yield from self._batches
        self._laps.end("validation")
