from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from data.batches import EvalBatches, TrainBatches
from data.errors import TrainingDiverged
from models.config import ClassWeights, FlexCNNConfig, Scheduler, TrainConfig
from models.metric_names import VAL_LOSS, bind_metric
from models.registry import build_model
from models.training.checkpoint import kept_checkpoint
from models.training.class_weights import inverse_frequency
from models.training.fit import fit
from models.training.metrics import EpochMetrics, best_epoch
from models.training.scoring import evaluate

CPU = torch.device("cpu")
MakeSplits = Callable[[TrainConfig], tuple[TrainBatches, EvalBatches]]


def _new_model(config: TrainConfig) -> nn.Module:
    torch.manual_seed(7)
    return build_model(config, (1, 8, 8), 3)


def _train(
    make: MakeSplits, config: TrainConfig, model: nn.Module | None = None, *, seed: int = 0, **options: Any
) -> list[EpochMetrics]:
    train, val = make(config)
    model = _new_model(config) if model is None else model
    return list(fit(model, train, val, config, classes=3, device=CPU, seed=seed, **options))


def _numbers(history: list[EpochMetrics]) -> list[dict[str, float]]:
    """All that must be the same again: everything but times and memory."""
    measured = ("duration_s", "images_per_s", "memory_mib")
    return [{k: v for k, v in dataclasses.asdict(metrics).items() if k not in measured} for metrics in history]


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _flat(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_small_network_learns_and_every_epoch_is_measured(splits: MakeSplits, tiny: FlexCNNConfig) -> None:
    history = _train(splits, dataclasses.replace(tiny, epochs=8, learning_rate=0.01))

    assert [metrics.epoch for metrics in history] == list(range(1, 9))
    assert history[-1].val_accuracy > 0.9 and history[-1].train_loss < history[0].train_loss
    assert all(metrics.duration_s > 0 and metrics.images_per_s > 0 and metrics.memory_mib > 1 for metrics in history)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(splits: MakeSplits, tiny: FlexCNNConfig) -> None:
    config = dataclasses.replace(tiny, mixup=0.2, epochs=3)

    first, again, other = (_train(splits, config, seed=seed) for seed in (1, 1, 2))

    assert _numbers(first) == _numbers(again)
    assert _numbers(first) != _numbers(other)


def test_what_the_caller_draws_between_epochs_changes_nothing(splits: MakeSplits, tiny: FlexCNNConfig) -> None:
    train, val = splits(tiny)
    disturbed = []
    for metrics in fit(_new_model(tiny), train, val, tiny, classes=3, device=CPU, seed=0):
        disturbed.append(metrics)
        torch.rand(metrics.epoch)

    assert _numbers(disturbed) == _numbers(_train(splits, tiny))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"ema_decay": 0.9, "optimizer": "sgd", "scheduler": "step", "step_epochs": 1},
        {"optimizer": "nadam", "scheduler": "one_cycle", "batch_norm": False},
        {"optimizer": "radam", "mixup": 0.4, "gradient_clip": 0.5, "precision": "bf16"},
        {"optimizer": "adam", "cutmix": 1.0, "warmup_epochs": 2.5, "class_weights": "inverse_frequency"},
    ],
    ids=str,
)
@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_a_training_stopped_and_resumed_equals_one_that_never_stopped(
    splits: MakeSplits, tiny: FlexCNNConfig, tmp_path: Path, fields: dict[str, Any], stop_after: int
) -> None:
    config = dataclasses.replace(tiny, **fields)
    unbroken_model, resumed_model = _new_model(config), _new_model(config)
    unbroken = _train(splits, config, unbroken_model)

    train, val = splits(config)
    stopped = fit(_new_model(config), train, val, config, classes=3, device=CPU, seed=0, checkpoint=tmp_path / "c.pt")
    before = [next(stopped) for _ in range(stop_after)]
    stopped.close()  # type: ignore[attr-defined]
    torch.manual_seed(99)  # a new process has another state
    after = _train(splits, config, resumed_model, checkpoint=tmp_path / "c.pt")

    assert _numbers(before + after) == _numbers(unbroken)
    assert _same(_weights(resumed_model), _weights(unbroken_model))


def test_in_the_end_the_model_holds_the_weights_of_the_best_epoch(splits: MakeSplits, tiny: FlexCNNConfig) -> None:
    config = dataclasses.replace(tiny, learning_rate=0.02, scheduler="constant", epochs=40, patience=1)
    train, val = splits(config)
    model = _new_model(config)
    history, weights = [], []
    for metrics in fit(model, train, val, config, classes=3, device=CPU, seed=3, metric=VAL_LOSS):
        history.append(metrics)
        weights.append(_weights(model))

    best = best_epoch(history, "val_loss")
    assert best == len(history) - 1  # patience ended it, so the last epoch was not the best
    assert _same(_weights(model), weights[best - 1])
    assert evaluate(model, val, classes=3, device=CPU).loss == history[best - 1].val_loss


def test_with_a_moving_average_it_is_the_average_that_is_validated_and_kept(
    splits: MakeSplits, tiny: FlexCNNConfig
) -> None:
    config = dataclasses.replace(tiny, ema_decay=0.9)
    train, val = splits(config)
    model = _new_model(config)
    history, raw = [], {}
    for metrics in fit(model, train, val, config, classes=3, device=CPU, seed=0, metric=VAL_LOSS):
        history.append(metrics)
        raw = _weights(model)

    kept = evaluate(model, val, classes=3, device=CPU)
    assert kept.loss == min(metrics.val_loss for metrics in history)
    assert not _same(raw, _weights(model))


