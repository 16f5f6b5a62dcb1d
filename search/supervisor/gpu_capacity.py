"""Finds GPUs that their workers do not fill, from the driver's figures while the workers train."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from data.parallel import cpu_cores
from search.gpus import Gpu, are_numbered_alike, driver_indices, read_gpus
from search.timing import DEFAULT_TIMING, Timing

READINGS = 4
"""Number of readings of a GPU on which a decision is based. After a new worker, as many are skipped while it starts."""
BUSY_PERCENT = 70.0
"""A GPU that computes less than this share of the time has room for another worker's small networks."""
MEMORY_SHARE = 0.6
"""The share of a GPU's memory that its workers may use at present; the rest is left for larger configurations."""
MAX_PER_GPU = 4


class GpuCapacity:
    """Reads the GPUs at intervals and names the next one with room for another worker."""

    def __init__(
        self, devices: Sequence[str], read: Callable[[], list[Gpu]] = read_gpus, *, timing: Timing = DEFAULT_TIMING
    ) -> None:
        self._read = read
        self._reading_s = timing.gpu_reading_s
        self._index_of = driver_indices(devices, os.environ.get("CUDA_VISIBLE_DEVICES"))
        self._busy: dict[str, list[float]] = {}
        """Percent of the time in which each GPU computed, one entry per reading."""
        self._memory_mib: dict[str, float] = {}
        """The largest memory per worker seen on each GPU."""
        self._next_reading_at = time.monotonic() + self._reading_s

    def device_with_room(self, workers: Mapping[str, int]) -> str | None:
        """The GPU that can take one more worker now, or None. `workers` holds the number of workers on each GPU."""
        if time.monotonic() < self._next_reading_at or not self._index_of:
            return None
        self._next_reading_at = time.monotonic() + self._reading_s
        read = self._read()
        if sum(workers.values()) >= cpu_cores() or not are_numbered_alike(read):
            return None
        gpus = {gpu.index: gpu for gpu in read}
        for device, index in self._index_of.items():
            if index in gpus and self._has_room(device, gpus[index], workers.get(device, 0)):
                self._busy.clear()
                self._next_reading_at += READINGS * self._reading_s
                return device
        return None

    def _has_room(self, device: str, gpu: Gpu, workers: int) -> bool:
        if gpu.busy_percent is None or gpu.memory_used_mib is None or gpu.memory_total_mib is None:
            return False
        readings = self._busy.setdefault(device, [])
        if workers:
            self._memory_mib[device] = max(self._memory_mib.get(device, 0.0), gpu.memory_used_mib / workers)
        if gpu.busy_percent > 0:  # Between two stages nothing is trained, so an idle GPU proves nothing.
            readings.append(gpu.busy_percent)
        if not 0 < workers < MAX_PER_GPU or len(readings) < READINGS:
            return False
        memory_mib = self._memory_mib[device] * (workers + 1)
        return fmean(readings[-READINGS:]) < BUSY_PERCENT and memory_mib <= MEMORY_SHARE * gpu.memory_total_mib
