"""The devices that an option names: `auto`, `cpu`, `cuda`, or `cuda:0,1`."""

from __future__ import annotations

import ctypes
import os

from data.errors import UserError
from data.parallel import cpu_cores
from search.cuda_driver import count_gpus
from search.gpus import are_numbered_alike, driver_indices, read_gpus
from search.terminal import say

_DRIVERS = ("libcuda.so.1", "libamdhip64.so", "nvcuda.dll")
"""GPU drivers. If none is installed, torch finds no GPU."""
FULL_SHARE = 0.9
"""If more than this share of a GPU's memory is in use, `auto` leaves it to the programs that use it, a worker that
lacks memory there ends, and no other one is started.

The last two share one threshold, or workers would end and start again and again between them. It is high, because a
search that has only this GPU waits above it: below, it goes on, and networks that need more memory are infeasible.
"""


def parse_devices(text: str, option: str = "--devices") -> list[str]:
    """The torch devices that an option names. `auto` is every GPU, or the CPU if there is none.

    If other programs fill some of the GPUs, `auto` leaves those out and prints a line about each.

    Raises UserError, which names the option, for a device that this machine does not have.
    """
    gpus = _gpus()
    if text == "auto":
        return _with_room(gpus) or ["cpu"]
    if text == "cpu":
        return ["cpu"]
    if text != "cuda" and not text.startswith("cuda:"):
        raise UserError(f"{option} {text}: give auto, cpu, cuda, or a GPU's name such as cuda:0")
    if not gpus:
        raise UserError(f"{option} {text}: torch finds no GPU on this machine; use {option} cpu")
    if text == "cuda":
        return gpus
    chosen = [f"cuda:{part.strip().removeprefix('cuda:')}" for part in text.removeprefix("cuda:").split(",")]
    for device in chosen:
        if device not in gpus:
            raise UserError(f"{option} {text}: this machine has no {device}, only {', '.join(gpus)}")
    return chosen


def _gpus() -> list[str]:
    if not any(map(_is_installed, _DRIVERS)):
        return []
    count = count_gpus()
    if count is None:
        import torch  # Here, so that most searches start without it: the import takes seconds.

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [f"cuda:{index}" for index in range(count)]


def _with_room(devices: list[str]) -> list[str]:
    """The GPUs without those that other programs fill; all of them if all are full."""
    if len(devices) < 2:
        return devices
    index_of, read = driver_indices(devices, os.environ.get("CUDA_VISIBLE_DEVICES")), read_gpus()
    if not read or not are_numbered_alike(read):
        return devices
    gpus = {gpu.index: gpu for gpu in read}
    lines = {}
    for device, index in index_of.items():
        gpu = gpus.get(index)
        if gpu is not None and (gpu.memory_share or 0.0) > FULL_SHARE:
            assert gpu.memory_used_mib is not None and gpu.memory_total_mib is not None
            lines[device] = (
                f"{device} is left out: other programs use {gpu.memory_used_mib / 1024:.1f} of "
                f"{gpu.memory_total_mib / 1024:.1f} GiB; give its name to use it all the same"
            )
    if len(lines) == len(devices):
        return devices
    for line in lines.values():
        say(line)
    return [device for device in devices if device not in lines]


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


def cores_per_worker(workers: int) -> int:
    """The CPU cores of this machine that each of its workers may use, at least one."""
    return max(1, cpu_cores() // max(1, workers))


def threads_per_worker(device: str, workers: int) -> int:
    """The number of threads with which a worker trains: one on a GPU, where the CPU only sends kernels."""
    return cores_per_worker(workers) if device == "cpu" else 1
