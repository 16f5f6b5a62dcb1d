"""What is measured in an epoch: totals that stay on the device, and the figures made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from data.errors import UserError
from models.spelling import did_you_mean

Metric = Literal["val_accuracy", "val_macro_f1", "val_loss"]
"""What a training can be judged by, for early stopping and for the weights that are kept."""


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """What one epoch brought. Accuracies and F1 are shares from 0 to 1."""

    epoch: int
    """From 1."""
    train_loss: float
    """Mean of the batches' losses: with the configured smoothing and weights, while the weights still moved."""
    train_accuracy: float
    """Of the augmented training images, against the label with which they entered."""
    val_loss: float
    """Mean cross-entropy, neither smoothed nor weighted, so that configurations can be compared."""
    val_accuracy: float
    val_macro_f1: float
    learning_rate: float
    """Of the epoch's last step."""
    duration_s: float
    """Training and validation."""
    images_per_s: float
    """Training alone."""
    memory_mib: float
    """On a GPU the most that tensors took in this training, on a CPU what the process holds now."""
    micro_batches: int = 1
    """Pieces that each training batch was cut into, its gradients accumulated, because memory ran out."""
    steps: str = "eager"
    """How the steps were run: `captured` once and replayed, or `eager`, with the reason where a capture was tried."""


def best_epoch(history: list[EpochMetrics], metric: str) -> int:
    """The epoch with the best metric, the first of equals; 0 for an empty history. UserError for an unknown metric."""
    if metric not in get_args(Metric):
        raise UserError(f"unknown metric {metric!r}.{did_you_mean(metric, get_args(Metric))}")
    sign = -1.0 if metric == "val_loss" else 1.0
    return max(history, key=lambda metrics: sign * getattr(metrics, metric)).epoch if history else 0


@dataclass(frozen=True)
class Scores:
    """A tally, read."""

    loss: float
    accuracy: float
    macro_f1: float
    images: int


class Tally:
    """Counts of an epoch, kept on the device: adding never waits for the device, reading does so once."""

    def __init__(self, classes: int, device: torch.device) -> None:
        self._classes = classes
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self._hits_C, self._labels_C, self._answers_C = (
            torch.zeros(classes, dtype=torch.float64, device=device) for _ in range(3)
        )

    def add(self, logits_NC: Tensor, labels_N: Tensor, mean_loss: Tensor) -> None:
        """Count a batch."""
        answers_N = logits_NC.argmax(dim=1)
        ones_N = torch.ones_like(labels_N, dtype=torch.float64)
        # bincount would be shorter, but on a GPU it waits for the result to know its size.
        self._hits_C.index_add_(0, labels_N, (answers_N == labels_N).double())
        self._labels_C.index_add_(0, labels_N, ones_N)
        self._answers_C.index_add_(0, answers_N, ones_N)
        self._loss_sum += mean_loss.detach() * len(labels_N)

    def clear(self) -> None:
        """Start anew, on the same tensors."""
        for tensor in self.tensors():
            tensor.zero_()

    def tensors(self) -> list[Tensor]:
        """All that `add` changes."""
        return [self._loss_sum, self._hits_C, self._labels_C, self._answers_C]

    def read(self) -> Scores:
        """The figures so far, in one transfer from the device. Raises ValueError if nothing was added."""
        figures = torch.cat([self._loss_sum.view(1), self._hits_C, self._labels_C, self._answers_C]).cpu()
        hits_C, labels_C, answers_C = figures[1:].view(3, self._classes)
        images = int(labels_C.sum())
        if images == 0:
            raise ValueError("no images were counted")
        return Scores(
            loss=float(figures[0]) / images,
            accuracy=float(hits_C.sum()) / images,
            macro_f1=macro_f1(hits_C, labels_C + answers_C),
            images=images,
        )


def macro_f1(hits_C: Tensor, seen_C: Tensor) -> float:
    """Mean over classes of 2 TP / (2 TP + FP + FN), where `hits_C` are TP, and `seen_C` labels plus predictions.

    Classes that are neither a label nor a prediction are left out, as in scikit-learn's `f1_score(average="macro")`.
    """
    return float((2 * hits_C / seen_C)[seen_C > 0].mean())
