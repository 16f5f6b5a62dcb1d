"""Measures how many trainings a GPU can run at once, by recording a step with more and more branches."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

from data.gpu_memory import free_gpu_memory
from models.config import TrainConfig
from models.training.batch_protocols import PickedTraining
from models.training.capture import Capture
from models.training.captured import CAPTURED, Recorded
from models.training.micro_batches import is_out_of_memory
from models.training.state import TrainingState

_GAIN = 1.15
"""Factor by which images per second must rise when the number of branches is doubled."""
_MEMORY_SHARE = 0.8
"""Share of the free memory that branches may use; validation needs some, too."""
_MEASURED_S = 0.1
"""Minimum length of a measurement in seconds."""


@dataclass(frozen=True, kw_only=True)
class BranchLimit:
    """How many trainings of a shape to run at once, and what that brings."""

    count: int
    gain: float = 1.0
    """The images per second over all of them, as a multiple of those of one."""


def branch_limit(
    model: nn.Module,
    config: TrainConfig,
    train: PickedTraining,
    *,
    classes: int,
    device: torch.device,
    dtype: torch.dtype,
    capture: Capture,
    most: int,
    clock: Callable[[], float] = time.perf_counter,
) -> BranchLimit:
    """The number of branches of this shape to train at once, from 1 to `most`, with its gain.

    It is doubled as long as the branches fit into memory and more images per second are trained. That takes about as
    long as recording twice the returned number of branches, one or two seconds on a GPU. The network and torch's
    generators are not changed.
    """
    states: list[TrainingState] = []
    free_bytes = _free_bytes(device)
    best, before, count, alone = 0, 0.0, 1, 0.0
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        while True:
            try:
                while len(states) < count:
                    states.append(_branch(model, config, train, classes, device, dtype, capture))
                rate, left_bytes = _measure(states, train, capture, device, clock)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                break
            if rate <= _GAIN * before:
                break
            best, before, alone = count, rate, alone or rate
            count = min(2 * count, most)
            too_large = (free_bytes - left_bytes) / best * count > _MEMORY_SHARE * free_bytes
            if best == most or too_large:
                break
    return BranchLimit(count=best, gain=before / alone) if best else BranchLimit(count=1)


def _branch(
    model: nn.Module,
    config: TrainConfig,
    train: PickedTraining,
    classes: int,
    device: torch.device,
    dtype: torch.dtype,
    capture: Capture,
) -> TrainingState:
    working = deepcopy(model).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    state = TrainingState(
        working, train, config, classes=classes, device=device, dtype=dtype, capture=capture, as_branch=True
    )
    state.micro_batches.retries = False
    state.device_steps.seed(0, 0)
    state.train_mode()
    return state


def _measure(
    states: list[TrainingState],
    train: PickedTraining,
    capture: Capture,
    device: torch.device,
    clock: Callable[[], float],
) -> tuple[float, int]:
    """Images per second over all branches, 0 if they cannot be recorded, and the bytes of memory that stay free."""
    steps = Recorded(
        capture, [state.device_steps.branch for state in states], state=dict, generators=(), micro_batches=(), images=0
    )

    def begin() -> None:
        for state in states:
            state.device_steps.begin(1)

    steps.record(begin, 1, check=False)
    try:
        if steps.mode != CAPTURED:
            return 0.0, 0
        left_bytes = _free_bytes(device)
        images, started_s, ended_s = 0, clock(), 0.0
        while images == 0 or ended_s - started_s < _MEASURED_S:
            begin()
            for _ in range(min(len(train), 20)):
                steps()
                images += len(states) * train.batch_size
            states[-1].read_scores()  # This waits for the device.
            ended_s = clock()
        return images / (ended_s - started_s), left_bytes
    finally:
        steps.release()


def _free_bytes(device: torch.device) -> int:
    """Bytes that no program uses; 0 on a CPU, where memory is no limit here."""
    return free_gpu_memory(device) if device.type == "cuda" else 0
