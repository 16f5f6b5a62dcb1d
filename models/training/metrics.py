"""The metrics of an epoch, and the totals on the device from which they are computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from data.errors import UserError
from models.spelling import did_you_mean

Metric = Literal["val_accuracy", "val_macro_f1", "val_loss"]
"""Metrics that can decide early stopping and the epoch whose weights are kept."""


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """The metrics of one epoch. Accuracies and F1 are between 0 and 1."""

    epoch: int
    """Number of the epoch, from 1."""
    train_loss: float
    """Mean of the batches' losses during the epoch, with the configured label smoothing and class weights."""
    train_accuracy: float
    """Accuracy on the augmented training images during the epoch; of mixed images, against their first label."""
    val_loss: float
    """Mean cross-entropy without smoothing or weights, so that configurations can be compared."""
    val_accuracy: float
    val_macro_f1: float
    learning_rate: float
    """Learning rate of the epoch's last step."""
    duration_s: float
    """Seconds of training and validation."""
    images_per_s: float
    """Training images per second, without validation."""
    memory_mib: float
    """On a GPU, the peak memory of tensors in this training; on a CPU, the current memory of the process."""
    micro_batches: int = 1
    """Number of micro-batches into which each training batch was divided because memory ran out."""
    steps: str = "eager"
    """How the steps were run: `captured` once and replayed, or `eager`, with the reason if a capture was tried."""


def best_epoch(history: list[EpochMetrics], metric: str) -> int:
    """The epoch with the best metric, the first if several are equal; 0 for an empty history.

    Raises UserError for an unknown metric.
    """
    if metric not in get_args(Metric):
        raise UserError(f"unknown metric {metric!r}.{did_you_mean(metric, get_args(Metric))}")
    sign = -1.0 if metric == "val_loss" else 1.0
    return max(history, key=lambda metrics: sign * getattr(metrics, metric)).epoch if history else 0


@dataclass(frozen=True)
class Scores:
    """The scores of a network on a set of images. Accuracy and F1 are between 0 and 1."""

    loss: float
    accuracy: float
    macro_f1: float
    images: int


class Tally:
    """The counts of an epoch, kept on the device: `add` never waits for the device, `read` waits once."""

    def __init__(self, classes: int, device: torch.device) -> None:
        self._classes = classes
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self._hits_C, self._labels_C, self._answers_C = (
            torch.zeros(classes, dtype=torch.float64, device=device) for _ in range(3)
        )

    def add(self, logits_NC: Tensor, labels_N: Tensor, mean_loss: Tensor) -> None:
        """Add a batch."""
        answers_N = logits_NC.argmax(dim=1)
        ones_N = torch.ones_like(labels_N, dtype=torch.float64)
        # bincount would be shorter, but on a GPU it waits for the result to know its size.
        self._hits_C.index_add_(0, labels_N, (answers_N == labels_N).double())
        self._labels_C.index_add_(0, labels_N, ones_N)
        self._answers_C.index_add_(0, answers_N, ones_N)
        self._loss_sum += mean_loss.detach() * len(labels_N)

    def clear(self) -> None:
        """Set all counts to 0, in the same tensors."""
        for tensor in self.tensors():
            tensor.zero_()

    def tensors(self) -> list[Tensor]:
        """The tensors that `add` changes."""
        return [self._loss_sum, self._hits_C, self._labels_C, self._answers_C]

    def read(self) -> Scores:
        """The scores so far, in one transfer from the device. Raises ValueError if nothing was added."""
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

    Classes without labels and predictions are left out, as in scikit-learn's `f1_score(average="macro")`.
    """
    return float((2 * hits_C / seen_C)[seen_C > 0].mean())
