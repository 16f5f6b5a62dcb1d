"""Workers as actors of a Ray cluster, on GPUs or parts of GPUs: `search.run --launcher ray`.

An actor reserves resources and starts an ordinary worker process on its node, so that claims, leases, pruning and
stopping work as they do elsewhere. If an actor or its node is lost, another actor takes its place as soon as the
cluster has room, and the lost worker's trial goes back into the queue when its lease expires.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Read when Ray is imported.

import ray
from ray.exceptions import RayError

from data.errors import UserError
from data.permissions import share_with_group
from search.settings import Settings
from search.supervisor.early_deaths import EarlyDeaths
from search.supervisor.launch import Share, start_worker
from search.terminal import DEVICE_FULL, say
from search.timing import DEFAULT_TIMING, Timing


@contextmanager
def connected() -> Iterator[None]:
    """Connect to the cluster on this machine, or to the one that `RAY_ADDRESS` names; UserError if there is none.

    An existing connection of this process is used, and left open afterwards.
    """
    if ray.is_initialized():
        yield
        return
    with redirect_stdout(sys.stderr):  # Ray prints messages about its nodes on stdout.
        try:
            ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionError:
            raise UserError(
                "--launcher ray: found no Ray cluster here; start one with `ray start --head`, or set RAY_ADDRESS"
            ) from None
        try:
            yield
        finally:
            ray.shutdown()


def share_of(devices: str, gpus_per_worker: float) -> Share:
    """A worker's share by `--devices`: with `auto`, a GPU or a part of one if the cluster has GPUs, else one core."""
    if devices not in ("auto", "cpu", "cuda"):
        raise UserError(f"--devices {devices}: Ray itself assigns the cluster's GPUs; give auto, cpu or cuda")
    has_gpus = _resources().get("GPU", 0) > 0
    if devices == "cuda" and not has_gpus:
        raise UserError("--devices cuda: the Ray cluster has no GPU; use --devices cpu")
    return Share(cpus=1, gpus=gpus_per_worker if has_gpus and devices != "cpu" else 0)


def room(share: Share) -> int:
    """The number of workers that fit into the whole cluster, busy resources included; at least 1."""
    total = _resources()
    by_cpu = total.get("CPU", 0) / share.cpus
    return max(1, int(min(by_cpu, total.get("GPU", 0) / share.gpus) if share.gpus else by_cpu))


@dataclass(frozen=True)
class WorkerEnd:
    """How a worker process ended."""

    lived_s: float
    log_tail: str
    code: int | None = None
    """The exit code; None if its node is gone."""


class WorkerActor:
    """Starts a worker process on the node where Ray placed this actor."""

    def __init__(self, settings: Settings, study: str, index: int, device: str) -> None:
        share_with_group(settings.home)  # The worker's log is made in this process.
        self._worker = start_worker(settings, study, index, device=device, threads=1)
        self._worker.begin()

    def ready(self) -> None:
        """Return once the process is started."""

    def wait(self) -> WorkerEnd:
        """Wait until the process ends."""
        code = self._worker.process.wait()
        return WorkerEnd(self._worker.lived_s, self._worker.log_tail, code)

    def terminate(self) -> None:
        """Send one SIGTERM."""
        self._worker.process.send_signal(signal.SIGTERM)


_actor_class: Any = ray.remote(WorkerActor)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Actor:
    handle: Any
    ready: ray.ObjectRef[None]
    ended: ray.ObjectRef[WorkerEnd]
    started_at: float


