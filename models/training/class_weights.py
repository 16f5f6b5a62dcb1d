"""Weights of the classes in the loss: configured, or computed from the number of training images of each class."""

from __future__ import annotations

import torch
from torch import Tensor

from data.errors import InfeasibleConfig
from models.config import TrainConfig


def class_weights(config: TrainConfig, labels_M: Tensor, classes: int) -> Tensor | None:
    """The configured weight of each class, shape (classes,), on the labels' device; None if all classes weigh the same.

    Weights computed from the labels average 1 over the training images, and a class without images has weight 0.
    Raises InfeasibleConfig if the number of configured weights is not the number of classes.
    """
    match config.class_weights:
        case "none":
            return None
        case "inverse_frequency":
            return inverse_frequency(labels_M, classes)
        case "effective_number":
            return effective_number(labels_M, classes, config.effective_number_beta)
        case given:
            if len(given) != classes or not any(given):
                weights = ",".join(f"{weight:g}" for weight in given)
                raise InfeasibleConfig(
                    f"class_weights={weights}: {len(given)} weights for {classes} classes; "
                    "give one per class, not all 0, in the order of the classes' names"
                )
            return torch.tensor(given, device=labels_M.device)


def inverse_frequency(labels_M: Tensor, classes: int) -> Tensor:
    """The inverse of each class's share of the images, shape (classes,), scaled to average 1 over the images.

    A class without images has weight 0.
    """
    return _averaging_1(torch.bincount(labels_M, minlength=classes).double(), labels_M, classes)


def effective_number(labels_M: Tensor, classes: int, beta: float) -> Tensor:
    """The inverse of each class's effective number of images, (1 - beta^n) / (1 - beta), scaled to average 1 over the
    images, shape (classes,).

    The more images a class has, the less a new image adds to the effective number. Source: Cui et al. 2019,
    "Class-Balanced Loss Based on Effective Number of Samples", equation 2 and section 4.
    """
    counts_C = torch.bincount(labels_M, minlength=classes).double()
    return _averaging_1((1 - beta**counts_C) / (1 - beta), labels_M, classes)


def _averaging_1(sizes_C: Tensor, labels_M: Tensor, classes: int) -> Tensor:
    counts_C = torch.bincount(labels_M, minlength=classes).double()
    weights_C = torch.where(counts_C > 0, 1 / sizes_C.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
    return (weights_C * counts_C.sum() / (weights_C * counts_C).sum()).float()
