"""How busy this machine's GPUs are, as the driver's own `nvidia-smi` says; nothing where there is none.

torch cannot tell without another package, and would take up memory on every GPU for asking.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
from dataclasses import dataclass

TIMEOUT_S = 3.0
_FIELDS = ("index", "name", "utilization.gpu", "memory.used", "memory.total")


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU at one moment; None for what the driver does not tell, as for the slices of a divided GPU."""

    index: int
    name: str
    busy_percent: float | None
    memory_used_mib: float | None
    memory_total_mib: float | None


def read_gpus() -> list[Gpu]:
    """Every GPU of this machine; an empty list where there is none, or where the driver does not answer in time."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [_gpu(row) for row in csv.reader(done.stdout.splitlines(), skipinitialspace=True)]


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
