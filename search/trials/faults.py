"""Decides whether a trial is at fault for an error, and shortens errors for the record."""

from __future__ import annotations

import traceback

import torch

from data.disk_trouble import disk_trouble
from data.errors import ArtifactsAway, DeviceFull, LeaseLost
from data.text import first_line
from search.devices import FULL_SHARE
from search.store.retries import is_outage

TRACEBACK_LINES = 12
_OTHER_GPUS = "wait until the programs that use it end, or use other GPUs with --devices"


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


def raise_if_others_fill(device: torch.device) -> None:
    """Raise DeviceFull if other programs fill a GPU's memory; called after memory ran out."""
    if device.type != "cuda":
        return
    try:
        free_bytes, total_bytes = torch.cuda.mem_get_info(device)
    except RuntimeError as error:  # There is not even room for the driver's own data of this process.
        raise DeviceFull(f"{device}: {first_line(error)}; {_OTHER_GPUS}") from error
    others_bytes = total_bytes - free_bytes - torch.cuda.memory_reserved(device)
    if others_bytes > FULL_SHARE * total_bytes:
        raise DeviceFull(
            f"{device}: out of memory, because other programs use {others_bytes / 2**30:.1f} of "
            f"{total_bytes / 2**30:.1f} GiB; {_OTHER_GPUS}"
        )


def traceback_tail(error: BaseException) -> str:
    """The last lines of an error's traceback."""
    return "\n".join("".join(traceback.format_exception(error)).splitlines()[-TRACEBACK_LINES:])
