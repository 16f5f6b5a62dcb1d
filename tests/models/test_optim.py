from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import nn

from models.config import FlexCNNConfig, Optimizer
from models.flexcnn import FlexCNN
from models.training.optim import build_optimizer, set_learning_rate


@pytest.mark.parametrize("optimizer", get_args(Optimizer))
def test_every_optimizer_lowers_the_loss(optimizer: Optimizer) -> None:
    torch.manual_seed(0)
    config = FlexCNNConfig(conv_layers=2, filters=8, dense_width=8, optimizer=optimizer, weight_decay=0.01)
    model = FlexCNN(config, (1, 8, 8), 2)
    steps = build_optimizer(model, config)
    images, labels = torch.randn(16, 1, 8, 8), torch.arange(16) % 2

    losses = []
    for _ in range(20):
        set_learning_rate(steps, 0.01)
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        steps.step()
        steps.zero_grad()
        losses.append(loss.item())

    assert losses[-1] < 0.85 * losses[0]


def _after_steps_without_gradient(**fields: Any) -> dict[str, torch.Tensor]:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    optimizer = build_optimizer(model, FlexCNNConfig(**fields))
    for parameter in model.parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    set_learning_rate(optimizer, 0.1)
    optimizer.step()
    return dict(model.named_parameters())


@pytest.mark.parametrize("optimizer", get_args(Optimizer))
def test_weight_decay_shrinks_weights_but_neither_norms_nor_biases(optimizer: Optimizer) -> None:
    after = _after_steps_without_gradient(optimizer=optimizer, weight_decay=0.5)

    for name, parameter in after.items():
        shrinks = name in ("0.weight", "3.weight")
        assert bool((parameter < 1).all()) is shrinks and bool((parameter == 1).all()) is not shrinks, name


def test_only_adamw_decouples_the_weight_decay_from_the_gradient() -> None:
    decoupled = _after_steps_without_gradient(optimizer="adamw", weight_decay=0.5)["0.weight"]
    coupled = _after_steps_without_gradient(optimizer="adam", weight_decay=0.5)["0.weight"]

    torch.testing.assert_close(decoupled, torch.full_like(decoupled, 1 - 0.1 * 0.5))
    torch.testing.assert_close(coupled, torch.full_like(coupled, 1 - 0.1))  # Adam's first step has length lr


def test_sgd_takes_the_steps_of_torchs_sgd() -> None:
    config = FlexCNNConfig(optimizer="sgd", momentum=0.8, nesterov=True)
    ours, theirs = (nn.Parameter(torch.tensor([[1.0, -2.0]])) for _ in range(2))
    model = nn.Module()
    model.weight = ours
    optimizers = [build_optimizer(model, config), torch.optim.SGD([theirs], lr=0.1, momentum=0.8, nesterov=True)]
    set_learning_rate(optimizers[0], 0.1)

    for _ in range(3):
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            (parameter**2).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    torch.testing.assert_close(ours, theirs)


def test_sgd_without_momentum_is_allowed_with_and_without_nesterov() -> None:
    after = _after_steps_without_gradient(optimizer="sgd", momentum=0, nesterov=True, weight_decay=0.5)["0.weight"]

    torch.testing.assert_close(after, torch.full_like(after, 1 - 0.1 * 0.5))


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2, bias=False))

    groups = build_optimizer(model, FlexCNNConfig()).param_groups

    assert [parameter is model[1].weight for group in groups for parameter in group["params"]] == [True]


@pytest.mark.parametrize("optimizer", get_args(Optimizer))
def test_optimizers_without_the_compiler_take_the_very_steps_of_torchs_own(optimizer: Optimizer) -> None:
    config = FlexCNNConfig(optimizer=optimizer, weight_decay=0.1)
    theirs_of = {"adam": "Adam", "adamw": "AdamW", "nadam": "NAdam", "radam": "RAdam", "sgd": "SGD"}
    torch.manual_seed(0)
    ours, theirs = nn.Linear(4, 3), nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    steps = build_optimizer(ours, config)
    groups = [{"params": [theirs.weight], "weight_decay": 0.1}, {"params": [theirs.bias], "weight_decay": 0.0}]
    options = {"momentum": 0.9, "nesterov": True} if optimizer == "sgd" else {}
    fused = {"foreach": True} if optimizer in ("nadam", "radam") else {"fused": True}
    reference = getattr(torch.optim, theirs_of[optimizer])(groups, lr=0.05, **fused, **options)
    set_learning_rate(steps, 0.05)
    for _ in range(3):
        images = torch.randn(8, 4)
        for model, stepper in ((ours, steps), (theirs, reference)):
            model(images).square().sum().backward()
            stepper.step()
            stepper.zero_grad()
    assert torch.equal(ours.weight, theirs.weight) and torch.equal(ours.bias, theirs.bias)
