"""How good a network is on images that it does not learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.batches import Batch
from models.training.batches import ValidationBatches
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
    on_batch: Callable[[], None] = lambda: None,
) -> Scores:
    """Score `model`, in eval mode and in `dtype`, over all images. The loss is plain mean cross-entropy.

    Leaves the network in eval mode. Calls `on_batch` after each batch. Raises InfeasibleConfig where memory runs out.
    """

    def logits_of(pieces: Sequence[Batch]) -> Tensor:
        return torch.cat([model(piece.images_NCHW).float() for piece in pieces])

    tally, micro_batches = Tally(classes, device), MicroBatches()
    model.eval()
    with torch.inference_mode(), autocast(device, dtype):
        for batch in batches:
            logits_NC = micro_batches.run(batch, logits_of)
            tally.add(logits_NC, batch.labels_N, F.cross_entropy(logits_NC, batch.labels_N))
            on_batch()
    return tally.read()
