"""Cross-entropy for training, with label smoothing, class weights and mixed labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from data.batches import Batch
from models.training.finetuned import WeightedLogits


def total_loss(
    outputs: Sequence[WeightedLogits],
    batch: Batch,
    *,
    class_weights_C: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """`training_loss` of the first output, and of the auxiliary ones after it their weighted share, in one scalar."""
    first, *others = (
        training_loss(logits_NC.float(), batch, class_weights_C=class_weights_C, label_smoothing=label_smoothing)
        for _, logits_NC in outputs
    )
    for (weight, _), loss in zip(outputs[1:], others, strict=True):
        first = first + weight * loss
    return first


def training_loss(
    logits_NC: Tensor, batch: Batch, *, class_weights_C: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Mean cross-entropy of a batch, a scalar, as torch's `cross_entropy` weighs and smooths it.

    Where the batch is mixed (mixup, Zhang et al. 2018; CutMix, Yun et al. 2019) an image counts `mix_N` towards
    `labels_N` and the rest towards `mixed_labels_N`.
    """
    if batch.mixed_labels_N is None or batch.mix_N is None:
        return F.cross_entropy(logits_NC, batch.labels_N, weight=class_weights_C, label_smoothing=label_smoothing)

    first_N, second_N = (
        F.cross_entropy(logits_NC, labels, weight=class_weights_C, label_smoothing=label_smoothing, reduction="none")
        for labels in (batch.labels_N, batch.mixed_labels_N)
    )
    loss = torch.lerp(second_N, first_N, batch.mix_N).sum()
    if class_weights_C is None:
        return loss / len(logits_NC)
    weights_N = torch.lerp(class_weights_C[batch.mixed_labels_N], class_weights_C[batch.labels_N], batch.mix_N)
    return loss / weights_N.sum()


def inverse_frequency(labels_N: Tensor, classes: int) -> Tensor:
    """Weight of each class, shape (classes,): one over its share, scaled to average 1 over the images.

    A class without images weighs 0.
    """
    counts_C = torch.bincount(labels_N, minlength=classes).float()
    present_C = counts_C > 0
    return torch.where(present_C, counts_C.sum() / (present_C.sum() * counts_C), 0.0)
