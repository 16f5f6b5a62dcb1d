"""Workers as processes of this machine: `search.run` without `--launcher ray`."""

from __future__ import annotations

import signal
import time
from collections import Counter

from search.devices import cores_per_worker, threads_per_worker
from search.settings import Settings
from search.supervisor.early_deaths import EarlyDeaths
from search.supervisor.gpu_capacity import GpuCapacity
from search.supervisor.launch import WorkerProcess, start_worker
from search.terminal import say
from search.timing import DEFAULT_TIMING, Timing


class LocalLauncher:
    """Keeps workers running on this machine, in sessions of their own so that Ctrl-C reaches only the supervisor."""

    def __init__(
        self,
        settings: Settings,
        study: str,
        devices: list[str],
        workers: int,
        *,
        gpu_capacity: GpuCapacity | None = None,
        timing: Timing = DEFAULT_TIMING,
    ) -> None:
        """With `gpu_capacity`, a GPU that its workers do not fill gets more of them."""
        self._settings = settings
        self._study = study
        self._device_of = [devices[index % len(devices)] for index in range(workers)]
        self._requested = workers
        self._gpu_capacity = gpu_capacity
        self._timing = timing
        self._running: dict[int, WorkerProcess] = {}
        self._early_deaths = EarlyDeaths(workers, early_death_s=timing.early_death_s)
        self._stopping = False

    def prepare(self) -> None:
        """Start the worker processes; they import their libraries and wait for `start`."""
        self._running = {index: self._launch(index) for index in range(len(self._device_of))}

    def start(self) -> None:
        """Let the workers begin, and start them first if `prepare` was not called."""
        if not self._running:
            self.prepare()
        for worker in self._running.values():
            worker.begin()

    def restart_dead(self) -> int:
        """Replace workers that have ended and return how many ended."""
        died = {index: worker for index, worker in self._running.items() if worker.process.poll() is not None}
        for index, worker in died.items():
            del self._running[index]
            if index >= self._requested and self._early_deaths.is_early(worker.lived_s):
                self._stop_adding_workers(index, worker)
            elif not self._stopping:
                self._early_deaths.count(worker.lived_s, worker.log_tail)
                self._running[index] = self._launch(index)
                self._running[index].begin()
        if self._gpu_capacity and not self._stopping:
            self._add_worker(self._gpu_capacity)
        return len(died)

    def _add_worker(self, gpu_capacity: GpuCapacity) -> None:
        device = gpu_capacity.device_with_room(Counter(self._device_of[index] for index in self._running))
        if device is not None:
            say(f"{device} has room: starting one more worker on it")
            index = len(self._device_of)
            self._device_of.append(device)
            self._running[index] = self._launch(index)
            self._running[index].begin()

    def _stop_adding_workers(self, index: int, worker: WorkerProcess) -> None:
        """An extra worker that cannot start has no room on its GPU; the study goes on without it."""
        self._gpu_capacity = None
        say(f"{self._device_of[index]} has no room for another worker; its log ends with: {worker.log_tail}")

    def drain(self) -> None:
        """Ask all workers to stop after their current trials."""
        self._stopping = True
        for worker in self._running.values():
            worker.process.send_signal(signal.SIGTERM)

    def alive(self) -> int:
        """Return the number of running workers."""
        return sum(worker.process.poll() is None for worker in self._running.values())

    def stop(self) -> None:
        """Send SIGTERM repeatedly (the first drains, the second stops), then SIGKILL to workers that still run."""
        deadline = time.monotonic() + self._timing.stop_s
        while self.alive() and time.monotonic() < deadline:
            self.drain()
            time.sleep(self._timing.stop_signal_s)
        for worker in self._running.values():
            if worker.process.poll() is None:
                worker.process.kill()
            worker.process.wait()
        self._running.clear()

    def _launch(self, index: int) -> WorkerProcess:
        device = self._device_of[index]
        workers = len(self._device_of)
        decoders, threads = cores_per_worker(workers), threads_per_worker(device, workers)
        return start_worker(self._settings, self._study, index, device=device, threads=threads, decoders=decoders)
