"""Checks of the CPU and GPUs of this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import torch

from data.parallel import cpu_cores
from search.doctor.finding import Finding, broken, ok, warning

DEVICES = "devices"


def check_devices() -> Iterator[Finding]:
    """Whether each GPU computes; on a machine without one, the CPU is reported."""
    if not torch.cuda.is_available():
        yield ok(DEVICES, f"cpu, {cpu_cores()} cores, torch {torch.__version__}")
        if shutil.which("nvidia-smi"):
            mend = "install a torch for this driver: https://pytorch.org/get-started"
            yield warning(DEVICES, "there is an NVIDIA driver, but torch finds no GPU", mend)
        return
    for index in range(torch.cuda.device_count()):
        device = torch.device("cuda", index)
        try:
            torch.ones(1, device=device).sum().item()
            free_bytes, total_bytes = torch.cuda.mem_get_info(device)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            yield broken(DEVICES, f"{device} does not compute: {reason}", f"leave {device} out of --devices")
            continue
        memory = f"{free_bytes / 2**30:.1f} of {total_bytes / 2**30:.1f} GiB free"
        yield ok(DEVICES, f"{device} {torch.cuda.get_device_name(device)}, {memory}")
