"""Workers as processes of this machine: `search.run` without `--launcher ray`."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Sequence

from data.errors import SieveError
from search.devices import cores_per_worker, threads_per_worker
from search.settings import Settings
from search.supervisor.early_deaths import EarlyDeaths
from search.supervisor.full_devices import FullDevices
from search.supervisor.gpu_capacity import GpuCapacity
from search.supervisor.launch import WorkerProcess, start_worker
from search.terminal import DEVICE_FULL, say
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
        modules: Sequence[str] = (),
        gpu_capacity: GpuCapacity | None = None,
        full_devices: FullDevices | None = None,
        timing: Timing = DEFAULT_TIMING,
    ) -> None:
        """Workers import `modules` before they begin. With `gpu_capacity`, a GPU that they do not fill gets more."""
        self._settings = settings
        self._study = study
        self._device_of = [devices[index % len(devices)] for index in range(workers)]
        self._requested = workers
        self._modules = modules
        self._gpu_capacity = gpu_capacity
        self._timing = timing
        self._running: dict[int, WorkerProcess] = {}
        self._early_deaths = {
            device: EarlyDeaths(count, early_death_s=timing.early_death_s)
            for device, count in Counter(self._device_of).items()
        }
        self._given_up: set[str] = set()
        """Devices on which workers die as soon as they start."""
        self._full = full_devices or FullDevices(devices, timing=timing)
        self._waiting: list[int] = []
        """Workers that wait until their devices are no longer full."""
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
        """Replace workers that have ended, and return how many ended.

        A worker whose GPU other programs fill is started again once the GPU has room. If workers die as soon as they
        start, their device is given up; raises SieveError if no other device is left.
        """
        died = {index: worker for index, worker in self._running.items() if worker.process.poll() is not None}
        for index, worker in died.items():
            del self._running[index]
            if not self._stopping:
                self._replace(index, worker)
        if not self._stopping:
            for device in self._full.take_free():
                self._start_waiting(device)
            if self._gpu_capacity:
                self._add_worker(self._gpu_capacity)
        return len(died)

    def _replace(self, index: int, worker: WorkerProcess) -> None:
        device = self._device_of[index]
        is_full = worker.process.returncode == DEVICE_FULL
        if index >= self._requested and (is_full or self._early_deaths[device].is_early(worker.lived_s)):
            self._stop_adding_workers(index, worker)
        elif is_full:
            self._wait_for_room(index)
        elif not self._is_given_up(device, worker):
            self._restart(index)

    def _restart(self, index: int) -> None:
        self._running[index] = self._launch(index)
        self._running[index].begin()
        if self._stopping:  # `drain` was called by a signal during the launch, and did not know this worker yet.
            self._running[index].process.send_signal(signal.SIGTERM)

    def _wait_for_room(self, index: int) -> None:
        device = self._device_of[index]
        self._waiting.append(index)
        if device not in self._full:
            others = self._others(device, list(self._running))
            instead = f"the search continues on {others}, and" if others else "the search waits, and"
            say(f"{device}: other programs fill its memory; {instead} uses {device} again when it has room")
        self._full.add(device)

    def _start_waiting(self, device: str) -> None:
        say(f"{device}: checking again for free memory")
        due = [index for index in self._waiting if self._device_of[index] == device]
        self._waiting = [index for index in self._waiting if index not in due]
        for index in due:
            self._restart(index)

    def _is_given_up(self, device: str, worker: WorkerProcess) -> bool:
        """Count a death; whether the device is given up. Raises SieveError if it was the last one."""
        if device in self._given_up:
            return True
        try:
            self._early_deaths[device].count(worker.lived_s, worker.log_tail, worker.process.returncode)
        except SieveError as error:
            others = self._others(device, [*self._running, *self._waiting])
            if not others:
                raise
            self._given_up.add(device)
            say(f"{device} is no longer used; the search continues on {others}: {error}")
        return device in self._given_up

    def _others(self, device: str, indices: Sequence[int]) -> str:
        """The other devices of these workers that are not given up, as text."""
        return ", ".join(sorted({self._device_of[index] for index in indices} - {device} - self._given_up))

    def _add_worker(self, gpu_capacity: GpuCapacity) -> None:
        device = gpu_capacity.device_with_room(Counter(self._device_of[index] for index in self._running))
        if device is not None:
            say(f"{device} has room: starting one more worker on it")
            index = len(self._device_of)
            self._device_of.append(device)
            self._restart(index)

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
        return start_worker(
            self._settings, self._study, index,
            device=device, threads=threads, decoders=decoders, modules=self._modules,
        )  # fmt: skip
