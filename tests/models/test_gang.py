from __future__ import annotations

import dataclasses
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

from models.config import BackboneConfig, Optimizer
from models.finetuning import build_head
from models.metric_names import VAL_LOSS, bind_metric
from models.training.feature_batches import FeatureEvalBatches, FeatureTrainBatches
from models.training.feature_store import FeatureStore, FloatArray
from models.training.features import Features
from models.training.fit import fit
from models.training.gang import Gang, gang_key
from models.training.metrics import EpochMetrics

CPU = torch.device("cpu")
IMAGES, FEATURES, CLASSES = 150, 12, 3
LABELS = np.random.default_rng(1).choice(CLASSES, IMAGES, p=[0.5, 0.3, 0.2])
Batches = tuple[FeatureTrainBatches, FeatureEvalBatches]

SLOTS: list[dict[str, Any]] = [
    {"learning_rate": 0.01, "scheduler": "cosine"},
    {"learning_rate": 0.003, "weight_decay": 0.1, "dropout": 0.3},
    {"learning_rate": 0.02, "label_smoothing": 0.2, "scheduler": "one_cycle", "gradient_clip": 0.1},
    {"learning_rate": 0.01, "epochs": 2, "weight_decay": 0.02, "dropout": 0.1},
]


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Features:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(IMAGES, FEATURES)).astype(np.float32)
    values[np.arange(IMAGES), LABELS] += 1.5

    def rows(start: int, stop: int) -> FloatArray:
        return values[start:stop]

    stored = FeatureStore(tmp_path_factory.mktemp("features")).open("a", IMAGES, rows)
    assert stored is not None
    train, val = np.arange(100), np.arange(100, IMAGES)
    return Features(
        stored=stored, views=1, varied_M=train, train_M=train, val_M=val,
        train_labels_M=LABELS[train], val_labels_M=LABELS[val],
    )  # fmt: skip


@pytest.fixture(scope="module")
def batches(features: Features) -> Batches:
    return features.train_batches(_config(), CPU), features.val_batches(32, CPU)


def _config(**fields: Any) -> BackboneConfig:
    return BackboneConfig(**{"weights": "none", "epochs": 4, "batch_size": 16, **fields})


