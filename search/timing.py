"""How long workers and supervisors wait, in one place: intervals, leases and time limits, all in seconds.

A worker, a launcher or a stage runner is given a `Timing`; tests give one with shorter times.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The intervals and limits of one process. Every field is in seconds."""

    outage_s: float = 60.0
    """A call to the database or to the object store is repeated for this long before it is given up."""

    lease_s: float = outage_s + 30.0
    """A worker that has not renewed its lease for this long loses its trial. Longer than an outage, which alone must
    not cost a trial."""
    renew_s: float = lease_s / 6
    """Between two renewals of a lease."""
    lease_tick_s: float = 1.0
    """Between two checks of the thread that keeps leases: is the time budget used up, is the supervisor still there?"""
    claim_poll_s: float = 0.2
    """Between two attempts of an idle worker to claim a trial."""
    status_s: float = 1.0
    """Between two status updates of a worker that trains; nobody reads them faster."""
    read_trials_s: float = 1.0
    """Between two readings of other trials' results within a trial; a trial that begins always reads them."""
    write_epochs_s: float = 0.25
    """Epochs that end within this time of the last write are written together."""
    back_up_s: float = 30.0
    """Between two uploads of checkpoints to an object store. A trial that moves to another machine repeats at most this
    much work, or one epoch if an epoch takes longer."""
    watchdog_tick_s: float = 1.0
    """Between two checks whether the training makes progress."""
    watchdog_grace_s: float = 60.0
    """Python's own watchdog ends the process this long after ours should have."""

    stage_poll_s: float = 0.25
    """Between two checks of a supervisor on the trials of its open stage."""
    early_death_s: float = 20.0
    """A worker that dies within this time of its start may be at fault itself, instead of its trial."""
    stop_s: float = 30.0
    """Workers that are asked to stop and still run after this time are killed."""
    stop_signal_s: float = 0.2
    """Between two signals to workers that have to stop: two in the same instant count as one."""
    gpu_reading_s: float = 5.0
    """Between two readings of how busy and how full the GPUs are."""
    full_gpu_s: float = 60.0
    """Between two attempts to train on a GPU that other programs fill, if its memory is not known."""
    notify_s: float = 10.0
    """Time limit of a notification, name resolution and slow answers included."""
    notify_answer_s: float = 5.0
    """Time limit for the connection of a notification, and again for the first byte of its answer."""


DEFAULT_TIMING = Timing()
