"""Every picture of every kind of network: drawn, and showing something."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.arrays import ImageSet
from models.bundle import Classifier
from models.config import BackboneConfig, FlexCNNConfig, TrainConfig
from models.registry import build_model
from search.pictures.draw_all import sheets
from search.pictures.predictions import predictions_of

SIZE = 48
CLASSES = ("ant", "bee")
ALL = {
    "predictions", "mistakes", "confusion", "class_scores", "calibration", "coverage",
    "first_layer", "feature_maps", "guided_backprop", "grad_cam",
}  # fmt: skip


def _timm() -> TrainConfig:
    pytest.importorskip("timm")
    return BackboneConfig(backbone="timm/resnet10t", weights="none", image_size=SIZE)


NETWORKS: dict[str, Callable[[], TrainConfig]] = {
    "flexcnn": lambda: FlexCNNConfig(image_size=SIZE, conv_layers=3, filters=8, dropout=0.5, activation="gelu"),
    "torchvision": lambda: BackboneConfig(backbone="resnet18", weights="none", image_size=SIZE),
    "timm": _timm,
}


@pytest.mark.parametrize(
    "family", ["flexcnn", *(pytest.param(name, marks=pytest.mark.slow) for name in ("torchvision", "timm"))]
)
def test_every_picture_is_drawn_of_every_family(family: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    config, shape = NETWORKS[family](), (3, SIZE, SIZE)
    classifier = Classifier(
        model=build_model(config, shape, len(CLASSES)).eval(), config=config, classes=CLASSES, input_shape=shape,
        mean=(0.5,) * 3, std=(0.25,) * 3, device=torch.device("cpu"),
    )  # fmt: skip
    rows = np.arange(12)
    pixels = np.random.default_rng(4).integers(0, 255, (len(rows), SIZE, SIZE, 3), dtype=np.uint8)
    images = ImageSet(pool_NHWC=pixels, rows_M=rows, labels_M=rows % 2)
    predictions = predictions_of(images, classifier.predict_proba(pixels), CLASSES, "validation images")
    drawn = set()
    for name, sheet in sheets(classifier, predictions):
        if name == "label_errors":  # Nothing was held out here.
            assert sheet is None
            continue
        assert sheet is not None  # Random weights are not right about twelve images.
        sheet.save(tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as image:
            body = np.asarray(image.convert("L"))[image.height // 3 :]
        assert body.std() > 5, f"{name} is blank"
        drawn.add(name)
    assert drawn == ALL
