from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from data.batches import EvalBatches
from models.values import with_values
from search.supervisor import measure_passes as module
from search.supervisor.measure_passes import measure_passes
from search.trials.workload import WorkloadBuilder
from tests.search.conftest import CONFIG, CPU


def test_the_slowest_network_is_measured_and_scaled_to_all_images(
    digits: WorkloadBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def slow(network: nn.Module, batches: EvalBatches) -> None:
        seen.append(sum(len(batch.labels_N) for batch in batches))
        time.sleep(0.05 if _filters(network) > 4 else 0.01)

    monkeypatch.setattr(module, "predict", slow)
    passes = measure_passes([CONFIG, with_values(CONFIG, {"filters": 8})], digits, CPU)
    search = digits.open_data(CONFIG).search
    assert seen == [16] * 4
    assert passes.val_s == pytest.approx(0.05 / 16 * len(search.val), rel=0.4)
    assert passes.train_s / passes.val_s == pytest.approx(len(search.train) / len(search.val))


def test_a_real_network_is_built_and_takes_time(digits: WorkloadBuilder) -> None:
    passes = measure_passes([CONFIG], digits, CPU)
    assert 0 < passes.val_s < passes.train_s


def test_a_network_that_finds_no_memory_beside_the_workers_reserves_nothing(
    digits: WorkloadBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(network: nn.Module, batches: EvalBatches) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "predict", full)
    assert measure_passes([CONFIG], digits, CPU).val_s == 0


def _filters(network: nn.Module) -> int:
    return max(part.out_channels for part in network.modules() if isinstance(part, nn.Conv2d))
