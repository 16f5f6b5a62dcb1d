from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from torch import nn

from data.batches import EvalBatches
from models.values import with_values
from search.supervisor import measure_passes as module
from search.supervisor.measure_passes import measure_passes
from search.trials.workload import WorkloadBuilder
from tests.search.conftest import CONFIG, CPU


@pytest.mark.parametrize(("pixels", "images"), [(20 * 8 * 8, 20), (8 * 8, 16), (2**30, 287)])
def test_the_slowest_network_is_measured_and_scaled_to_all_images(
    digits: WorkloadBuilder, monkeypatch: pytest.MonkeyPatch, pixels: int, images: int
) -> None:
    monkeypatch.setattr(module, "_TIMED_PIXELS", pixels)
    seen: list[int] = []

    def slow(network: nn.Module, batches: EvalBatches) -> None:
        seen.append(sum(len(batch.labels_N) for batch in batches))
        time.sleep(0.05 if _filters(network) > 4 else 0.01)

    monkeypatch.setattr(module, "predict", slow)
    passes = measure_passes([CONFIG, with_values(CONFIG, {"filters": 8})], digits, CPU)
    search = digits.open_data(CONFIG).search
    assert seen == [images] * 4
    assert passes.val_s == pytest.approx(0.05 / images * len(search.val), rel=0.4)
    assert passes.train_s / passes.val_s == pytest.approx(len(search.train) / len(search.val))


def test_a_real_network_is_built_and_takes_time(digits: WorkloadBuilder) -> None:
    passes = measure_passes([CONFIG], digits, CPU)
    assert 0 < passes.val_s < passes.train_s


FULL = [torch.OutOfMemoryError("CUDA out of memory"), torch.AcceleratorError("CUDA error: out of memory")]


@pytest.mark.parametrize("error", FULL, ids=["torch", "driver"])
def test_a_network_that_finds_no_memory_beside_the_workers_reserves_nothing(
    error: RuntimeError, digits: WorkloadBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "predict", raising(error))
    assert measure_passes([CONFIG], digits, CPU).val_s == 0


def test_another_error_of_a_network_is_not_taken_for_a_lack_of_memory(
    digits: WorkloadBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "predict", raising(torch.AcceleratorError("CUDA error: unspecified launch failure")))
    with pytest.raises(torch.AcceleratorError, match="launch failure"):
        measure_passes([CONFIG], digits, CPU)


def raising(error: RuntimeError) -> Callable[[nn.Module, EvalBatches], None]:
    def fail(network: nn.Module, batches: EvalBatches) -> None:
        raise error

    return fail


def _filters(network: nn.Module) -> int:
    return max(part.out_channels for part in network.modules() if isinstance(part, nn.Conv2d))
