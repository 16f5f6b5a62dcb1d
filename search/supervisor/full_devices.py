"""GPUs that other programs fill: no worker starts on one of them until it has room again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from search.devices import FULL_SHARE
from search.gpus import Gpu, are_numbered_alike, driver_indices, read_gpus
from search.timing import DEFAULT_TIMING, Timing


class FullDevices:
    """The devices on which a worker found no memory, and the driver's figures about them, read at intervals."""

    def __init__(
        self, devices: Sequence[str], read: Callable[[], list[Gpu]] = read_gpus, *, timing: Timing = DEFAULT_TIMING
    ) -> None:
        self._read = read
        self._timing = timing
        self._index_of = driver_indices(devices, os.environ.get("CUDA_VISIBLE_DEVICES"))
        self._full: dict[str, float] = {}
        """When a worker on each device is tried again without a figure of the driver."""
        self._next_reading_at = 0.0

    def __contains__(self, device: str) -> bool:
        return device in self._full

    def add(self, device: str) -> None:
        """Note that a device is full."""
        now = time.monotonic()
        self._full[device] = now + self._timing.full_gpu_s
        self._next_reading_at = now + self._timing.gpu_reading_s

    def take_free(self) -> list[str]:
        """Return the devices that have room again, and forget them."""
        now = time.monotonic()
        if not self._full or now < self._next_reading_at:
            return []
        self._next_reading_at = now + self._timing.gpu_reading_s
        read = self._read()
        gpus = {gpu.index: gpu for gpu in read} if are_numbered_alike(read) else {}
        free = []
        for device, retry_at in self._full.items():
            gpu = gpus.get(self._index_of.get(device, -1))
            share = gpu.memory_share if gpu else None
            has_room = now >= retry_at if share is None else share <= FULL_SHARE
            if has_room:
                free.append(device)
        for device in free:
            del self._full[device]
        return free
