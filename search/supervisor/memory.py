"""Recognises a lack of memory in the supervisor's own measurements, which share the devices with the workers."""

from __future__ import annotations

import torch

from models.training.micro_batches import is_out_of_memory


def lacks_memory(error: BaseException) -> bool:
    """Whether an error means that a device, or the machine, has no memory left, for torch or for the driver itself."""
    from_driver = isinstance(error, torch.AcceleratorError) and "out of memory" in str(error)
    return from_driver or is_out_of_memory(error)
