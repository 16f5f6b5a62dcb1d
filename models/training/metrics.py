"""The metrics of an epoch, and the totals on the device from which they are computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.metric_names import AUROC, TOP_K, Measure, split_metric
from models.training.rank_scores import in_top_k, macro_auroc


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
    """On a GPU, the peak memory of tensors in this training, or in its whole gang; on a CPU, the current memory of the
    process."""
    micro_batches: int = 1
    """Number of micro-batches into which each training batch was divided because memory ran out."""
    steps: str = "eager"
    """How the steps were run: `captured` once and replayed, or `eager`, with the reason if a capture was tried."""
    val_metric: float | None = None
    """The study's metric, if it is none of the other fields."""

    def value_of(self, metric: str) -> float:
        """The value of the metric with which the training was started, or of any field."""
        value = getattr(self, metric, self.val_metric)
        assert value is not None, f"{metric} was not measured"
        return float(value)

    def measured(self) -> dict[str, Any]:
        """The fields that have a value."""
        # Not by `asdict`, which takes twenty times as long because it copies each value.
        return {name: value for name, value in vars(self).items() if value is not None}


def best_epoch(history: list[EpochMetrics], metric: str) -> int:
    """The epoch with the best metric, the first if several are equal; 0 for an empty history.

    Raises UserError for an unknown metric.
    """
    split_metric(metric)
    sign = -1.0 if metric == "val_loss" else 1.0
    return max(history, key=lambda metrics: sign * metrics.value_of(metric)).epoch if history else 0


@dataclass(frozen=True)
class Scores:
    """The scores of a network on a set of images. Accuracy and F1 are between 0 and 1."""

    loss: float
    accuracy: float
    macro_f1: float
    images: int
    measured: float | None = None
    """The value of the measure that the tally was asked for, if it is none of the other fields."""


class Tally:
    """The counts of an epoch, kept on the device: `add` never waits for the device, `read` waits once.

    For AUROC it keeps the probabilities of every image. They are new tensors in each `add`, which therefore cannot be
    recorded and replayed.
    """

    def __init__(self, classes: int, device: torch.device, measure: Measure | None = None) -> None:
        self._classes, self._measure = classes, measure
        self._in_top_k = torch.zeros((), dtype=torch.float64, device=device)
        self._ranked: list[tuple[Tensor, Tensor]] = []
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
        if self._measure and self._measure.kind == TOP_K:
            self._in_top_k += in_top_k(logits_NC, labels_N, self._measure.argument).sum()
        if self._measure and self._measure.kind == AUROC:
            self._ranked.append((logits_NC.detach().double().softmax(dim=1), labels_N))

    def clear(self) -> None:
        """Set all counts to 0, in the same tensors."""
        for tensor in self.tensors():
            tensor.zero_()
        self._ranked.clear()

    def tensors(self) -> list[Tensor]:
        """The tensors that `add` changes."""
        return [self._loss_sum, self._in_top_k, self._hits_C, self._labels_C, self._answers_C]

    def read(self) -> Scores:
        """The scores so far, in one transfer from the device. Raises ValueError if nothing was added."""
        figures = torch.cat([tensor.reshape(-1) for tensor in self.tensors()]).cpu()
        hits_C, labels_C, answers_C = figures[2:].view(3, self._classes)
        images = int(labels_C.sum())
        if images == 0:
            raise ValueError("no images were counted")
        return Scores(
            loss=float(figures[0]) / images,
            accuracy=float(hits_C.sum()) / images,
            macro_f1=macro_f1(hits_C, labels_C + answers_C),
            images=images,
            measured=self._measured(hits_C, labels_C, answers_C, float(figures[1]) / images),
        )

    def _measured(self, hits_C: Tensor, labels_C: Tensor, answers_C: Tensor, in_top_k: float) -> float | None:
        if self._measure is None:
            return None
        if self._measure.kind == TOP_K:
            return in_top_k
        if self._measure.kind == AUROC:
            probabilities_NC, labels_N = (torch.cat(parts).cpu().numpy() for parts in zip(*self._ranked, strict=True))
            return macro_auroc(probabilities_NC, labels_N)
        return of_counts(self._measure, hits_C, labels_C, answers_C)


def of_counts(measure: Measure, hits_C: Tensor, labels_C: Tensor, answers_C: Tensor) -> float | None:
    """A measure of correct answers, labels and answers of each class; None if it is another kind of measure.

    The recall and F1 of a class without images are 0, as in scikit-learn. Balanced accuracy is the mean recall of the
    classes that have images (Brodersen et al. 2010).
    """
    label = measure.argument
    if measure.kind == "val_balanced_accuracy":
        return float((hits_C / labels_C)[labels_C > 0].mean())
    if measure.kind == "val_recall":
        return float(hits_C[label] / labels_C[label]) if labels_C[label] else 0.0
    if measure.kind == "val_f1":
        seen = labels_C[label] + answers_C[label]
        return float(2 * hits_C[label] / seen) if seen else 0.0
    return None


def macro_f1(hits_C: Tensor, seen_C: Tensor) -> float:
    """Mean over classes of 2 TP / (2 TP + FP + FN), where `hits_C` are TP, and `seen_C` labels plus predictions.

    Classes without labels and predictions are left out, as in scikit-learn's `f1_score(average="macro")`.
    """
    return float((2 * hits_C / seen_C)[seen_C > 0].mean())
