"""Which devices workers run on: `auto`, `cpu`, `cuda`, or `cuda:0,1`."""

from __future__ import annotations

import ctypes

from data.errors import UserError
from data.parallel import cpu_cores

_DRIVERS = ("libcuda.so.1", "libamdhip64.so", "nvcuda.dll")
"""Without one of them torch has no GPU to see."""


def parse_devices(text: str) -> list[str]:
    """`auto` is every GPU, or the CPU where there is none; raises UserError for a device that is not there."""
    gpus = _gpus()
    if text == "auto":
        return gpus or ["cpu"]
    if text == "cpu":
        return ["cpu"]
    if text != "cuda" and not text.startswith("cuda:"):
        raise UserError(f"--devices {text}: give auto, cpu, cuda, or a list such as cuda:0,1")
    if not gpus:
        raise UserError(f"--devices {text}: torch sees no GPU on this machine; use --devices cpu")
    if text == "cuda":
        return gpus
    chosen = [f"cuda:{part.strip().removeprefix('cuda:')}" for part in text.removeprefix("cuda:").split(",")]
    for device in chosen:
        if device not in gpus:
            raise UserError(f"--devices {text}: there is no {device} on this machine, only {', '.join(gpus)}")
    return chosen


def _gpus() -> list[str]:
    if not any(map(_is_installed, _DRIVERS)):
        return []
    import torch  # Here, so that a search on a CPU starts without it: the import takes seconds.

    return [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []


def _is_installed(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def default_workers(devices: list[str]) -> int:
    """One worker per GPU; on the CPU one per core, since two one-thread workers beat one of two threads."""
    return cpu_cores() if devices == ["cpu"] else len(devices)
