"""Keeps a worker's leases while it trains, in a thread of its own: `search.trials.run_trial` may take hours.

The thread renews the leases, checks the time budget, which the next `sieve run` may change, and notices when the
supervisor is gone. It tells the training thread by a signal, because an epoch may last longer than a lease or a
deadline.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from data.errors import LeaseLost, StorageAway
from search.store.claims import Claim, renew
from search.store.storage import Storage
from search.timing import DEFAULT_TIMING, Timing
from search.trials.stage_end import StageEnd

OUT_OF_TIME_SIGNAL = signal.SIGUSR1
STOP_SIGNAL = signal.SIGTERM


@dataclass(eq=False)
class HeldLeases:
    """The leases of the trials that a worker has claimed and that have no result yet: one trial, or a gang."""

    claims: list[Claim]
    end: StageEnd
    lost: set[int] = field(default_factory=set)
    """Numbers of the trials that another worker has taken over."""
    renewed_at: float = field(default_factory=time.time)
    """When the leases were last known to be held, by a clock that also runs while the process or machine sleeps."""


class LeaseKeeper(threading.Thread):
    """Runs until `close`. The worker sets `held`; `show` is called at each renewal, to keep the worker visible."""

    def __init__(
        self, storage: Storage, *, supervisor_pid: int | None, show: Callable[[], None], timing: Timing = DEFAULT_TIMING
    ) -> None:
        super().__init__(name="lease keeper", daemon=True)
        self.held: HeldLeases | None = None
        self.supervisor_gone = threading.Event()
        """Set when the supervisor that started this worker has ended."""
        self._storage = storage
        self._supervisor_pid = supervisor_pid
        self._show = show
        self._timing = timing
        self._closing = threading.Event()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        self.join()

    def confirm(self, claim: Claim) -> None:
        """Raise LeaseLost if another worker has taken the trial over; called before anything about it is written."""
        assert self.held is not None
        if time.time() - self.held.renewed_at > self._timing.lease_s:  # The process or the machine slept.
            self._renew(self.held, self._storage)
        if claim.number in self.held.lost:
            raise LeaseLost(f"the lease of trial {claim.number} of {claim.optuna_study} expired")

    def run(self) -> None:
        """The thread's loop."""
        next_renewal = time.monotonic() + self._timing.renew_s
        while not self._closing.wait(self._timing.lease_tick_s):
            if self._supervisor_pid is not None and os.getppid() != self._supervisor_pid:
                self.supervisor_gone.set()
                os.kill(os.getpid(), STOP_SIGNAL)
                return
            try:
                held = self.held
                if held is not None and held.end.is_over() and held is self.held:
                    os.kill(os.getpid(), OUT_OF_TIME_SIGNAL)
                if time.monotonic() >= next_renewal:
                    next_renewal = time.monotonic() + self._timing.renew_s
                    if held is not None:
                        self._renew(held, self._storage.without_retries)
                        held.end.read()
                    self._show()
            except (StorageAway, SQLAlchemyError, StorageInternalError):
                # The training thread repeats the calls that matter, and a lease outlasts an outage.
                next_renewal = time.monotonic()

    def _renew(self, held: HeldLeases, storage: Storage) -> None:
        """Renew the leases, and note those that are lost."""
        now = time.time()
        for claim in tuple(held.claims):  # The worker adds and removes some at the same time.
            try:
                renew(storage, claim, lease_s=self._timing.lease_s)
            except LeaseLost:
                held.lost.add(claim.number)
        held.renewed_at = now
