"""More workers for GPUs that one does not fill: where, by what the driver says while they train."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from data.parallel import cpu_cores
from search.gpus import Gpu, read_gpus

LOOK_S = 5.0
LOOKS = 4
"""So many looks at a GPU at work decide; as many are passed over after each new worker, which has to start first."""
BUSY_PERCENT = 70.0
"""Of the time in which a GPU computes: below, there is room for another worker's small networks."""
MEMORY_SHARE = 0.6
"""Of a GPU's memory that its workers may fill by today's use; the rest is for larger configurations that may come."""
MAX_PER_GPU = 4


class GpuCapacity:
    """Looks at the GPUs now and then, and names the next one that has room for another worker."""

    def __init__(self, devices: Sequence[str], read: Callable[[], list[Gpu]] = read_gpus) -> None:
        self._read = read
        self._index_of = _driver_indices(devices, os.environ.get("CUDA_VISIBLE_DEVICES"))
        self._busy: dict[str, list[float]] = {}
        self._filled_mib: dict[str, float] = {}
        """By GPU, the most memory seen for one worker of it."""
        self._next_look_at = time.monotonic() + LOOK_S

    def device_with_room(self, workers: Mapping[str, int]) -> str | None:
        """The GPU that takes one more worker now; `workers` says how many each of them has."""
        if time.monotonic() < self._next_look_at or not self._index_of:
            return None
        self._next_look_at = time.monotonic() + LOOK_S
        read = self._read()
        if sum(workers.values()) >= cpu_cores() or not _are_told_apart(read):
            return None
        gpus = {gpu.index: gpu for gpu in read}
        for device, index in self._index_of.items():
            if index in gpus and self._has_room(device, gpus[index], workers.get(device, 0)):
                self._busy.clear()
                self._next_look_at += LOOKS * LOOK_S
                return device
        return None

    def _has_room(self, device: str, gpu: Gpu, workers: int) -> bool:
        if gpu.busy_percent is None or gpu.memory_used_mib is None or gpu.memory_total_mib is None:
            return False
        looks = self._busy.setdefault(device, [])
        if workers:
            self._filled_mib[device] = max(self._filled_mib.get(device, 0.0), gpu.memory_used_mib / workers)
        if gpu.busy_percent > 0:  # Between two stages nobody trains, which says nothing.
            looks.append(gpu.busy_percent)
        if not 0 < workers < MAX_PER_GPU or len(looks) < LOOKS:
            return False
        filled_mib = self._filled_mib[device] * (workers + 1)
        return fmean(looks[-LOOKS:]) < BUSY_PERCENT and filled_mib <= MEMORY_SHARE * gpu.memory_total_mib


def _are_told_apart(gpus: Sequence[Gpu]) -> bool:
    """Whether torch numbers them as the driver does: unless told otherwise it counts the fastest first."""
    return len({gpu.name for gpu in gpus}) == 1 or os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"


def _driver_indices(devices: Sequence[str], visible: str | None) -> dict[str, int]:
    """The driver's number of each of torch's devices; empty where they are named otherwise, as slices of a GPU are."""
    numbers = [int(device.removeprefix("cuda:")) for device in devices if device.startswith("cuda:")]
    if visible is None:
        return {f"cuda:{number}": number for number in numbers}
    names = [name.strip() for name in visible.split(",")]
    if not all(name.isdecimal() for name in names) or max(numbers, default=0) >= len(names):
        return {}
    return {f"cuda:{number}": int(names[number]) for number in numbers}
