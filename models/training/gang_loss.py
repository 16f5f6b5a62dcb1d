"""Losses and scores of several classifiers at once: as in `loss` and `metrics`, with a dimension G for the slots."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from models.metric_names import Measure
from models.training.metrics import Scores, Tally, macro_f1


def gang_losses(logits_GBC: Tensor, labels_GB: Tensor, class_weights_C: Tensor, smoothing_G: Tensor) -> Tensor:
    """Mean cross-entropy of each slot, shape (G,), with weights and smoothing as in torch's `cross_entropy`.

    Unlike there, each slot has its own label smoothing.
    """
    log_probabilities = logits_GBC.log_softmax(dim=2)
    weights_GB = class_weights_C[labels_GB]
    of_label_GB = -log_probabilities.gather(2, labels_GB.unsqueeze(2)).squeeze(2) * weights_GB
    of_all_GB = -(log_probabilities * class_weights_C).mean(dim=2)
    weights_G = weights_GB.sum(dim=1)
    return ((1 - smoothing_G) * of_label_GB.sum(dim=1) + smoothing_G * of_all_GB.sum(dim=1)) / weights_G


def gang_cross_entropy(logits_GBC: Tensor, labels_GB: Tensor) -> Tensor:
    """Plain mean cross-entropy of each slot, shape (G,)."""
    losses_BG = F.cross_entropy(logits_GBC.permute(1, 2, 0), labels_GB.T, reduction="none")
    return losses_BG.mean(dim=0)


class GangTally:
    """A `Tally` for each slot, kept on the device and read once."""

    def __init__(self, slots: int, classes: int, device: torch.device, measure: Measure | None = None) -> None:
        self._classes = classes
        self._measured = [Tally(classes, device, measure) for _ in range(slots)] if measure and measure.is_extra else []
        self._loss_sum_G = torch.zeros(slots, dtype=torch.float64, device=device)
        self._counts_K = torch.zeros(3 * slots * classes, dtype=torch.float64, device=device)
        """Hits, labels and predictions, each of every slot and class."""
        self._offset_G1 = (torch.arange(slots, device=device) * classes).unsqueeze(1)

    def add(self, logits_GBC: Tensor, labels_GB: Tensor, mean_loss_G: Tensor) -> None:
        """Add a batch of each slot."""
        answers_GB = logits_GBC.argmax(dim=2)
        ones = torch.ones(labels_GB.numel(), dtype=torch.float64, device=labels_GB.device)
        kinds = ((labels_GB, (answers_GB == labels_GB).flatten().double()), (labels_GB, ones), (answers_GB, ones))
        for kind, (classes_GB, counts) in enumerate(kinds):
            start = kind * len(self._loss_sum_G) * self._classes
            self._counts_K.index_add_(0, (start + self._offset_G1 + classes_GB).flatten(), counts)
        self._loss_sum_G += mean_loss_G * labels_GB.shape[1]
        for slot, tally in enumerate(self._measured):
            tally.add(logits_GBC[slot], labels_GB[slot], mean_loss_G[slot])

    def read(self) -> list[Scores]:
        """The scores of each slot so far, in one transfer from the device, or one for each slot with a measure."""
        slots = len(self._loss_sum_G)
        figures = torch.cat([self._loss_sum_G, self._counts_K]).cpu()
        hits_GC, labels_GC, answers_GC = figures[slots:].view(3, slots, self._classes)
        images = int(labels_GC[0].sum())
        measured = [tally.read().measured for tally in self._measured] or [None] * slots
        return [
            Scores(
                loss=float(loss_sum) / images,
                accuracy=float(hits_C.sum()) / images,
                macro_f1=macro_f1(hits_C, seen_C),
                images=images,
                measured=of_slot,
            )
            for loss_sum, hits_C, seen_C, of_slot in zip(
                figures[:slots], hits_GC, labels_GC + answers_GC, measured, strict=True
            )
        ]
