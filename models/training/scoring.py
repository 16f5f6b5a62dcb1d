"""Scores a network on images that it is not trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.batches import Batch
from models.metric_names import Measure
from models.training.batch_protocols import ValidationBatches
from models.training.metrics import Scores, Tally
from models.training.micro_batches import MicroBatches
from models.training.precision import autocast


def evaluate(
    model: nn.Module,
    batches: ValidationBatches,
    *,
    classes: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    measure: Measure | None = None,
    on_batch: Callable[[], None] = lambda: None,
) -> Scores:
    """Score `model`, in eval mode and in `dtype`, on all images. The loss is the mean cross-entropy.

    `measure` is a metric to compute in addition. Leaves the network in eval mode. Calls `on_batch` after each batch.
    Raises InfeasibleConfig if memory runs out.
    """
    step = EvalStep(model, classes=classes, device=device, dtype=dtype, measure=measure)
    model.eval()
    for batch in batches:
        step(batch)
        on_batch()
    return step.tally.read()


class EvalStep:
    """Adds a network's predictions for a batch to a tally; the network must be in eval mode."""

    def __init__(
        self,
        model: nn.Module,
        *,
        classes: int,
        device: torch.device,
        dtype: torch.dtype,
        measure: Measure | None = None,
    ) -> None:
        self.tally = Tally(classes, device, measure)
        self.micro_batches = MicroBatches()
        self._model, self._device, self._dtype = model, device, dtype

    def __call__(self, batch: Batch) -> None:
        """Score a batch."""
        with torch.inference_mode(), autocast(self._device, self._dtype):
            logits_NC = self.micro_batches.run(batch, self._logits_of)
            self.tally.add(logits_NC, batch.labels_N, F.cross_entropy(logits_NC, batch.labels_N))

    def _logits_of(self, pieces: Sequence[Batch]) -> Tensor:
        return torch.cat([self._model(piece.images_NCHW).float() for piece in pieces])
