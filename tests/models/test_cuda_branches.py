"""On a real GPU: a gang of branches against the same trainings alone. `pytest -m gpu`."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from models.config import BackboneConfig, FlexCNNConfig, TrainConfig
from models.registry import build_model
from models.training.branch_limit import branch_limit
from models.training.branches import BranchGang
from models.training.cuda_graph import CudaGraphs
from models.training.fit import fit
from models.training.metrics import EpochMetrics
from tests.models.test_cuda_graph import GPU, Failing, batches_on_the_gpu

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]
SLOTS: list[dict[str, Any]] = [
    {"learning_rate": 0.01, "scheduler": "cosine"},
    {"learning_rate": 0.003, "weight_decay": 0.1, "dropout": 0.4, "label_smoothing": 0.2},
    {"learning_rate": 0.002, "scheduler": "one_cycle", "epochs": 2, "gradient_clip": 0.5, "ema_decay": 0.5},
]


def _model(config: TrainConfig, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(config, (1, 8, 8), 3)


def _gang(configs: list[TrainConfig], capture: CudaGraphs | None = None) -> tuple[BranchGang, list[nn.Module]]:
    train, val = batches_on_the_gpu(configs[0])
    dtype = torch.bfloat16 if configs[0].precision == "bf16" else torch.float32
    gang = BranchGang(train, val, classes=3, device=GPU, dtype=dtype, capture=capture or CudaGraphs(GPU))
    models = [_model(config, number) for number, config in enumerate(configs)]
    for number, (model, config) in enumerate(zip(models, configs, strict=True)):
        gang.admit(model, config, seed=number)
    return gang, models


def _assert_as_alone(
    config: TrainConfig, seed: int, own: list[EpochMetrics], model: nn.Module, tolerance: float = 5e-3
) -> None:
    twin = _model(config, seed)
    alone = list(fit(twin, *batches_on_the_gpu(config), config, classes=3, device=GPU, seed=seed))
    assert len(own) == len(alone)
    for one, other in zip(own, alone, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=tolerance)
        assert one.val_loss == pytest.approx(other.val_loss, rel=tolerance)
    ours, theirs = (
        torch.cat([parameter.detach().flatten().to(GPU) for parameter in network.parameters()])
        for network in (model, twin)
    )
    assert float((ours - theirs).norm() / theirs.norm()) < tolerance


def test_each_branch_trains_as_it_would_alone(tiny: FlexCNNConfig) -> None:
    shared = dataclasses.replace(tiny, epochs=3, gradient_clip=1.0, ema_decay=0.9, precision="fp32")
    configs: list[TrainConfig] = [dataclasses.replace(shared, **slot) for slot in SLOTS]
    gang, models = _gang(configs)

    epochs = list(gang)

    assert {metrics.steps for epoch in epochs for metrics in epoch.values()} == {"captured"}
    for number, (config, model) in enumerate(zip(configs, models, strict=True)):
        _assert_as_alone(config, number, [epoch[number] for epoch in epochs if number in epoch], model)


def test_resnets_in_bfloat16_are_branches_too() -> None:
    config = BackboneConfig(
        backbone="resnet18", weights="none", stem="small", image_size=8, freezing="unfreeze_all", batch_size=80,
        epochs=3, optimizer="sgd", learning_rate=0.003, dropout=0.1, precision="bf16",
    )  # fmt: skip
    configs: list[TrainConfig] = [config, dataclasses.replace(config, learning_rate=0.001)]
    gang, models = _gang(configs)

    epochs = list(gang)

    assert epochs[-1][0].steps == "captured"
    for number, (own, model) in enumerate(zip(configs, models, strict=True)):
        _assert_as_alone(own, number, [epoch[number] for epoch in epochs], model, tolerance=5e-2)


def test_a_free_branch_takes_the_next_trial(tiny: FlexCNNConfig) -> None:
    shared = dataclasses.replace(tiny, precision="fp32")
    configs: list[TrainConfig] = [dataclasses.replace(shared, epochs=epochs) for epochs in (1, 4)]
    later = dataclasses.replace(shared, learning_rate=0.0005, weight_decay=0.3, label_smoothing=0.3, epochs=3)
    gang, models = _gang(configs)
    late_model, epochs = _model(later, 5), []
    for epoch in gang:
        epochs.append(epoch)
        if len(epochs) == 1:
            gang.admit(late_model, later, seed=5)

    _assert_as_alone(configs[1], 1, [epoch[1] for epoch in epochs], models[1])
    _assert_as_alone(later, 5, [epoch[2] for epoch in epochs if 2 in epoch], late_model)


def test_a_gang_whose_capture_fails_trains_eagerly_and_the_next_gang_is_captured(tiny: FlexCNNConfig) -> None:
    configs: list[TrainConfig] = [dataclasses.replace(tiny, precision="fp32")] * 2
    gang, models = _gang(configs, Failing(GPU))

    epochs = list(gang)

    assert epochs[0][0].steps.startswith("eager: the capture failed: ")
    _assert_as_alone(configs[1], 1, [epoch[1] for epoch in epochs], models[1])
    assert list(_gang(configs)[0])[-1][0].steps == "captured"


def test_branches_are_counted_by_what_they_gain_and_leave_no_memory_behind(tiny: FlexCNNConfig) -> None:
    train, _ = batches_on_the_gpu(tiny)

    def measure() -> int:
        limit = branch_limit(
            _model(tiny, 0), tiny, train,
            classes=3, device=GPU, dtype=torch.float32, capture=CudaGraphs(GPU), most=8,
        )  # fmt: skip
        return limit.count

    assert 2 <= measure() <= 8
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    measure()
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() < before + 2**20
