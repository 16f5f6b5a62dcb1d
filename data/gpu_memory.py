"""The memory of a GPU that is free."""

from __future__ import annotations

import torch


def free_gpu_memory(device: torch.device) -> int:
    """Bytes of a GPU's memory that no program uses. Memory that torch keeps for later tensors is released first."""
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info(device)[0]
