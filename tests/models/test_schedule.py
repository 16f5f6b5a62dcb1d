from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from models.config import FlexCNNConfig
from models.training.schedule import learning_rate

STEPS_PER_EPOCH = 7
EPOCHS = 12
STEPS = STEPS_PER_EPOCH * EPOCHS


def _ours(**fields: Any) -> list[float]:
    config = FlexCNNConfig(epochs=EPOCHS, learning_rate=0.1, **fields)
    return [learning_rate(step, config, STEPS_PER_EPOCH) for step in range(STEPS)]


def _torchs(build: type[LRScheduler] | Any, **arguments: Any) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = build(optimizer, **arguments)
    rates = [scheduler.get_last_lr()[0]]
    for _ in range(STEPS - 1):
        optimizer.step()
        scheduler.step()
        rates.append(scheduler.get_last_lr()[0])
    return rates  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("fields", "build", "arguments"),
    [
        ({"scheduler": "constant"}, lr_scheduler.ConstantLR, {"factor": 1.0}),
        ({"scheduler": "cosine"}, lr_scheduler.CosineAnnealingLR, {"T_max": STEPS}),
        (
            {"scheduler": "step", "step_epochs": 5, "step_gamma": 0.3},
            lr_scheduler.StepLR,
            {"step_size": 5 * STEPS_PER_EPOCH, "gamma": 0.3},
        ),
        (
            {"scheduler": "constant", "warmup_epochs": 2},
            lr_scheduler.LinearLR,
            {"start_factor": 1 / 14, "total_iters": 13},
        ),
    ],
)
def test_a_schedule_is_that_of_torch(fields: dict[str, Any], build: Any, arguments: dict[str, Any]) -> None:
    assert _ours(**fields) == pytest.approx(_torchs(build, **arguments))


@pytest.mark.parametrize(("warmup_epochs", "rise_share"), [(0, 0.3), (6, 0.5), (1.2, 0.1)])
def test_one_cycle_is_that_of_torch(warmup_epochs: float, rise_share: float) -> None:
    ours = _ours(scheduler="one_cycle", warmup_epochs=warmup_epochs)

    expected = _torchs(
        lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=STEPS, pct_start=rise_share, cycle_momentum=False
    )
    assert ours == pytest.approx(expected)


def test_warm_up_comes_before_the_whole_schedule() -> None:
    rates = _ours(scheduler="cosine", warmup_epochs=2)

    assert rates[:14] == pytest.approx([0.1 * (step + 1) / 14 for step in range(14)])
    assert rates[14] == pytest.approx(0.1) and rates[15] < 0.1
    assert 0 < rates[-1] < 0.001


@pytest.mark.parametrize("scheduler", ["constant", "cosine", "step", "one_cycle"])
@pytest.mark.parametrize("warmup_epochs", [0, 0.01, 1, 12, 100])
@pytest.mark.parametrize("steps_per_epoch", [1, 5])
def test_every_step_has_a_rate_between_0_and_the_configured_one(
    scheduler: Any, warmup_epochs: float, steps_per_epoch: int
) -> None:
    for epochs in (1, 2, 12):
        config = FlexCNNConfig(epochs=epochs, scheduler=scheduler, warmup_epochs=warmup_epochs, learning_rate=0.1)
        for step in range(epochs * steps_per_epoch):
            assert 0 <= learning_rate(step, config, steps_per_epoch) <= 0.1 + 1e-12
