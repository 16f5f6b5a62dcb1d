"""A combination of several networks as users get it: bundle, registered model and ONNX file give the same answers."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import mlflow
import numpy as np
import pytest
import torch

from models.bundle import load_bundle, save_bundle
from models.combined import Ensemble
from models.config import FlexCNNConfig
from models.registry import build_model
from search.export import write_onnx
from search.tracking.packaging import save_model

CONFIGS = (
    FlexCNNConfig(image_size=8, conv_layers=1, filters=4, dense_width=8, dropout=0.2),
    FlexCNNConfig(image_size=8, conv_layers=2, filters=6, dense_width=0),
)
IMAGES_NHWC = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two different networks whose answers for each image and its mirror image are averaged."""
    torch.manual_seed(0)
    network = Ensemble([build_model(config, (3, 8, 8), 3) for config in CONFIGS], CONFIGS, mirror=True)
    folder = tmp_path_factory.mktemp("ensemble") / "classifier"
    save_bundle(
        folder, network, CONFIGS[0],
        classes=("a", "b", "c"), input_shape=(3, 8, 8), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4),
    )  # fmt: skip
    return folder


def test_the_registered_model_answers_as_the_bundle(ensemble: Path, tmp_path: Path) -> None:
    save_model(ensemble, tmp_path / "model")
    registered = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    np.testing.assert_allclose(
        registered.predict(IMAGES_NHWC), load_bundle(ensemble).predict_proba(IMAGES_NHWC), atol=1e-6
    )


def test_saving_a_model_does_not_list_the_files_of_all_installed_packages(
    ensemble: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = Mock(return_value={})
    monkeypatch.setattr("mlflow.utils.requirements_utils._MODULES_TO_PACKAGES", None)
    monkeypatch.setattr("importlib_metadata.packages_distributions", lists)
    save_model(ensemble, tmp_path / "model")
    lists.assert_not_called()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # Of torch's own exporter.
def test_the_exported_file_answers_as_the_bundle(ensemble: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
    from onnx.reference import ReferenceEvaluator

    write_onnx(ensemble, tmp_path / "model.onnx")
    (answered,) = ReferenceEvaluator(onnx.load(tmp_path / "model.onnx")).run(None, {"images": IMAGES_NHWC})
    np.testing.assert_allclose(answered, load_bundle(ensemble).predict_proba(IMAGES_NHWC), atol=1e-4)
