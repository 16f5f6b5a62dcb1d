"""A trained classifier as one graph, from an image's bytes to probabilities, for export to other runtimes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.bundle import Classifier


class ServingGraph(nn.Module):
    """uint8 images (N, H, W, C) -> class probabilities (N, classes), equal to those of `Classifier.predict_proba`."""

    mean_C: Tensor
    std_C: Tensor

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.model = classifier.model
        self.temperature = classifier.calibration.temperature
        self.register_buffer("mean_C", torch.tensor(classifier.mean).view(1, -1, 1, 1))
        self.register_buffer("std_C", torch.tensor(classifier.std).view(1, -1, 1, 1))

    def forward(self, images_NHWC: Tensor) -> Tensor:
        """Return class probabilities (N, classes) of uint8 images (N, H, W, channels)."""
        images_NCHW = images_NHWC.permute(0, 3, 1, 2).float() / 255
        logits_NC = self.model((images_NCHW - self.mean_C) / self.std_C)
        probabilities_NC: Tensor = (logits_NC / self.temperature).softmax(dim=1)
        return probabilities_NC
