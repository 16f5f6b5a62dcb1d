"""The kinds of faults: each is a function of the service, the running supervisor and a source of chance."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from search import names
from tests.acceptance.service import Running
from tests.chaos.random_faults.movable_service import MovableService

LOST_TRACKING = "MLflow's database lost"
WORKER, SUPERVISOR = "search.worker", "search.run"
FULL_DISK_S, FULL_DISK_BYTES = 1.0, 1
"""How long no file may grow, as if the disk were full, and the size at which files stop growing."""
LOCKED_S, AWAY_S = 6.0, 6.0
"""The longest times for which a database is locked, or its server is away."""

Fault = Callable[[MovableService, Running, random.Random], None]


def kill_worker(service: MovableService, running: Running, chance: random.Random) -> None:
    """kill -9 of a worker."""
    for worker in service.processes(WORKER)[:1]:
        service.kill(worker)


def end_worker(service: MovableService, running: Running, chance: random.Random) -> None:
    """SIGTERM to a worker, twice: it puts its trial back."""
    for worker in service.processes(WORKER)[:1]:
        for _ in range(2):
            with suppress(psutil.Error):
                worker.terminate()


def kill_supervisor(service: MovableService, running: Running, chance: random.Random) -> None:
    """kill -9 of the supervisor."""
    if running.process.poll() is None:
        running.kill()
        service.killed += 1


def interrupt(service: MovableService, running: Running, chance: random.Random) -> None:
    """Ctrl-C, once or twice."""
    for _ in range(chance.randint(1, 2)):
        running.interrupt()
        time.sleep(0.1)


def pause(service: MovableService, running: Running, chance: random.Random) -> None:
    """All processes stand still for a moment, as on a laptop that sleeps."""
    _all(service, lambda process: process.suspend())
    time.sleep(chance.uniform(0.2, 1.5))
    _all(service, lambda process: process.resume())


def fill_disk(service: MovableService, running: Running, chance: random.Random) -> None:
    """No file can grow for a second."""
    limit = psutil.RLIMIT_FSIZE
    _all(service, lambda process: process.rlimit(limit, (FULL_DISK_BYTES, psutil.RLIM_INFINITY)))
    time.sleep(FULL_DISK_S)
    _all(service, lambda process: process.rlimit(limit, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY)))


def jump(service: MovableService, running: Running, chance: random.Random) -> None:
    """The clock of all processes jumps by up to an hour, forwards or back."""
    (service.home / "clock-offset").write_text(str(chance.choice((-3600, -60, 60, 3600))))


def move_home(service: MovableService, running: Running, chance: random.Random) -> None:
    """Everything is killed, and the home is renamed."""
    service.end()
    service.move()


def lose_tracking(service: MovableService, running: Running, chance: random.Random) -> None:
    """Everything is killed, and MLflow's database is deleted."""
    service.end()
    for file in service.home.glob(f"{names.TRACKING_FILE}*"):
        file.unlink()


def lock_tracking(service: MovableService, running: Running, chance: random.Random) -> None:
    """MLflow's database cannot be written to for some seconds."""
    service.lock(service.home / names.TRACKING_FILE, chance.uniform(0.5, LOCKED_S))


def lock_storage(service: MovableService, running: Running, chance: random.Random) -> None:
    """Sieve's SQLite database cannot be written to for some seconds."""
    service.lock(service.home / names.STORAGE_FILE, chance.uniform(0.5, LOCKED_S))


def crash_postgres(service: MovableService, running: Running, chance: random.Random) -> None:
    """The database server crashes, and is back some seconds later."""
    assert service.postgres is not None
    service.postgres.crash()
    time.sleep(chance.uniform(0, AWAY_S))
    service.postgres.start()


ON_WORKERS: dict[str, Fault] = {"worker killed": kill_worker, "worker ended": end_worker}
FAULTS: dict[str, Fault] = {
    **ON_WORKERS,
    "supervisor killed": kill_supervisor,
    "Ctrl-C": interrupt,
    "pause": pause,
    "full disk": fill_disk,
    "clock jump": jump,
    "home moved": move_home,
    LOST_TRACKING: lose_tracking,
    "MLflow's database locked": lock_tracking,
}
ON_SQLITE: dict[str, Fault] = {**FAULTS, "database locked": lock_storage}
ON_POSTGRES: dict[str, Fault] = {**FAULTS, "Postgres crashed": crash_postgres}


def _all(service: MovableService, act: Callable[[psutil.Process], object]) -> None:
    for process in service.everything():
        with suppress(psutil.Error, ProcessLookupError):
            act(process)
