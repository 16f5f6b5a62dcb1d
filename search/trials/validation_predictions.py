"""The predictions of a trial's network on its validation images, saved beside its classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.arrays import IntArray
from data.batches import Batch
from data.files import writing_below
from models.metric_names import bind_metric
from models.training.batch_protocols import ValidationBatches
from models.training.metrics import Tally
from models.training.micro_batches import MicroBatches
from search import names

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class ValidationPredictions:
    """The predictions of one network. Rows are the M validation images in order, columns the C classes."""

    labels_M: IntArray
    probabilities_MC: Probabilities


@torch.inference_mode()
def predict(model: nn.Module, batches: ValidationBatches) -> ValidationPredictions:
    """Predict every validation image in float32, before calibration.

    A batch that does not fit into memory is divided.
    """
    model.eval()
    micro_batches = MicroBatches()

    def probabilities_of(pieces: Sequence[Batch]) -> Tensor:
        return torch.cat([model(piece.images_NCHW).float().softmax(dim=1) for piece in pieces])

    predicted = [(batch.labels_N, micro_batches.run(batch, probabilities_of)) for batch in batches]
    labels_M, probabilities_MC = (torch.cat(parts).cpu().numpy() for parts in zip(*predicted, strict=True))
    return ValidationPredictions(labels_M=labels_M, probabilities_MC=probabilities_MC)


def measure_predictions(predictions: ValidationPredictions, metric: str, classes: Sequence[str]) -> float:
    """The value of a metric of `models.metric_names`, such as `val_accuracy`, for these predictions."""
    measure = bind_metric(metric, classes)
    logits_MC = torch.from_numpy(predictions.probabilities_MC).clamp_min(torch.finfo(torch.float32).tiny).log()
    labels_M = torch.from_numpy(predictions.labels_M)
    tally = Tally(len(classes), logits_MC.device, measure)
    tally.add(logits_MC, labels_M, F.cross_entropy(logits_MC, labels_M))
    scores = tally.read()
    value = getattr(scores, measure.kind.removeprefix("val_"), scores.measured)
    assert value is not None, f"{measure.name} was not measured"
    return float(value)


def save_predictions(folder: Path, predictions: ValidationPredictions) -> None:
    """Save predictions below `folder`. Raises UserError if the folder cannot be written to."""
    with writing_below(folder):
        path = folder / names.PREDICTIONS_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.stem}.part.npz")
        np.savez(part, labels_M=predictions.labels_M, probabilities_MC=predictions.probabilities_MC)
        part.replace(path)


def read_predictions(folder: Path) -> ValidationPredictions | None:
    """Read the predictions saved below `folder`; None if there are none or the file cannot be read."""
    try:
        with (folder / names.PREDICTIONS_FILE).open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return ValidationPredictions(labels_M=stored["labels_M"], probabilities_MC=stored["probabilities_MC"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):  # The last ones of a file that was cut.
        return None
