"""Run a command to its end and measure the time, processor time and memory of all its processes."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from data.errors import SieveError

ROOT = Path(__file__).parents[1]
SAMPLE_S = 0.5
LOG_TAIL_LINES = 5


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Time, processor time and memory of a command that has ended."""

    started_at: float
    """Unix time in seconds."""
    wall_s: float
    cpu_s: float
    """Processor time in seconds of all child processes that were waited for."""
    peak_rss_mib: float
    """Peak of the processes' summed resident memory in MiB; a shared page counts in each process."""


def run_measured(command: Sequence[str], log: Path, environment: dict[str, str] | None = None) -> Measured:
    """Run a command of this project to its end and write its output to `log`. Raises SieveError if it fails."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    full = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore", **(environment or {})}
    before = _children_cpu_s()
    started_at = time.time()
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=full, cwd=ROOT)
        peak = _PeakMemory(process.pid)
        peak.start()
        try:
            code = process.wait()
        finally:
            process.kill()
            peak.close()
    if code != 0:
        tail = log.read_text(errors="replace").strip().splitlines()[-LOG_TAIL_LINES:]
        raise SieveError(f"{' '.join(command[1:4])} ended with {code}: {' | '.join(tail)}")
    return Measured(
        started_at=started_at,
        wall_s=time.time() - started_at,
        cpu_s=_children_cpu_s() - before,
        peak_rss_mib=peak.peak_bytes / 2**20,
    )


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class _PeakMemory(threading.Thread):
    """Samples the resident memory of a process and all its descendants."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self._pid = pid
        self._closing = threading.Event()

    def close(self) -> None:
        """Stop sampling and wait for the thread to end."""
        self._closing.set()
        self.join()

    def run(self) -> None:
        """Sample the memory until `close`."""
        while not self._closing.wait(SAMPLE_S):
            self.peak_bytes = max(self.peak_bytes, _tree_rss_bytes(self._pid))


def _tree_rss_bytes(pid: int) -> int:
    total = 0
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in tree:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total
