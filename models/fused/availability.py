"""Finds out whether this machine can compile and run the kernels, once for each device, by running one."""

from __future__ import annotations

import logging

import torch

logger = logging.getLogger(__name__)

OLDEST_CAPABILITY = (8, 0)
"""Compute capability of Ampere, the first NVIDIA GPUs that support bfloat16."""

_available: dict[torch.device, bool] = {}


def is_available(device: torch.device) -> bool:
    """Whether Triton's kernels run on this device. The first call for a device takes up to a few seconds.

    During the capture of a CUDA graph, when nothing may be compiled, it is False for a device that was not tried yet.
    """
    if device not in _available:
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            return False
        _available[device] = _try(device)
    return _available[device]


def withdraw(device: torch.device, reason: str) -> None:
    """Run no more kernels on this device in this process, and log the reason."""
    _available[device] = False
    logger.warning("Layers are not fused on %s, training is slower: %s", device, reason)


def _try(device: torch.device) -> bool:
    if device.type == "cuda" and (
        torch.version.cuda is None or torch.cuda.get_device_capability(device) < OLDEST_CAPABILITY
    ):
        return False
    try:
        from models.fused.kernel_calls import run_probe

        works = run_probe(device)
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:  # E.g. no Triton on this platform, no C compiler, a cache that is read-only.
        withdraw(device, f"{type(error).__name__}: {error}")
        return False
    if not works:
        withdraw(device, "Triton's kernels give wrong numbers")
    return works
