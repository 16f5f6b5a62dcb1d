"""The thread beside a worker's training: renews the lease, watches the clock, notices that the supervisor is gone.

What it finds reaches the training thread as a signal, since an epoch may last longer than a lease or a deadline.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from data.errors import LeaseLost, StorageAway
from search.store.claims import LEASE_S, Claim, renew
from search.store.storage import Storage

TICK_S = 1.0
RENEW_S = LEASE_S / 6
OUT_OF_TIME_SIGNAL = signal.SIGUSR1
STOP_SIGNAL = signal.SIGTERM


@dataclass(eq=False)
class Watched:
    """The trials that the worker trains now: one, or a gang."""

    claims: tuple[Claim, ...]
    is_out_of_time: Callable[[], bool]
    lost: set[int]
    """Numbers of trials whose leases belong to somebody else by now."""
    renewed_at: float = field(default_factory=time.time)
    """When the leases were last known to be held, on a clock that goes on while the process or machine sleeps."""


class Keeper(threading.Thread):
    """Runs until `close`. `watched` is set by the worker; `show` is called now and then, to say that it lives."""

    def __init__(self, storage: Storage, *, supervisor_pid: int | None, show: Callable[[], None]) -> None:
        super().__init__(name="keeper", daemon=True)
        self.watched: Watched | None = None
        self.abandoned = threading.Event()
        """Set when the supervisor that started this worker is gone."""
        self._storage = storage
        self._supervisor_pid = supervisor_pid
        self._show = show
        self._closing = threading.Event()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        self.join()

    def run(self) -> None:
        """The thread's work."""
        next_renewal = time.monotonic() + RENEW_S
        while not self._closing.wait(TICK_S):
            if self._supervisor_pid is not None and os.getppid() != self._supervisor_pid:
                self.abandoned.set()
                os.kill(os.getpid(), STOP_SIGNAL)
                return
            try:
                watched = self.watched
                if watched is not None and watched.is_out_of_time() and watched is self.watched:
                    os.kill(os.getpid(), OUT_OF_TIME_SIGNAL)
                if time.monotonic() >= next_renewal:
                    next_renewal = time.monotonic() + RENEW_S
                    self._renew(watched)
            except StorageAway:
                next_renewal = time.monotonic()  # The training thread retries what matters; a lease outlives an outage.

    def _renew(self, watched: Watched | None) -> None:
        if watched is not None:
            renew_all(self._storage.without_retries, watched)
        self._show()


def renew_all(storage: Storage, watched: Watched) -> None:
    """Renew the leases of all watched trials, and note which are lost."""
    now = time.time()
    for claim in watched.claims:
        try:
            renew(storage, claim)
        except LeaseLost:
            watched.lost.add(claim.number)
    watched.renewed_at = now
