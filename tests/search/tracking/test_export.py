from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.bundle import load_bundle
from search.export import write_onnx
from tests.models.test_serving_graph import bundle as bundle

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # Of torch's own exporter.
@pytest.mark.parametrize("images", [1, 7])
def test_the_exported_file_answers_as_the_champion_for_any_number_of_images(
    bundle: Path, tmp_path: Path, images: int
) -> None:
    from onnx.reference import ReferenceEvaluator

    write_onnx(bundle, tmp_path / "model.onnx")
    images_NHWC = np.random.default_rng(0).integers(0, 256, (images, 8, 8, 3), dtype=np.uint8)
    (answered,) = ReferenceEvaluator(onnx.load(tmp_path / "model.onnx")).run(None, {"images": images_NHWC})
    np.testing.assert_allclose(answered, load_bundle(bundle).predict_proba(images_NHWC), atol=1e-5)