def _head(config: BackboneConfig, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return build_head(config, FEATURES, CLASSES)


def _solo(config: BackboneConfig, seed: int, batches: Batches) -> tuple[nn.Module, list[EpochMetrics]]:
    head = _head(config, seed)
    return head, list(fit(head, *batches, config, classes=CLASSES, device=CPU, seed=seed))


def _gang(configs: list[BackboneConfig], batches: Batches, **options: Any) -> tuple[Gang, list[nn.Sequential]]:
    heads = [_head(config, seed) for seed, config in enumerate(configs)]
    seeds = range(len(configs))
    return Gang(heads, *batches, configs, classes=CLASSES, device=CPU, seeds=seeds, **options), heads


def _numbers(metrics: EpochMetrics) -> list[float]:
    """All that must be the same: everything but times and memory."""
    measured = ("duration_s", "images_per_s", "memory_mib", "steps")
    return [value for name, value in metrics.measured().items() if name not in measured]


@pytest.mark.parametrize("optimizer", get_args(Optimizer))
@pytest.mark.parametrize("shared", [{}, {"head_width": 8, "class_weights": "inverse_frequency"}], ids=str)
def test_a_slot_of_a_gang_trains_as_it_would_alone(optimizer: str, shared: dict[str, Any], batches: Batches) -> None:
    configs = [_config(optimizer=optimizer, **shared, **slot) for slot in SLOTS]
    gang, heads = _gang(configs, batches)
    histories: dict[int, list[EpochMetrics]] = {}
    for epoch in gang:
        for slot, metrics in epoch.items():
            histories.setdefault(slot, []).append(metrics)

    for slot, config in enumerate(configs):
        alone, history = _solo(config, slot, batches)
        assert len(histories[slot]) == len(history) == config.epochs
        for together, single in zip(histories[slot], history, strict=True):
            assert _numbers(together) == pytest.approx(_numbers(single), rel=1e-5)
        for name, tensor in alone.state_dict().items():
            torch.testing.assert_close(heads[slot].state_dict()[name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "nadam"])
def test_a_dropped_slot_keeps_its_best_weights_and_changes_nothing_for_the_others(
    optimizer: str, batches: Batches
) -> None:
    configs = [_config(optimizer=optimizer, **slot) for slot in SLOTS]
    gang, heads = _gang(configs, batches)
    left: list[set[int]] = []
    for epoch in gang:
        left.append(set(epoch))
        if len(left) == 1:
            gang.drop(1)

    assert left == [{0, 1, 2, 3}, {0, 2, 3}, {0, 2}, {0, 2}]
    one_epoch, _ = _solo(dataclasses.replace(configs[1], epochs=1), 1, batches)
    torch.testing.assert_close(heads[1].output.weight, one_epoch.output.weight)  # constant rate: a prefix of the whole
    alone, _ = _solo(configs[2], 2, batches)
    torch.testing.assert_close(heads[2].output.weight, alone.output.weight, rtol=1e-4, atol=1e-6)


def test_when_all_slots_are_dropped_the_gang_is_over(batches: Batches) -> None:
    gang, _ = _gang([_config(**slot) for slot in SLOTS], batches)
    for epoch in gang:
        for slot in epoch:
            gang.drop(slot)

    assert list(gang) == []


def test_a_slot_that_diverges_ends_alone_with_its_reason(batches: Batches) -> None:
    configs = [_config(optimizer="sgd"), _config(optimizer="sgd", learning_rate=1e38)]
    gang, _ = _gang(configs, batches)

    epochs = list(gang)

    assert not np.isfinite(epochs[0][1].train_loss)
    assert [set(epoch) for epoch in epochs] == [{0, 1}, {0}, {0}, {0}]
    assert np.isfinite(epochs[-1][0].val_loss)


def test_patience_ends_a_slot_when_it_would_end_it_alone(batches: Batches) -> None:
    configs = [_config(epochs=30, learning_rate=0.3, patience=2), _config(epochs=30)]
    gang, heads = _gang(configs, batches, metric=VAL_LOSS)
    epochs = [epoch[0] for epoch in gang if 0 in epoch]

    head = _head(configs[0], 0)
    alone = list(fit(head, *batches, configs[0], classes=CLASSES, device=CPU, seed=0, metric=VAL_LOSS))

    assert len(epochs) == len(alone) < 30
    torch.testing.assert_close(heads[0].output.weight, head.output.weight, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["val_auroc", "val_top_k:2", "val_recall:b"])
def test_any_metric_is_measured_as_it_would_be_alone(batches: Batches, name: str) -> None:
    configs, metric = [_config(epochs=2), _config(epochs=2, learning_rate=0.01)], bind_metric(name, ("a", "b", "c"))
    gang, _ = _gang(configs, batches, metric=metric)
    together = [epoch[0].value_of(name) for epoch in gang]

    alone = fit(_head(configs[0], 0), *batches, configs[0], classes=CLASSES, device=CPU, seed=0, metric=metric)
    assert together == pytest.approx([metrics.value_of(name) for metrics in alone], abs=1e-6)


@pytest.mark.parametrize(
    "fields",
    [
        {"freezing": "unfreeze_all"},
        {"train_batch_norm": True},
        {"mixup": 0.2},
        {"cutmix": 0.2},
        {"ema_decay": 0.9},
        {"precision": "bf16"},
        {"focal_gamma": 2.0},
        {"keep_checkpoints": True},
    ],
    ids=str,
)
def test_what_cannot_be_trained_in_a_gang_has_no_key(fields: dict[str, Any]) -> None:
    assert gang_key(_config(**fields)) is None


def test_a_balanced_gang_draws_what_each_slot_would_draw_alone(features: Features) -> None:
    config = _config(sampling="balanced", class_weights="effective_number", epochs=2)
    own = features.train_batches(config, CPU), features.val_batches(32, CPU)
    gang, heads = _gang([config, config], own)
    list(gang)
    for seed, head in enumerate(heads):
        alone, _ = _solo(config, seed, own)
        torch.testing.assert_close(head.output.weight, alone.output.weight, rtol=1e-4, atol=1e-6)


def test_configurations_of_several_gangs_are_refused(batches: Batches) -> None:
    assert gang_key(_config(learning_rate=0.1)) == gang_key(_config(epochs=9, dropout=0.5))
    assert gang_key(_config()) != gang_key(_config(optimizer="sgd"))

    with pytest.raises(ValueError, match="one key is needed"):
        _gang([_config(), _config(head_width=4)], batches)