def test_training_stops_after_as_many_epochs_without_improvement_as_patience_allows(
    splits: MakeSplits, tiny: FlexCNNConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(tiny, epochs=30, patience=2, learning_rate=0.02, scheduler="constant")

    history = _train(splits, config, metric=VAL_LOSS, checkpoint=tmp_path / "c.pt")

    assert len(history) < 30
    assert len(history) == best_epoch(history, "val_loss") + 2
    assert _train(splits, config, metric=VAL_LOSS, checkpoint=tmp_path / "c.pt") == []


def test_a_loss_that_is_no_longer_finite_is_reported_as_divergence(splits: MakeSplits, tiny: FlexCNNConfig) -> None:
    config = dataclasses.replace(tiny, optimizer="sgd", learning_rate=1e30, batch_norm=False, scheduler="constant")

    with pytest.raises(TrainingDiverged, match=r"^epoch 1: the training loss is (nan|inf); learning_rate=1e\+30"):
        _train(splits, config)


@pytest.mark.parametrize("scheduler", get_args(Scheduler))
def test_the_reported_learning_rate_is_that_of_the_epochs_last_step(
    splits: MakeSplits, tiny: FlexCNNConfig, scheduler: Scheduler
) -> None:
    config = dataclasses.replace(tiny, scheduler=scheduler, step_epochs=1, warmup_epochs=0, learning_rate=0.01)

    rates = [metrics.learning_rate for metrics in _train(splits, config)]

    if scheduler == "constant":
        assert rates == [0.01] * 4
    elif scheduler == "step":
        assert rates == pytest.approx([0.01, 0.005, 0.0025, 0.00125])
    else:
        assert rates[-1] < 0.1 * max(rates)


def test_gradients_are_clipped_to_the_norm_asked_for(splits: MakeSplits, tiny: FlexCNNConfig) -> None:
    config = dataclasses.replace(
        tiny, optimizer="sgd", momentum=0.0, weight_decay=0.0, learning_rate=1.0, scheduler="constant", epochs=1
    )
    clipped = dataclasses.replace(config, gradient_clip=1e-3, batch_size=160)
    model = _new_model(clipped)
    before = _flat(model)

    _train(splits, clipped, model)  # one step of length 1.0 times the clipped gradient

    moved = (_flat(model) - before).norm().item()
    assert moved == pytest.approx(1e-3, rel=0.01)


def test_class_weights_are_taken_from_the_training_labels(splits: MakeSplits, tiny: FlexCNNConfig) -> None:
    def trained_with(class_weights: ClassWeights) -> list[dict[str, float]]:
        return _numbers(_train(splits, dataclasses.replace(tiny, epochs=1, class_weights=class_weights)))

    train, val = (batches.images.labels_M for batches in splits(tiny))
    of_train, of_val = (tuple(inverse_frequency(labels, 3).tolist()) for labels in (train, val))
    assert of_train != of_val

    weighted = trained_with("inverse_frequency")
    assert weighted == trained_with(of_train)
    assert weighted != trained_with(of_val)


@pytest.mark.parametrize("name", ["val_balanced_accuracy", "val_auroc", "val_top_k:2", "val_recall:b", "val_f1:b"])
def test_the_best_epoch_is_chosen_by_any_metric(splits: MakeSplits, tiny: FlexCNNConfig, name: str) -> None:
    train, val = splits(tiny)
    model, metric = _new_model(tiny), bind_metric(name, ("a", "b", "c"))
    history = list(fit(model, train, val, tiny, classes=3, device=CPU, seed=3, metric=metric))

    values = [metrics.value_of(name) for metrics in history]
    assert values[best_epoch(history, name) - 1] == max(values)
    kept = evaluate(model, val, classes=3, device=CPU, measure=metric)
    assert kept.measured == max(values)


def test_a_training_resumes_from_any_epoch_that_was_kept(
    splits: MakeSplits, tiny: FlexCNNConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(tiny, keep_checkpoints=True, ema_decay=0.9)
    unbroken = _new_model(config)
    history = _train(splits, config, unbroken, checkpoint=tmp_path / "c.pt")

    for epoch in range(1, config.epochs + 1):
        resumed, checkpoint = _new_model(config), tmp_path / f"from-{epoch}.pt"
        shutil.copyfile(kept_checkpoint(tmp_path / "c.pt", epoch), checkpoint)
        after = _train(splits, config, resumed, checkpoint=checkpoint)

        assert _numbers(after) == _numbers(history[epoch:])
        assert _same(_weights(resumed), _weights(unbroken))


def test_without_being_asked_only_the_last_state_is_kept(
    splits: MakeSplits, tiny: FlexCNNConfig, tmp_path: Path
) -> None:
    _train(splits, tiny, checkpoint=tmp_path / "c.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]


def test_the_focal_loss_and_class_weights_change_what_is_learned(splits: MakeSplits, tiny: FlexCNNConfig) -> None:
    losses = {
        str(fields): _train(splits, dataclasses.replace(tiny, epochs=1, **fields))[0].train_loss
        for fields in ({}, {"focal_gamma": 2.0}, {"class_weights": "effective_number"})
    }
    assert len(set(losses.values())) == 3 and losses["{'focal_gamma': 2.0}"] < losses["{}"]
