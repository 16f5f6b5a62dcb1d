"""Training losses: cross-entropy with label smoothing, class weights and mixed labels, and the focal loss."""

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
    label_smoothing: float | Tensor = 0.0,
    focal_gamma: float = 0.0,
) -> Tensor:
    """The sum of the `training_loss` of the first output and the weighted losses of the auxiliary outputs, a scalar."""
    first, *others = (
        training_loss(
            logits_NC.float(), batch,
            class_weights_C=class_weights_C, label_smoothing=label_smoothing, focal_gamma=focal_gamma,
        )
        for _, logits_NC in outputs
    )  # fmt: skip
    for (weight, _), loss in zip(outputs[1:], others, strict=True):
        first = first + weight * loss
    return first


def training_loss(
    logits_NC: Tensor,
    batch: Batch,
    *,
    class_weights_C: Tensor | None = None,
    label_smoothing: float | Tensor = 0.0,
    focal_gamma: float = 0.0,
) -> Tensor:
    """Mean cross-entropy of a batch, a scalar, with weights and smoothing as in torch's `cross_entropy`.

    The smoothing may be a scalar tensor. With `focal_gamma`, the loss of each image is multiplied by (1 - p)^gamma,
    where p is the predicted probability of its class (Lin et al. 2017, equation 5); as without it, the sum is divided
    by the sum of the class weights.

    In a mixed batch (mixup, Zhang et al. 2018; CutMix, Yun et al. 2019), the loss of an image is the sum of the losses
    for `labels_N`, with weight `mix_N`, and for `mixed_labels_N`, with weight 1 - `mix_N`.
    """
    # With class weights, torch copies the divisor of the mean from the device, which a capture does not permit.
    if batch.mixed_labels_N is None and not focal_gamma and class_weights_C is None:
        return _cross_entropy(logits_NC, batch.labels_N, None, label_smoothing, "mean")

    def losses_of(labels_N: Tensor) -> Tensor:
        losses_N = _cross_entropy(logits_NC, labels_N, class_weights_C, label_smoothing, "none")
        return losses_N * _focus(logits_NC, labels_N, focal_gamma) if focal_gamma else losses_N

    losses_N = losses_of(batch.labels_N)
    if batch.mixed_labels_N is not None and batch.mix_N is not None:
        losses_N = torch.lerp(losses_of(batch.mixed_labels_N), losses_N, batch.mix_N)
    return losses_N.sum() / batch_weight(batch, class_weights_C)


def _cross_entropy(
    logits_NC: Tensor, labels_N: Tensor, class_weights_C: Tensor | None, smoothing: float | Tensor, reduction: str
) -> Tensor:
    def smoothed(smoothing: float) -> Tensor:
        return F.cross_entropy(
            logits_NC, labels_N, weight=class_weights_C, label_smoothing=smoothing, reduction=reduction
        )

    if isinstance(smoothing, Tensor):  # torch accepts only a number, but the loss is linear in it.
        return torch.lerp(smoothed(0.0), smoothed(1.0), smoothing)
    return smoothed(smoothing)


def batch_weight(batch: Batch, class_weights_C: Tensor | None) -> Tensor | int:
    """The divisor of a batch's mean loss: the number of its images, or the sum of their class weights."""
    if class_weights_C is None:
        return len(batch.labels_N)
    weights_N = class_weights_C[batch.labels_N]
    if batch.mixed_labels_N is not None and batch.mix_N is not None:
        weights_N = torch.lerp(class_weights_C[batch.mixed_labels_N], weights_N, batch.mix_N)
    return weights_N.sum()


def _focus(logits_NC: Tensor, labels_N: Tensor, gamma: float) -> Tensor:
    """(1 - p)^gamma for each image, with a finite gradient even if p is 1."""
    missing_N = -torch.expm1(-F.cross_entropy(logits_NC, labels_N, reduction="none"))
    return missing_N.clamp_min(torch.finfo(missing_N.dtype).tiny) ** gamma
