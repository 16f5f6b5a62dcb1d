"""The champion's network, and the images with which the pictures analyse it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from data.arrays import ImageSet, IntArray, UInt8Array
from data.batches import EvalBatches, to_device
from models.bundle import Classifier
from search.pictures.predictions import Predictions

IMAGES = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """The champion's network and the first K images of the grid, as pixels and as network input."""

    model: nn.Module
    predictions: Predictions
    shown_K: IntArray
    """Indices of the images among all predictions."""
    pixels_KHWC: UInt8Array
    """Pixels as people see them."""
    images_KCHW: Tensor
    """Normalised network input, on the network's device."""

    @property
    def pixels_HWC(self) -> UInt8Array:
        """Pixels of the first image, for pictures of a single image."""
        return np.asarray(self.pixels_KHWC[0])

    @property
    def image_1CHW(self) -> Tensor:
        """The first image as network input."""
        return self.images_KCHW[:1]

    @property
    def which(self) -> str:
        """Description of the first image for captions."""
        predictions, shown = self.predictions, int(self.shown_K[0])
        truth, answer = predictions.labels_N[shown], predictions.predicted_N[shown]
        return (
            f"The first of the {predictions.source} in the grid: {predictions.classes[truth]}, predicted "
            f"{predictions.classes[answer]} ({predictions.confidence_N[shown]:.0%})"
        )


def subject_of(classifier: Classifier, predictions: Predictions) -> Subject:
    """Prepare the first images of the grid as validation does."""
    shown_K = predictions.grid[:IMAGES]
    pixels_KHWC = predictions.images(shown_K)
    rows_K = np.arange(len(shown_K))
    images = ImageSet(pool_NHWC=pixels_KHWC, rows_M=rows_K, labels_M=predictions.labels_N[shown_K])
    batches = EvalBatches(
        to_device(images, classifier.device),
        mean=classifier.mean,
        std=classifier.std,
        batch_size=len(shown_K),
        dtype=torch.float32,
    )
    (batch,) = batches
    return Subject(
        model=classifier.model,
        predictions=predictions,
        shown_K=shown_K,
        pixels_KHWC=pixels_KHWC,
        images_KCHW=batch.images_NCHW,
    )
