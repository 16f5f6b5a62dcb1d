from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.bundle import load_bundle, save_bundle
from models.calibration import Calibration
from models.config import FlexCNNConfig
from models.registry import build_model
from models.serving_graph import ServingGraph

CONFIG = FlexCNNConfig(image_size=8, conv_layers=2, filters=8, dense_width=0, dropout=0.2)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = build_model(CONFIG, (3, 8, 8), 3)
    for norm in (module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        torch.nn.init.uniform_(norm.running_mean)  # type: ignore[arg-type]
    save_bundle(
        tmp_path / "bundle", model, CONFIG,
        classes=("a", "b", "c"), input_shape=(3, 8, 8), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4),
        calibration=Calibration(temperature=1.7),
    )  # fmt: skip
    return tmp_path / "bundle"


def test_the_graph_answers_as_the_classifier_does(bundle: Path) -> None:
    classifier = load_bundle(bundle)
    images_NHWC = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    with torch.inference_mode():
        answered = ServingGraph(classifier).eval()(torch.from_numpy(images_NHWC))
    np.testing.assert_allclose(answered.numpy(), classifier.predict_proba(images_NHWC), atol=1e-6)
