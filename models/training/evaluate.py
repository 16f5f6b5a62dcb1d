"""How good a network is on images that it does not learn from."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from models.training.batches import ValidationBatches
from models.training.metrics import Scores, Tally
from models.training.precision import autocast


def evaluate(
    model: nn.Module,
    batches: ValidationBatches,
    *,
    classes: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Scores:
    """Score `model`, in eval mode and in `dtype`, over all images. The loss is plain mean cross-entropy.

    Leaves the network in eval mode.
    """
    tally = Tally(classes, device)
    model.eval()
    with torch.inference_mode(), autocast(device, dtype):
        for batch in batches:
            logits_NC = model(batch.images_NCHW).float()
            tally.add(logits_NC, batch.labels_N, F.cross_entropy(logits_NC, batch.labels_N))
    return tally.read()
