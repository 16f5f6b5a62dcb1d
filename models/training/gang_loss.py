"""Losses and scores of several classifiers at once: as in `loss` and `metrics`, with a dimension G for the slots."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from models.training.metrics import Scores, macro_f1


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

    def __init__(self, slots: int, classes: int, device: torch.device) -> None:
        self._classes = classes
        self._loss_sum_G = torch.zeros(slots, dtype=torch.float64, device=device)
        self._confusion = torch.zeros(slots * classes**2, dtype=torch.float64, device=device)
        self._offset_G1 = (torch.arange(slots, device=device) * classes**2).unsqueeze(1)

    def add(self, logits_GBC: Tensor, labels_GB: Tensor, mean_loss_G: Tensor) -> None:
        """Add a batch of each slot."""
        cells = (self._offset_G1 + labels_GB * self._classes + logits_GBC.argmax(dim=2)).flatten()
        self._confusion.index_add_(0, cells, torch.ones_like(cells, dtype=torch.float64))
        self._loss_sum_G += mean_loss_G * labels_GB.shape[1]

    def read(self) -> list[Scores]:
        """The scores of each slot so far, in one transfer from the device."""
        slots = len(self._loss_sum_G)
        figures = torch.cat([self._loss_sum_G, self._confusion]).cpu()
        confusion_GCC = figures[slots:].view(slots, self._classes, self._classes)
        images = int(confusion_GCC[0].sum())
        return [
            Scores(
                loss=float(loss_sum) / images,
                accuracy=float(confusion_CC.trace()) / images,
                macro_f1=macro_f1(confusion_CC),
                images=images,
            )
            for loss_sum, confusion_CC in zip(figures[:slots], confusion_GCC, strict=True)
        ]
