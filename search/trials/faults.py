"""Decides whether a trial is at fault for an error, and shortens errors for the record."""

from __future__ import annotations

import traceback

import torch

from data.disk_trouble import disk_trouble
from data.errors import ArtifactsAway, LeaseLost
from search.store.retries import is_outage

TRACEBACK_LINES = 12


def raise_unless_trial_at_fault(error: Exception, device: torch.device) -> None:
    """Raise an error that the trial did not cause: a lost lease, a database or an object store that does not answer,
    a full disk, a broken device.

    A CUDA kernel may fail long after it was launched. If another error hides such a failure, torch.AcceleratorError is
    raised here.
    """
    innocent = isinstance(error, LeaseLost | ArtifactsAway | torch.AcceleratorError)
    if innocent or is_outage(error) or disk_trouble(error):
        raise error
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def traceback_tail(error: BaseException) -> str:
    """The last lines of an error's traceback."""
    return "\n".join("".join(traceback.format_exception(error)).splitlines()[-TRACEBACK_LINES:])


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
