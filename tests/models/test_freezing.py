from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from data.batches import EvalBatches, TrainBatches
from models.config import BackboneConfig, TrainConfig
from models.finetuning import BackboneClassifier
from models.freezing import frozen_children, learning_share
from models.registry import build_model
from models.training.fit import fit
from models.training.metrics import EpochMetrics
from models.training.optim import build_optimizer, set_learning_rate

CPU = torch.device("cpu")
MakeSplits = Callable[[TrainConfig], tuple[TrainBatches, EvalBatches]]
PARTS = (True, False, True, True, False)
"""Whether each of five children has parameters."""


def _config(**fields: Any) -> BackboneConfig:
    return BackboneConfig(weights="none", image_size=8, batch_size=32, epochs=2, precision="fp32", **fields)


def _build(config: BackboneConfig) -> BackboneClassifier:
    torch.manual_seed(7)
    model = build_model(config, (1, 8, 8), 3)
    assert isinstance(model, BackboneClassifier)
    return model


def _train(
    make: MakeSplits, config: BackboneConfig, model: BackboneClassifier, checkpoint: Path | None = None
) -> list[EpochMetrics]:
    train, val = make(config)
    return list(fit(model, train, val, config, classes=3, device=CPU, seed=0, checkpoint=checkpoint))


def _changed(before: dict[str, torch.Tensor], model: nn.Module) -> set[str]:
    """Names of the children, and `head`, of which any tensor is another than before."""
    after = model.state_dict()
    return {
        name.split(".")[1] if name.startswith("body.") else name.split(".")[0]
        for name, tensor in before.items()
        if not torch.equal(tensor, after[name])
    }


