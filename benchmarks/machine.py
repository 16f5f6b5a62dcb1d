"""The hardware and versions that a figure was measured with."""

from __future__ import annotations

import platform
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from data.parallel import cpu_cores

PACKAGES = ("torch", "torchvision", "optuna", "mlflow", "numpy")


def describe_machine() -> dict[str, Any]:
    """Return hardware and versions, for the file of results."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "cpu": _cpu_name(),
        "cores": cpu_cores(),
        "gpus": gpus,
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
    }


def describe_gpu() -> dict[str, str | None]:
    """Return the versions that decide how fast a GPU computes."""
    cudnn = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None
    return {
        "cuda": torch.version.cuda,
        "cudnn": None if cudnn is None else str(cudnn),
        "triton": version("triton") if find_spec("triton") else None,
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
