"""What a trial's network answers on its validation images, kept beside its classifier."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from data.arrays import IntArray
from data.files import writing_below
from models.training.batches import ValidationBatches
from search import names

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class ValidationPredictions:
    """One network's answers; rows are images."""

    labels_M: IntArray
    probabilities_MC: Probabilities


@torch.inference_mode()
def save_predictions(folder: Path, model: nn.Module, batches: ValidationBatches) -> None:
    """Ask the network about every image, in float32, and write its answers to `folder`."""
    model.eval()
    answered = [(batch.labels_N, model(batch.images_NCHW).float().softmax(dim=1)) for batch in batches]
    labels_M, probabilities_MC = (torch.cat(parts).cpu().numpy() for parts in zip(*answered, strict=True))
    with writing_below(folder):
        path = folder / names.PREDICTIONS_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, labels_M=labels_M, probabilities_MC=probabilities_MC)


def read_predictions(folder: Path) -> ValidationPredictions | None:
    """What was saved in `folder`; None where nothing was, or where it cannot be read."""
    try:
        with np.load(folder / names.PREDICTIONS_FILE, allow_pickle=False) as stored:
            return ValidationPredictions(labels_M=stored["labels_M"], probabilities_MC=stored["probabilities_MC"])
    except (OSError, ValueError, KeyError):
        return None
