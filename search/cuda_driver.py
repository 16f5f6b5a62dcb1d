"""The number of NVIDIA GPUs, asked of the driver: importing torch for that would delay every start by seconds."""

from __future__ import annotations

import ctypes
import importlib.util
import runpy
from pathlib import Path

_DRIVER = "libcuda.so.1"
_NO_GPU = 100
"""The driver's error code `CUDA_ERROR_NO_DEVICE`."""


def count_gpus() -> int | None:
    """The number of GPUs that torch can use, as it counts them; None if only torch itself can tell.

    `CUDA_VISIBLE_DEVICES` is respected. A driver supports every minor version of its CUDA version, and of earlier ones.
    """
    needed = _torch_cuda()
    if needed is None:
        return None
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return None
    error = driver.cuInit(0)
    if error == _NO_GPU:
        return 0
    version, count = ctypes.c_int(), ctypes.c_int()
    if error or driver.cuDriverGetVersion(ctypes.byref(version)) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return None
    return count.value if version.value // 1000 >= needed else None


def _torch_cuda() -> int | None:
    """The major version of CUDA that the installed torch was built for; None if it was built without CUDA."""
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        return None
    try:
        version = runpy.run_path(str(Path(torch.origin).with_name("version.py"))).get("cuda")
    except OSError:
        return None
    return int(str(version).partition(".")[0]) if version else None
