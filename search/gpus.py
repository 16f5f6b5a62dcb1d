"""How busy this machine's GPUs are, from the driver's `nvidia-smi`.

torch needs another package for that, and would occupy memory on every GPU.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

TIMEOUT_S = 3.0
_FIELDS = ("index", "name", "utilization.gpu", "memory.used", "memory.total")


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """The state of one GPU. A value is None where the driver does not report it, e.g. for slices of a divided GPU."""

    index: int
    name: str
    busy_percent: float | None
    memory_used_mib: float | None
    memory_total_mib: float | None

    @property
    def memory_share(self) -> float | None:
        """The share of the memory that is in use, by all programs; None if the driver does not report it."""
        if self.memory_used_mib is None or not self.memory_total_mib:
            return None
        return self.memory_used_mib / self.memory_total_mib


def read_gpus() -> list[Gpu]:
    """The state of every GPU of this machine; empty without GPUs, or if the driver does not answer in time."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [_gpu(row) for row in csv.reader(done.stdout.splitlines(), skipinitialspace=True)]


def are_numbered_alike(gpus: Sequence[Gpu]) -> bool:
    """Whether torch numbers the GPUs as the driver does: by default torch puts the fastest model first."""
    return len({gpu.name for gpu in gpus}) == 1 or os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"


def driver_indices(devices: Sequence[str], visible: str | None) -> dict[str, int]:
    """The driver's number of each of torch's devices; empty if they are not named by numbers, as slices of a GPU."""
    numbers = [int(device.removeprefix("cuda:")) for device in devices if device.startswith("cuda:")]
    if visible is None:
        return {f"cuda:{number}": number for number in numbers}
    names = [name.strip() for name in visible.split(",")]
    if not all(name.isdecimal() for name in names) or max(numbers, default=0) >= len(names):
        return {}
    return {f"cuda:{number}": int(names[number]) for number in numbers}


def _gpu(row: list[str]) -> Gpu:
    index, name, busy, used, total = row
    return Gpu(
        index=int(index),
        name=name,
        busy_percent=_number(busy),
        memory_used_mib=_number(used),
        memory_total_mib=_number(total),
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # `[N/A]` or `[Not Supported]`
        return None
