"""What the driver says of the GPUs, from a program that speaks as `nvidia-smi` does."""

from __future__ import annotations

from pathlib import Path

import pytest

from search import gpus
from search.gpus import Gpu, read_gpus

SCRIPT = """#!/bin/sh
test "$1" = "--query-gpu=index,name,utilization.gpu,memory.used,memory.total" || exit 6
test "$2" = "--format=csv,noheader,nounits" || exit 6
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(SCRIPT + script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_every_gpu_is_read_and_values_that_the_driver_lacks_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "0, NVIDIA H200, 87, 12000, 143771\n1, NVIDIA H200, [N/A], [N/A], 143771\n"
    install(tmp_path, monkeypatch, f"printf '{lines}'")
    assert read_gpus() == [
        Gpu(index=0, name="NVIDIA H200", busy_percent=87, memory_used_mib=12000, memory_total_mib=143771),
        Gpu(index=1, name="NVIDIA H200", busy_percent=None, memory_used_mib=None, memory_total_mib=143771),
    ]


@pytest.mark.parametrize("script", ["echo 'No devices were found'; exit 6", "exec sleep 30"], ids=["none", "hangs"])
def test_a_driver_without_values_costs_no_time(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "TIMEOUT_S", 0.2)
    install(tmp_path, monkeypatch, script)
    assert read_gpus() == []


def test_a_machine_without_a_driver_has_no_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_gpus() == []
