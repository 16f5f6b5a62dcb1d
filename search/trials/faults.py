"""Whose fault it is that a trial did not end well."""

from __future__ import annotations

import traceback

import torch

from data.errors import ArtifactsAway, LeaseLost
from data.files import disk_trouble
from search import names
from search.store.claims import release, renew
from search.store.retries import is_outage
from search.store.storage import Storage
from search.trials.trial_run import TrialRun

TRACEBACK_LINES = 12
MAX_RETRIES = 1
"""So often a trial is tried again, by another process, after it broke the one that ran it."""


def raise_unless_its_own(error: Exception, device: torch.device) -> None:
    """Raise what a trial is not to be blamed for: a lost lease, a database or store that is away, a full disk,
    a broken device.

    A kernel may fail long after it was started: what another error hides, raises torch.AcceleratorError here.
    """
    innocent = isinstance(error, LeaseLost | ArtifactsAway | torch.AcceleratorError)
    if innocent or is_outage(error) or disk_trouble(error):
        raise error
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def try_elsewhere(storage: Storage, run: TrialRun) -> bool:
    """Put a trial that broke its process back into the queue; False where that was done often enough.

    Raises LeaseLost if it is not this worker's any more.
    """
    if run.faults >= MAX_RETRIES:
        return False
    renew(storage, run.claim)
    run.context.epoch_log.write()
    storage.trials.set_trial_user_attr(run.claim.trial_id, names.FAULTS, run.faults + 1)
    release(storage, run.claim)
    return True


def traceback_tail(error: BaseException) -> str:
    """The last lines of an error's traceback."""
    return "\n".join("".join(traceback.format_exception(error)).splitlines()[-TRACEBACK_LINES:])


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
