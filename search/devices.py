"""Which devices workers run on: `auto`, `cpu`, `cuda`, or `cuda:0,1`."""

from __future__ import annotations

import ctypes

from data.errors import UserError
from data.parallel import cpu_cores

_DRIVERS = ("libcuda.so.1", "libamdhip64.so", "nvcuda.dll")
"""GPU drivers. If none is installed, torch finds no GPU."""


def parse_devices(text: str) -> list[str]:
    """The torch devices that an option names. `auto` is every GPU, or the CPU if there is none.

    Raises UserError for a device that this machine does not have.
    """
    gpus = _gpus()
    if text == "auto":
        return gpus or ["cpu"]
    if text == "cpu":
        return ["cpu"]
    if text != "cuda" and not text.startswith("cuda:"):
        raise UserError(f"--devices {text}: give auto, cpu, cuda, or a list such as cuda:0,1")
    if not gpus:
        raise UserError(f"--devices {text}: torch finds no GPU on this machine; use --devices cpu")
    if text == "cuda":
        return gpus
    chosen = [f"cuda:{part.strip().removeprefix('cuda:')}" for part in text.removeprefix("cuda:").split(",")]
    for device in chosen:
        if device not in gpus:
            raise UserError(f"--devices {text}: this machine has no {device}, only {', '.join(gpus)}")
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
    """The default number of workers: one per GPU, or one per CPU core.

    On a CPU, two workers with one thread each are faster than one worker with two threads.
    """
    return cpu_cores() if devices == ["cpu"] else len(devices)
