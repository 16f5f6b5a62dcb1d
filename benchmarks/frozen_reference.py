"""Contender A's accuracy on a frozen backbone for every configuration, from features that are computed once.

A's frozen network computes the same features of an image in every epoch, so A's loop reaches the same accuracies on
stored features: same loader, same shuffling and dropout draws, same optimizer, float32. The validity gate compares with
these accuracies, because A itself finishes too few trials; on the trials that A finishes, both have to agree.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

from benchmarks.contenders.task import OPTIMIZERS, Task
from models.finetuning import BackboneClassifier, in_color

CLASSIFIER_BATCH = 32


def reference_accuracies(task: Task) -> list[float]:
    """Return the validation accuracy of each configuration's best epoch.

    All configurations must have the same, completely frozen backbone.
    """
    train_set, valid_set = task.datasets()
    first = _classifier(task, 0, len(train_set.classes))
    train, valid = _features(first, train_set), _features(first, valid_set)
    return [max(_train(task, slot, train, valid, classes=len(train_set.classes))) for slot in range(len(task.seeds))]


def _features(model: BackboneClassifier, images: Dataset[tuple[Tensor, int]]) -> TensorDataset:
    model.eval()
    features: list[Tensor] = []
    labels: list[Tensor] = []
    with torch.inference_mode():
        for data, target in DataLoader(images, batch_size=CLASSIFIER_BATCH):
            features.append(model.body(in_color(data)))
            labels.append(target)
    return TensorDataset(torch.cat(features).clone(), torch.cat(labels).clone())


def _train(task: Task, slot: int, train: TensorDataset, valid: TensorDataset, *, classes: int) -> Sequence[float]:
    config = task.config(slot)
    model = _classifier(task, slot, classes)
    optimizer = OPTIMIZERS[config.optimizer](
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    train_loader = DataLoader(train, batch_size=config.batch_size, shuffle=True)
    valid_loader = DataLoader(valid, batch_size=config.batch_size)
    accuracies = []
    for _ in range(config.epochs):
        model.train()
        for data, target in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(_logits(model, data), target).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        model.eval()
        correct = 0
        with torch.no_grad():
            for data, target in valid_loader:
                correct += int(_logits(model, data).argmax(dim=1).eq(target).sum())
        accuracies.append(correct / len(valid))
    return accuracies


def _logits(model: BackboneClassifier, features: Tensor) -> Tensor:
    logits_NC: Tensor = model.head(features)
    return logits_NC


def _classifier(task: Task, slot: int, classes: int) -> BackboneClassifier:
    model: nn.Module = task.build_model(slot, classes)
    assert isinstance(model, BackboneClassifier)
    return model
