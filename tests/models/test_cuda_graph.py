"""On a real GPU: captured steps against eager ones, and what a failed capture leaves behind. `pytest -m gpu`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, get_args

import pytest
import torch
from torch import nn

from data.augment import Augmentation
from data.batches import EvalBatches, TrainBatches, to_device
from models.config import Activation, BackboneConfig, FlexCNNConfig, Optimizer, TrainConfig
from models.registry import build_model
from models.training.capture import Branch, CaptureChoice
from models.training.cuda_graph import CudaGraphs
from models.training.fit import fit
from models.training.metrics import EpochMetrics
from tests.models.conftest import STATISTICS, stripes

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]
GPU = torch.device("cuda", 0)
CONFIGS: list[dict[str, Any]] = [
    *({"activation": activation} for activation in get_args(Activation)),
    *({"optimizer": optimizer, "scheduler": "one_cycle"} for optimizer in get_args(Optimizer)),
    *({"pooling": pooling} for pooling in ("avg", "none")),
    *({"dropout_where": where, "batch_norm": norm} for where in ("conv", "both") for norm in (True, False)),
    {"ema_decay": 0.9, "gradient_clip": 1.0, "class_weights": "inverse_frequency", "label_smoothing": 0.1},
    {"mixup": 0.2, "cutmix": 1.0, "focal_gamma": 2.0, "sampling": "balanced"},
    {"rotation": 15.0, "resized_crop": 0.6, "color_jitter": 0.2, "crop_padding": 1, "erasing": 0.5},
    {"auto_augment": "trivial_augment"},
    {"auto_augment": "rand_augment", "flip": 0.5},
]


class Uncaptured(CudaGraphs):
    """Replays by doing the work again: eager steps in the form, and on the streams, of captured ones."""

    def capture(self, branches: Sequence[Branch]) -> Any:
        return _Again(self, branches)


class _Again:
    def __init__(self, graphs: CudaGraphs, branches: Sequence[Branch]) -> None:
        self.graphs, self.branches = graphs, branches

    def __call__(self) -> None:
        self.graphs.run(self.branches)

    def release(self) -> None:
        pass


def _graphs(kind: type[CudaGraphs] = CudaGraphs) -> CudaGraphs:
    graphs = kind(GPU)
    graphs.worthwhile_steps = 0
    return graphs


def batches_on_the_gpu(config: TrainConfig) -> tuple[TrainBatches, EvalBatches]:
    train = TrainBatches(
        to_device(stripes(400, seed=1), GPU), batch_size=config.batch_size, augmentation=Augmentation.of(config),
        balanced=config.sampling == "balanced", **STATISTICS,
    )  # fmt: skip
    return train, EvalBatches(to_device(stripes(100, seed=2), GPU), batch_size=32, **STATISTICS)


def _train(config: TrainConfig, capture: CaptureChoice) -> tuple[list[EpochMetrics], nn.Module]:
    torch.manual_seed(7)
    model = build_model(config, (1, 8, 8), 3)
    train, val = batches_on_the_gpu(config)
    return list(fit(model, train, val, config, classes=3, device=GPU, seed=3, capture=capture)), model


def _assert_same(config: TrainConfig, tolerance: float) -> None:
    (history, model), (eager, twin) = _train(config, _graphs()), _train(config, _graphs(Uncaptured))
    assert [metrics.steps for metrics in history] == ["captured"] * config.epochs
    for one, other in zip(history, eager, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=tolerance)
        assert one.val_loss == pytest.approx(other.val_loss, rel=tolerance)
    ours, theirs = (
        torch.cat([parameter.detach().flatten() for parameter in network.parameters()]) for network in (model, twin)
    )
    assert float((ours - theirs).norm() / theirs.norm()) < tolerance


@pytest.mark.parametrize("fields", CONFIGS, ids=str)
def test_captured_steps_equal_eager_steps(tiny: FlexCNNConfig, fields: dict[str, Any]) -> None:
    _assert_same(dataclasses.replace(tiny, epochs=3, precision="fp32", **fields), tolerance=2e-3)


@pytest.mark.parametrize("freezing", ["unfreeze_all", "gradual"])
def test_a_resnet_in_bfloat16_is_captured(freezing: Any) -> None:
    config = BackboneConfig(
        backbone="resnet18", weights="none", stem="small", image_size=8, freezing=freezing, batch_size=80, epochs=4,
        optimizer="sgd", learning_rate=0.01, dropout=0.1, precision="bf16",
    )  # fmt: skip
    _assert_same(config, tolerance=5e-2)


def test_the_same_seed_gives_the_same_training_and_draws_differ_from_step_to_step(tiny: FlexCNNConfig) -> None:
    config = dataclasses.replace(tiny, dropout=0.5, learning_rate=1e-30)  # weights stay: losses differ by draws alone
    (first, _), (again, _) = (_train(config, _graphs()) for _ in range(2))

    assert [m.train_loss for m in first] == pytest.approx([m.train_loss for m in again], rel=1e-4)
    assert len({m.train_loss for m in first}) == config.epochs


class Failing(CudaGraphs):
    """Waits for the device in the middle of every capture, which CUDA does not permit."""

    def capture(self, branches: Sequence[Branch]) -> Any:
        def body(branch: Branch) -> None:
            branch.body()
            torch.rand(4, device=GPU).sum().item()

        return super().capture(
            [dataclasses.replace(branch, body=lambda branch=branch: body(branch)) for branch in branches]  # type: ignore[misc]
        )


@pytest.mark.parametrize("branches", [1, 2])
def test_a_capture_that_fails_leaves_the_process_usable(tiny: FlexCNNConfig, branches: int) -> None:
    own = [torch.Generator(GPU).manual_seed(number) for number in range(branches)]
    total = torch.zeros(4, device=GPU)
    work = [
        Branch(
            body=lambda generator=generator: total.add_(torch.rand(4, device=GPU, generator=generator)),  # type: ignore[misc]
            generators=(generator,),
            dropout=torch.Generator(GPU).manual_seed(9),
        )
        for generator in own
    ]
    failing = Failing(GPU)
    failing.run(work)
    torch.cuda.manual_seed(5)
    expected = torch.rand(3, device=GPU)
    torch.cuda.manual_seed(5)

    with pytest.raises(RuntimeError):
        failing.capture(work)

    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert torch.equal(torch.rand(3, device=GPU), expected)
    assert all(torch.isfinite(torch.rand(3, device=GPU, generator=generator)).all() for generator in own)
    torch.cuda.empty_cache()
    assert float(torch.ones(1000, 1000, device=GPU).sum()) == 1e6
    _assert_same(tiny, tolerance=2e-3)  # the next capture succeeds


def test_a_training_whose_captures_fail_is_run_one_by_one(tiny: FlexCNNConfig) -> None:
    history, _ = _train(tiny, _graphs(Failing))
    eager, _ = _train(tiny, _graphs(Uncaptured))

    assert all(metrics.steps.startswith("eager: the capture failed: ") for metrics in history)
    assert [m.val_loss for m in history] == pytest.approx([m.val_loss for m in eager], rel=2e-3)


def test_many_trainings_leave_no_memory_behind(tiny: FlexCNNConfig) -> None:
    config = dataclasses.replace(tiny, epochs=1)
    _train(config, _graphs())
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(5):
        _train(config, _graphs())
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() < before + 2**20