class RayLauncher:
    """Keeps a fixed number of actors. Those that the cluster has no room for yet wait in Ray's queue."""

    def __init__(
        self, settings: Settings, study: str, share: Share, workers: int, *, timing: Timing = DEFAULT_TIMING
    ) -> None:
        self._settings = settings
        self._study = study
        self._share = share
        self._workers = workers
        self._running: dict[int, _Actor] = {}
        self._waiting: dict[int, float] = {}
        """When each worker whose GPU other programs fill is started again."""
        self._were_full: set[int] = set()
        self._timing = timing
        self._early_deaths = EarlyDeaths(workers, early_death_s=timing.early_death_s)
        self._signals = 0
        """SIGTERMs to send to each worker in all."""
        self._sent = 0
        self._connection = ExitStack()

    def prepare(self) -> None:
        """Do nothing: an actor would reserve resources of the cluster before there is work."""

    def start(self) -> None:
        """Connect to the cluster and start the workers as actors."""
        self._connection.enter_context(connected())
        self._running = {index: self._launch(index) for index in range(self._workers)}

    def restart_dead(self) -> int:
        """Replace workers that have ended and return how many ended."""
        self._send_signals()
        died = self._ended()
        for index in died:
            actor = self._running.pop(index)
            end = _end_of(actor)
            ray.kill(actor.handle)
            if self._signals:
                continue
            if end.code == DEVICE_FULL:
                self._wait_for_room(index, end)
            else:
                self._early_deaths.count(end.lived_s, end.log_tail, end.code)
                self._running[index] = self._launch(index)
        for index, retry_at in list(self._waiting.items()):
            if not self._signals and time.monotonic() >= retry_at:
                del self._waiting[index]
                self._running[index] = self._launch(index)
        return len(died)

    def _wait_for_room(self, index: int, end: WorkerEnd) -> None:
        """Other programs fill the worker's GPU: start it again later, maybe on another GPU."""
        self._waiting[index] = time.monotonic() + self._timing.full_gpu_s
        if index not in self._were_full:
            self._were_full.add(index)
            reason = end.log_tail.rpartition(" | ")[2].removeprefix("error: ")
            say(f"worker {index} is started again every {self._timing.full_gpu_s:.0f} s: {reason}")

    def drain(self) -> None:
        """Ask all workers to stop after their current trials. It only counts up, so a signal handler may call it."""
        self._signals += 1  # Sent by the next other call: a signal handler calls this one.

    def alive(self) -> int:
        """Return the number of running workers."""
        self._send_signals()
        return len(self._running) - len(self._ended())

    def stop(self) -> None:
        """Send SIGTERM repeatedly, then kill the actors whose workers still run."""
        deadline = time.monotonic() + self._timing.stop_s
        while self._running and self.alive() and time.monotonic() < deadline:
            self.drain()
            time.sleep(self._timing.stop_signal_s)
        for actor in self._running.values():
            ray.kill(actor.handle)
        self._running.clear()
        self._connection.close()

    def _ended(self) -> list[int]:
        by_ref = {actor.ended: index for index, actor in self._running.items()}
        return [by_ref[ref] for ref in _ready(list(by_ref))]

    def _send_signals(self) -> None:
        while self._sent < self._signals:
            self._sent += 1
            for index, actor in list(self._running.items()):
                if _ready([actor.ready]):
                    actor.handle.terminate.remote()
                else:  # It still waits for room in the cluster.
                    ray.kill(actor.handle)
                    del self._running[index]

    def _launch(self, index: int) -> _Actor:
        # Two threads: one waits for the process while the other sends it signals.
        options = {"num_cpus": self._share.cpus, "num_gpus": self._share.gpus, "max_concurrency": 2}
        device = "cuda:0" if self._share.gpus else "cpu"  # An actor sees only the GPU that Ray gave it.
        handle = _actor_class.options(**options).remote(self._settings, self._study, index, device)
        return _Actor(
            handle=handle, ready=handle.ready.remote(), ended=handle.wait.remote(), started_at=time.monotonic()
        )


def _resources() -> dict[str, float]:
    """The resources of the whole cluster, busy ones included."""
    return dict(ray.cluster_resources())  # type: ignore[no-untyped-call]


def _ready(refs: list[ray.ObjectRef[Any]]) -> list[ray.ObjectRef[Any]]:
    """The references whose call has returned or failed by now."""
    return list(ray.wait(refs, num_returns=len(refs), timeout=0)[0]) if refs else []


def _end_of(actor: _Actor) -> WorkerEnd:
    """How a worker ended, with Ray's error in the place of its log if its node is gone."""
    try:
        return ray.get(actor.ended)
    except RayError as error:
        return WorkerEnd(time.monotonic() - actor.started_at, str(error).strip().splitlines()[0])
