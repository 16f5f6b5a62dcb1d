from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.bundle import load_bundle
from models.latency import LATENCY_BATCHES, measure_file, onnx_predict
from search.export import write_onnx
from tests.models.test_serving_graph import bundle as bundle

pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # Of torch's exporter.


def test_the_file_of_8_bit_integers_answers_nearly_as_the_classifier(bundle: Path, tmp_path: Path) -> None:
    from models.quantise import write_int8

    full, int8 = tmp_path / "model.onnx", tmp_path / "model-int8.onnx"
    write_onnx(bundle, full)
    images_NHWC = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), dtype=np.uint8)
    write_int8(full, images_NHWC, int8)
    exact_NC = load_bundle(bundle).predict_proba(images_NHWC)
    np.testing.assert_allclose(onnx_predict(full)(images_NHWC), exact_NC, atol=1e-5)
    quantised_NC = onnx_predict(int8)(images_NHWC)
    np.testing.assert_allclose(quantised_NC, exact_NC, atol=0.05)
    assert np.abs(quantised_NC - exact_NC).max() > 1e-5  # It is another file.
    assert {path.name for path in tmp_path.iterdir()} >= {"model.onnx", "model-int8.onnx"}


def test_a_file_is_scored_and_timed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    batches: list[int] = []

    def predict(images_NHWC: np.ndarray) -> np.ndarray:
        batches.append(len(images_NHWC))
        return np.eye(2, dtype=np.float32)[images_NHWC[:, 0, 0, 0] // 255]

    images_NHWC = np.zeros((100, 1, 1, 1), dtype=np.uint8)
    images_NHWC[:25] = 255
    figures = measure_file(path, predict, images_NHWC, np.zeros(100, dtype=np.int64))
    assert (figures.val_accuracy, figures.val_images, figures.size_bytes) == (0.75, 100, 5)
    assert set(figures.latency_ms) == set(LATENCY_BATCHES) <= set(batches)
    assert all(milliseconds >= 0 for milliseconds in figures.latency_ms.values())
    assert measure_file(path, predict, images_NHWC, None).val_accuracy is None
