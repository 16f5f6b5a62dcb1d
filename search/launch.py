"""Worker processes on this machine: started, restarted when they die, drained and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from data.errors import SieveError
from data.files import writing_below
from data.parallel import cpu_cores
from search import names
from search.settings import Settings, as_environment

EARLY_DEATH_S = 20.0
"""A worker that lives no longer than this may have a fault of its own, not of its trial."""
MAX_EARLY_DEATHS = 5
"""In a row, for each worker; more than a trial that kills its workers may claim of them."""
LOG_TAIL_LINES = 8
STOP_TIMEOUT_S = 30.0


class Launcher(Protocol):
    """Whatever keeps a number of workers running."""

    def start(self) -> None:
        """Start all workers."""

    def tend(self) -> int:
        """Start again what died; returns how many were. Raises SieveError where workers die as soon as they start."""

    def drain(self) -> None:
        """Ask the workers to end after their running trial; called again: to stop now."""

    def alive(self) -> int:
        """Workers that still run."""

    def stop(self) -> None:
        """Stop the workers now and wait for them."""


@dataclass(kw_only=True)
class _LocalWorker:
    index: int
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    started_at: float = field(default_factory=time.monotonic)


class LocalLauncher:
    """Workers as processes of this machine, in sessions of their own so that Ctrl-C reaches only the supervisor."""

    def __init__(self, settings: Settings, study: str, devices: list[str], workers: int) -> None:
        self._settings = settings
        self._study = study
        self._devices = devices
        self._workers = workers
        self._running: list[_LocalWorker] = []
        self._early_deaths = 0
        self._stopping = False

    def prepare(self) -> None:
        """Start the processes ahead of time: they import what they need, which takes seconds, and wait for `start`."""
        self._running = [self._launch(index) for index in range(self._workers)]

    def start(self) -> None:
        if not self._running:
            self.prepare()
        for worker in self._running:
            _let_go(worker)

    def tend(self) -> int:
        died = [worker for worker in self._running if worker.process.poll() is not None]
        for worker in died:
            worker.log.close()
            self._running.remove(worker)
            if self._stopping:
                continue
            if time.monotonic() - worker.started_at < EARLY_DEATH_S:
                self._early_deaths += 1
                if self._early_deaths >= MAX_EARLY_DEATHS * max(1, self._workers):
                    raise SieveError(
                        f"workers die as soon as they start; the last one said: {self._log_tail(worker.index)}"
                    )
            else:
                self._early_deaths = 0
            self._running.append(self._launch(worker.index))
            _let_go(self._running[-1])
        return len(died)

    def drain(self) -> None:
        self._stopping = True
        for worker in self._running:
            worker.process.send_signal(signal.SIGTERM)

    def alive(self) -> int:
        return sum(worker.process.poll() is None for worker in self._running)

    def stop(self) -> None:
        """Two SIGTERMs a little apart (one drains, two stop), and SIGKILL for what does not listen."""
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while self.alive() and time.monotonic() < deadline:
            self.drain()
            time.sleep(0.2)
        for worker in self._running:
            if worker.process.poll() is None:
                worker.process.kill()
            worker.process.wait()
            worker.log.close()
        self._running.clear()

    def _launch(self, index: int) -> _LocalWorker:
        device = self._devices[index % len(self._devices)]
        threads = max(1, cpu_cores() // max(1, self._workers)) if device == "cpu" else 1
        command = [
            sys.executable, "-m", "search.worker", "--study", self._study, "--device", device,
            "--threads", str(threads), "--supervisor-pid", str(os.getpid()),
        ]  # fmt: skip
        path = self._log_path(index)
        with writing_below(self._settings.home):
            path.parent.mkdir(parents=True, exist_ok=True)
            log = path.open("ab")
        # By environment, not by command line: a storage URL may hold a password, and `ps` shows arguments to everybody.
        environment = {
            **os.environ,
            **as_environment(self._settings),
            "OMP_NUM_THREADS": str(threads),
            "SIEVE_DECODERS": str(max(1, cpu_cores() // max(1, self._workers))),
            "OMP_WAIT_POLICY": "PASSIVE",  # Threads that spin while they wait take the cores of other workers.
        }
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True
        )
        return _LocalWorker(index=index, process=process, log=log)

    def _log_path(self, index: int) -> Path:
        return names.study_folder(self._settings.home, self._study) / "logs" / f"worker-{index}.log"

    def _log_tail(self, index: int) -> str:
        lines = self._log_path(index).read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-LOG_TAIL_LINES:])


def _let_go(worker: _LocalWorker) -> None:
    """Tell a worker that its study can be worked on; one that reads nothing more was given up, see `search.worker`."""
    assert worker.process.stdin is not None
    with suppress(BrokenPipeError):  # It died; `tend` sees to that.
        worker.process.stdin.write(b"start\n")
        worker.process.stdin.close()