def _copy(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(
    ("fields", "frozen"),
    [
        ({"freezing": "freeze_all"}, 5),
        ({"freezing": "unfreeze_all"}, 0),
        ({"freezing": "freeze_partial", "trainable_children": 1}, 3),
        ({"freezing": "freeze_partial", "trainable_children": 2}, 2),
        ({"freezing": "freeze_partial", "trainable_children": 3}, 0),
        ({"freezing": "freeze_partial", "trainable_children": 9}, 0),
        ({"freezing": "freeze_first", "frozen_children": 0}, 0),
        ({"freezing": "freeze_first", "frozen_children": 2}, 2),
        ({"freezing": "freeze_first", "frozen_children": 9}, 5),
    ],
    ids=str,
)
def test_a_strategy_freezes_the_first_children(fields: dict[str, Any], frozen: int) -> None:
    assert frozen_children(_config(**fields), 1, PARTS) == frozen


def test_the_head_learns_first_and_then_everything() -> None:
    config = dataclasses.replace(_config(freezing="head_first", head_epochs=0.3), epochs=10)

    assert [frozen_children(config, epoch, PARTS) for epoch in range(1, 11)] == [5] * 3 + [0] * 7


@pytest.mark.parametrize(("epochs", "head_epochs", "expected"), [(1, 0.3, 0), (2, 0.3, 1), (20, 0.3, 6), (2, 0.0, 0)])
def test_a_short_training_has_a_phase_of_the_head_too(epochs: int, head_epochs: float, expected: int) -> None:
    config = dataclasses.replace(_config(freezing="head_first", head_epochs=head_epochs), epochs=epochs)
    frozen = [frozen_children(config, epoch, PARTS) == len(PARTS) for epoch in range(1, epochs + 1)]
    assert frozen == [True] * expected + [False] * (epochs - expected)


@pytest.mark.parametrize(
    ("epochs", "frozen"),
    [(10, [5, 5, 5, 5, 3, 3, 2, 2, 0, 0]), (3, [5, 2, 0]), (1, [0])],
)
def test_children_thaw_one_after_the_other_until_all_learn(epochs: int, frozen: list[int]) -> None:
    config = dataclasses.replace(_config(freezing="gradual", head_epochs=0.4), epochs=epochs)

    assert [frozen_children(config, epoch, PARTS) for epoch in range(1, epochs + 1)] == frozen


def test_only_what_is_not_frozen_is_changed_by_training(splits: MakeSplits) -> None:
    config = _config(freezing="freeze_partial", trainable_children=1)
    model = _build(config)
    before = _copy(model)

    _train(splits, config, model)

    assert _changed(before, model) == {"layer4", "head"}
    share = learning_share(model)
    assert share.learning == sum(
        parameter.numel()
        for part in (model.get_submodule("body.layer4"), model.head)
        for parameter in part.parameters()
    )
    assert share.total == sum(parameter.numel() for parameter in model.parameters())


def test_frozen_batch_norms_keep_their_statistics_unless_they_are_to_learn(splits: MakeSplits) -> None:
    frozen, learning = _config(freezing="freeze_all"), _config(freezing="freeze_all", train_batch_norm=True)
    models = [_build(frozen), _build(learning)]
    before = _copy(models[0])

    for config, model in zip((frozen, learning), models, strict=True):
        _train(splits, config, model)

    assert _changed(before, models[0]) == {"head"}
    after = models[1].state_dict()
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    norms = {name for name, part in models[1].named_modules() if isinstance(part, nn.BatchNorm2d)}
    assert {f"{name}.{what}" for name in norms for what in ("weight", "bias", "running_mean", "running_var")} <= moved
    assert {name.rpartition(".")[0] for name in moved} == norms | {"head.output"}


@pytest.mark.parametrize("freezing", ["gradual", "head_first"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_unfreezing_in_mid_training_is_resumed_exactly(
    splits: MakeSplits, tmp_path: Path, freezing: str, optimizer: str
) -> None:
    config = dataclasses.replace(
        _config(freezing=freezing, head_epochs=0.34, optimizer=optimizer, backbone="timm/test_resnet"), epochs=3
    )
    unbroken, resumed = _build(config), _build(config)
    history = _train(splits, config, unbroken)

    train, val = splits(config)
    stopped = fit(_build(config), train, val, config, classes=3, device=CPU, seed=0, checkpoint=tmp_path / "c.pt")
    first = next(stopped)
    stopped.close()  # type: ignore[attr-defined]
    rest = _train(splits, config, resumed, tmp_path / "c.pt")

    assert [metrics.val_loss for metrics in (first, *rest)] == [metrics.val_loss for metrics in history]
    assert all(torch.equal(one, other) for one, other in zip(resumed.parameters(), unbroken.parameters(), strict=True))


def test_gradual_unfreezing_moves_the_last_children_before_the_first(splits: MakeSplits) -> None:
    config = dataclasses.replace(_config(freezing="gradual", head_epochs=0.34), epochs=3)
    model = _build(config)
    train, val = splits(config)
    before, changed = _copy(model), []

    for _ in fit(model, train, val, config, classes=3, device=CPU, seed=0):
        changed.append(_changed(before, model))

    assert changed[0] == {"head"}
    assert changed[1] == {"head", "layer4", "layer3", "layer2"}
    assert changed[2] == {"head", "layer4", "layer3", "layer2", "layer1", "conv1", "bn1"}


def test_the_learning_rate_falls_from_child_to_child_towards_the_image() -> None:
    config = _config(freezing="freeze_first", frozen_children=5, layer_decay=0.5)
    model = _build(config)
    optimizer = build_optimizer(model, config)

    set_learning_rate(optimizer, 0.8)

    rate_of = {parameter: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    for name, rate in {"head": 0.8, "body.layer4": 0.4, "body.layer3": 0.2, "body.layer2": 0.1}.items():
        rates = [rate_of[parameter] for parameter in model.get_submodule(name).parameters()]
        assert rates == pytest.approx([rate] * len(rates))
    assert model.get_submodule("body.conv1").weight not in rate_of


def test_gray_images_are_seen_as_color_images_of_three_equal_channels() -> None:
    model = _build(_config()).eval()
    gray = torch.randn(2, 1, 8, 8)

    torch.testing.assert_close(model(gray), model(gray.repeat(1, 3, 1, 1)))
