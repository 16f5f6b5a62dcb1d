"""Worker processes on this machine: started, restarted when they die, drained and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data.errors import SieveError
from data.files import writing_below
from data.parallel import cpu_cores
from search import names
from search.settings import Settings, as_environment
from search.supervisor.gpu_capacity import GpuCapacity
from search.terminal import say

EARLY_DEATH_S = 20.0
"""A worker that lives no longer than this may have a fault of its own, not of its trial."""
MAX_EARLY_DEATHS = 5
"""In a row, for each worker; more than a trial that kills its workers may claim of them."""
LOG_TAIL_LINES = 8
STOP_TIMEOUT_S = 30.0


class Launcher(Protocol):
    """Whatever keeps a number of workers running."""

    def prepare(self) -> None:
        """Start the processes ahead of time: they import what they need, which takes seconds, and wait for `start`."""

    def start(self) -> None:
        """Start all workers."""

    def restart_dead(self) -> int:
        """Start again what died; returns how many were. Raises SieveError where workers die as soon as they start."""

    def drain(self) -> None:
        """Ask the workers to end after their running trial; called again: to stop now."""

    def alive(self) -> int:
        """Workers that still run."""

    def stop(self) -> None:
        """Stop the workers now and wait for them."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one worker takes of a Ray cluster."""

    cpus: float
    gpus: float
    """Below 1, so many workers share a GPU."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WorkerProcess:
    """A worker of this machine: the process, and where it says what."""

    process: subprocess.Popen[bytes]
    log: Path
    started_at: float

    @property
    def lived_s(self) -> float:
        return time.monotonic() - self.started_at

    @property
    def log_tail(self) -> str:
        """The end of its log, in one line."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-LOG_TAIL_LINES:])

    def begin(self) -> None:
        """Tell it that its study can be worked on; one that reads nothing more was given up, see `search.worker`."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # It died; whoever started it sees to that.
            self.process.stdin.write(b"start\n")
            self.process.stdin.close()


def start_worker(
    settings: Settings, study: str, index: int, *, device: str, threads: int, decoders: int = 1
) -> WorkerProcess:
    """Start a worker that waits for `begin`, and ends with the process that calls this, in a session of its own.

    `index` tells the workers of a study apart: each has its own log below the home folder. `decoders` are processes
    that it may decode images with, where those are too many to be kept decoded.
    """
    # -P keeps the working folder off the worker's path: a `search.py` there would be taken for this package.
    command = [
        sys.executable, "-P", "-m", "search.worker", "--study", study, "--device", device,
        "--threads", str(threads), "--supervisor-pid", str(os.getpid()),
    ]  # fmt: skip
    # By environment, not by command line: a storage URL may hold a password, and `ps` shows arguments to everybody.
    environment = {
        **os.environ,
        **as_environment(settings),
        **_import_path(),
        "OMP_NUM_THREADS": str(threads),
        "SIEVE_DECODERS": str(decoders),
        "OMP_WAIT_POLICY": "PASSIVE",  # Threads that spin while they wait take the cores of other workers.
    }
    path = names.study_folder(settings.home, study) / "logs" / f"worker-{index}.log"
    with writing_below(settings.home):
        path.parent.mkdir(parents=True, exist_ok=True)
        log = path.open("ab")
    with log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    return WorkerProcess(process=process, log=path, started_at=time.monotonic())


def _import_path() -> dict[str, str]:
    """The variable with which a worker finds this package where it is not installed, e.g. in a checkout."""
    root = Path(__file__).resolve().parents[2]
    if root == Path(sysconfig.get_path("purelib")).resolve():
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))}


class EarlyDeaths:
    """Tells workers that have a fault of their own from those whose trial killed them."""

    def __init__(self, workers: int) -> None:
        self._allowed = MAX_EARLY_DEATHS * max(1, workers)
        self._in_a_row = 0

    def note(self, lived_s: float, log_tail: str) -> None:
        """A worker died. Raises SieveError where workers die as soon as they start."""
        self._in_a_row = self._in_a_row + 1 if lived_s < EARLY_DEATH_S else 0
        if self._in_a_row >= self._allowed:
            raise SieveError(f"workers die as soon as they start; the last one said: {log_tail}")


class LocalLauncher:
    """Workers as processes of this machine, in sessions of their own so that Ctrl-C reaches only the supervisor."""

    def __init__(
        self,
        settings: Settings,
        study: str,
        devices: list[str],
        workers: int,
        *,
        gpu_capacity: GpuCapacity | None = None,
    ) -> None:
        """With `gpu_capacity` a GPU that its workers do not fill gets more of them."""
        self._settings = settings
        self._study = study
        self._device_of = [devices[index % len(devices)] for index in range(workers)]
        self._asked_for = workers
        self._gpu_capacity = gpu_capacity
        self._running: dict[int, WorkerProcess] = {}
        self._early_deaths = EarlyDeaths(workers)
        self._stopping = False

    def prepare(self) -> None:
        self._running = {index: self._launch(index) for index in range(len(self._device_of))}

    def start(self) -> None:
        if not self._running:
            self.prepare()
        for worker in self._running.values():
            worker.begin()

    def restart_dead(self) -> int:
        died = {index: worker for index, worker in self._running.items() if worker.process.poll() is not None}
        for index, worker in died.items():
            del self._running[index]
            if index >= self._asked_for and worker.lived_s < EARLY_DEATH_S:
                self._stop_adding_workers(index, worker)
            elif not self._stopping:
                self._early_deaths.note(worker.lived_s, worker.log_tail)
                self._running[index] = self._launch(index)
                self._running[index].begin()
        if self._gpu_capacity and not self._stopping:
            self._add_worker(self._gpu_capacity)
        return len(died)

    def _add_worker(self, gpu_capacity: GpuCapacity) -> None:
        device = gpu_capacity.device_with_room(Counter(self._device_of[index] for index in self._running))
        if device is not None:
            say(f"{device} is not filled: one more worker there")
            index = len(self._device_of)
            self._device_of.append(device)
            self._running[index] = self._launch(index)
            self._running[index].begin()

    def _stop_adding_workers(self, index: int, worker: WorkerProcess) -> None:
        """A worker that nobody asked for has no place on its GPU; the study goes on without it."""
        self._gpu_capacity = None
        say(f"{self._device_of[index]} takes no more workers: {worker.log_tail}")

    def drain(self) -> None:
        self._stopping = True
        for worker in self._running.values():
            worker.process.send_signal(signal.SIGTERM)

    def alive(self) -> int:
        return sum(worker.process.poll() is None for worker in self._running.values())

    def stop(self) -> None:
        """Two SIGTERMs a little apart (one drains, two stop), and SIGKILL for what does not listen."""
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while self.alive() and time.monotonic() < deadline:
            self.drain()
            time.sleep(0.2)
        for worker in self._running.values():
            if worker.process.poll() is None:
                worker.process.kill()
            worker.process.wait()
        self._running.clear()

    def _launch(self, index: int) -> WorkerProcess:
        device = self._device_of[index]
        decoders = max(1, cpu_cores() // len(self._device_of))
        threads = decoders if device == "cpu" else 1
        return start_worker(self._settings, self._study, index, device=device, threads=threads, decoders=decoders)
