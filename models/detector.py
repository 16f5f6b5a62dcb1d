"""torchvision's pre-trained object detectors, unchanged: they take an image and return boxes with classes.

detector = load_detector("ssdlite320_mobilenet_v3_large")
for found in detector.detect(picture_HWC, threshold=0.5):
    print(found.label, found.score, found.box)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torchvision.models as zoo
from torch import nn

from data.arrays import UInt8Array
from models.weights import DEFAULT, download_weights, load_fitting, read_weights

DETECTORS: Mapping[str, str] = {
    "ssdlite320_mobilenet_v3_large": "3.4 million parameters, the fastest: COCO box mAP 21.3",
    "fasterrcnn_mobilenet_v3_large_fpn": "19 million parameters: COCO box mAP 32.8",
    "fasterrcnn_resnet50_fpn_v2": "44 million parameters, the most accurate, for a GPU: COCO box mAP 46.7",
}
"""The detectors that `load_detector` builds, with torchvision's figures for their weights on COCO 2017 validation."""


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One object in an image."""

    label: str
    score: float
    """The network's score from 0 to 1, which is not a calibrated probability."""
    box: tuple[float, float, float, float]
    """Left, top, right and bottom in pixels of the image."""


class Detector:
    """A detection network on a device, with the names of its classes."""

    def __init__(self, network: nn.Module, classes: Sequence[str], device: torch.device) -> None:
        self.classes = tuple(classes)
        self._network = network.eval().to(device)
        self._device = device

    @torch.inference_mode()
    def detect(self, picture_HWC: UInt8Array, *, threshold: float) -> list[Detection]:
        """The objects in an RGB image, uint8 of shape (H, W, 3), whose score is at least `threshold`, best first."""
        image_CHW = torch.from_numpy(picture_HWC).permute(2, 0, 1).to(self._device).float() / 255
        (found,) = self._network([image_CHW])
        return [
            Detection(label=self.classes[label], score=score, box=(left, top, right, bottom))
            for label, score, (left, top, right, bottom) in zip(
                found["labels"].tolist(), found["scores"].tolist(), found["boxes"].tolist(), strict=True
            )
            if score >= threshold
        ]


def load_detector(name: str, weights: str = DEFAULT, device: torch.device | None = None) -> Detector:
    """Load one of DETECTORS, with torchvision's weights (`default`) or weights from a `.pt` or `.safetensors` file.

    Raises UserError for weights that are not available or do not fit.
    """
    network = zoo.get_model(name, weights=None, weights_backbone=None)
    published = zoo.get_model_weights(name).DEFAULT
    if weights == DEFAULT:
        state = download_weights(published, otherwise="give a file with --weights FILE")
    else:
        state = read_weights(weights)
    load_fitting(network, state, replaced=(), source=weights, backbone=name)
    return Detector(network, published.meta["categories"], device or torch.device("cpu"))
