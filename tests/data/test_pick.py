"""Batches made by kernels: equal to those of torch, checked in a process in which Triton interprets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from data.augment import Augmentation
from data.pick import Pool, agrees, has_kernels


@pytest.mark.slow
def test_the_kernels_give_what_torch_gives() -> None:
    pytest.importorskip("triton")
    environment = os.environ if torch.cuda.is_available() else {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/data/picked_by_kernels.py"]
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=250)
    assert result.returncode == 0, result.stdout[-3000:]
    assert " passed" in result.stdout and "skipped" not in result.stdout


def test_a_cpu_has_no_kernels() -> None:
    assert not has_kernels(torch.device("cpu"))


def test_kernels_that_cannot_run_are_logged_and_not_used(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("triton")
    images = torch.zeros(4, 8, 8, 3, dtype=torch.uint8)  # On a CPU, where they do not run in this process.
    pool = Pool(
        images_MHWC=images,
        rows_M=torch.arange(4),
        table_C256=torch.zeros(3, 256),
        fill_C=torch.zeros(3, dtype=torch.uint8),
    )
    assert not agrees(pool, Augmentation(flip=0.5), lambda images: images.float())
    assert "are made without Triton kernels, which" in caplog.text
