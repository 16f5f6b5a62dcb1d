"""A worker process on this machine, and what every launcher of workers does: `local_launch` and `ray_launch`."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data.files import writing_below
from data.ignored import HOME_MARK
from search import names
from search.settings import Settings, as_environment

LOG_TAIL_LINES = 8


class Launcher(Protocol):
    """Keeps a number of workers running."""

    def prepare(self) -> None:
        """Start the processes early: their imports take seconds. They wait for `start`."""

    def start(self) -> None:
        """Let all workers begin."""

    def restart_dead(self) -> int:
        """Restart the workers that died; returns how many did. Raises SieveError if they die as soon as they start."""

    def drain(self) -> None:
        """Ask the workers to end after their running trials; a second call asks them to stop at once."""

    def alive(self) -> int:
        """The number of workers that still run."""

    def stop(self) -> None:
        """Stop the workers now and wait for them."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """The resources of a Ray cluster that one worker uses."""

    cpus: float
    gpus: float
    """Below 1, several workers share a GPU."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WorkerProcess:
    """A worker of this machine: its process and its log file."""

    process: subprocess.Popen[bytes]
    log: Path
    started_at: float

    @property
    def lived_s(self) -> float:
        """Seconds since the worker was started."""
        return time.monotonic() - self.started_at

    @property
    def log_tail(self) -> str:
        """The end of the log, in one line."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-LOG_TAIL_LINES:])

    def begin(self) -> None:
        """Let the worker begin: its study is ready. Without this, the worker ends when its standard input closes."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # It died; its launcher restarts it.
            self.process.stdin.write(b"start\n")
            self.process.stdin.close()


def start_worker(
    settings: Settings,
    study: str,
    index: int,
    *,
    device: str,
    threads: int,
    decoders: int = 1,
    modules: Sequence[str] = (),
) -> WorkerProcess:
    """Start a worker that waits for `begin` and ends together with the calling process; it runs in its own session.

    `index` numbers the workers of a study; each has its own log below the home folder. `decoders` is the number of
    processes that decode images for it, if the images are too many to be kept decoded. It imports `modules` before it
    waits.
    """
    # -P keeps the working folder off the worker's path: a `search.py` there would be taken for this package.
    command = [
        sys.executable, "-P", "-m", "search.worker", "--study", study, "--device", device,
        "--threads", str(threads), "--supervisor-pid", str(os.getpid()), *(("--import", *modules) if modules else ()),
    ]  # fmt: skip
    # By environment, not by command line: a storage URL may hold a password, and `ps` shows arguments to all users.
    environment = {
        **os.environ,
        **as_environment(settings),
        **_import_path(),
        "OMP_NUM_THREADS": str(threads),
        "SIEVE_DECODERS": str(decoders),
        "OMP_WAIT_POLICY": "PASSIVE",  # Threads that spin while they wait would take cores from other workers.
    }
    path = names.study_folder(settings.home, study) / "logs" / f"worker-{index}.log"
    with writing_below(settings.home):
        path.parent.mkdir(parents=True, exist_ok=True)
        (settings.home / HOME_MARK).touch()  # First of all: the home may lie among the pictures.
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
