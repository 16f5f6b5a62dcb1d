from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from data.arrays import ImageSet
from data.batches import EvalBatches, to_device
from data.errors import UserError
from models.bundle import DESCRIPTION, load_bundle, read_calibration, save_bundle
from models.calibration import Calibration, temper
from models.config import FlexCNNConfig
from models.registry import build_model
from models.thresholds import Threshold

CLASSES = ("ant", "bee", "cat")
MEAN, STD = (0.48, 0.45, 0.4), (0.2, 0.21, 0.22)
IMAGES = np.random.default_rng(0).integers(0, 256, size=(11, 12, 10, 3), dtype=np.uint8)
Bundle = tuple[Path, nn.Module, FlexCNNConfig]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    torch.manual_seed(0)
    config = FlexCNNConfig(conv_layers=2, filters=(4, 6), dense_width=8, dropout=0.3)
    model = build_model(config, (3, 12, 10), 3).to(memory_format=torch.channels_last)
    model(torch.randn(20, 3, 12, 10))  # batch norms have seen something
    save_bundle(tmp_path / "b", model, config, classes=CLASSES, input_shape=(3, 12, 10), mean=MEAN, std=STD)
    return tmp_path / "b", model.eval(), config


def test_a_classifier_computes_in_the_number_format_asked_for_and_in_float32_unasked(bundle: Bundle) -> None:
    classifier = load_bundle(bundle[0])
    exact = classifier.predict_proba(IMAGES)

    rounded = classifier.predict_proba(IMAGES, precision="bf16")

    assert rounded.dtype == np.float32 and not np.array_equal(rounded, exact)
    np.testing.assert_allclose(rounded, exact, atol=0.02)
    np.testing.assert_array_equal(classifier.predict_proba(IMAGES, precision="fp32"), exact)


def test_a_loaded_classifier_predicts_what_the_network_predicts_in_validation(bundle: Bundle) -> None:
    folder, model, config = bundle
    rows = np.arange(len(IMAGES))
    images = to_device(ImageSet(pool_NHWC=IMAGES, rows_M=rows, labels_M=rows * 0), torch.device("cpu"))
    with torch.no_grad():
        in_validation = torch.cat(
            [model(batch.images_NCHW).softmax(1) for batch in EvalBatches(images, mean=MEAN, std=STD, batch_size=4)]
        )

    classifier = load_bundle(folder)
    probabilities = classifier.predict_proba(IMAGES, batch_size=4)

    assert probabilities.shape == (11, 3) and probabilities.dtype == np.float32
    np.testing.assert_array_equal(probabilities, in_validation.numpy())
    assert (classifier.classes, classifier.input_shape, classifier.config) == (CLASSES, (3, 12, 10), config)


def test_the_logits_are_divided_by_the_temperature(bundle: Bundle, tmp_path: Path) -> None:
    folder, model, config = bundle
    calibration = Calibration(temperature=2.5, thresholds=(Threshold(precision=0.9, confidence=0.6, coverage=0.8),))
    save_bundle(
        tmp_path / "hot", model, config,
        classes=CLASSES, input_shape=(3, 12, 10), mean=MEAN, std=STD, calibration=calibration,
    )  # fmt: skip
    hot = load_bundle(tmp_path / "hot")
    assert hot.calibration == read_calibration(tmp_path / "hot") == calibration
    cold = load_bundle(folder).predict_proba(IMAGES)
    np.testing.assert_allclose(hot.predict_proba(IMAGES), temper(cold, 2.5), atol=1e-6)
    assert hot.predict_proba(IMAGES).max() < cold.max()


def test_a_classifier_of_a_version_without_temperature_is_loaded(bundle: Bundle) -> None:
    folder = bundle[0]
    before = load_bundle(folder).predict_proba(IMAGES)
    description = json.loads((folder / DESCRIPTION).read_text())
    del description["calibration"]
    (folder / DESCRIPTION).write_text(json.dumps(description))
    np.testing.assert_array_equal(load_bundle(folder).predict_proba(IMAGES), before)
    assert load_bundle(folder).calibration.temperature == 1


@pytest.mark.parametrize("images", [0, 1, 11])
@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_any_number_of_images_in_any_batch_size_gives_the_same_answer(
    bundle: Bundle, images: int, batch_size: int
) -> None:
    classifier = load_bundle(bundle[0])

    probabilities = classifier.predict_proba(IMAGES[:images], batch_size=batch_size)

    np.testing.assert_allclose(probabilities, classifier.predict_proba(IMAGES)[:images], rtol=1e-5)
    np.testing.assert_allclose(probabilities.sum(axis=1), np.ones(images), rtol=1e-5)


def test_a_read_only_array_is_predicted_without_a_warning(bundle: Bundle) -> None:
    frozen = IMAGES.copy()
    frozen.flags.writeable = False

    assert load_bundle(bundle[0]).predict_proba(frozen).shape == (11, 3)


@pytest.mark.parametrize("images", [IMAGES[:, :, :, :1], IMAGES[:, :8], IMAGES[0], IMAGES.astype(np.float32)])
def test_images_of_another_shape_or_type_are_refused(bundle: Bundle, images: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"^images of shape .*: this classifier takes uint8 of shape \(N, 12, 10, 3\)$"):
        load_bundle(bundle[0]).predict_proba(images)


def test_the_folder_holds_two_files_and_neither_is_a_pickle(bundle: Bundle) -> None:
    folder = bundle[0]

    assert sorted(os.listdir(folder)) == ["classifier.json", "weights.safetensors"]
    assert os.listdir(folder.parent) == ["b"]
    assert json.loads((folder / "classifier.json").read_text())["config"]["filters"] == "4,6"


def test_a_folder_that_holds_something_is_not_overwritten(bundle: Bundle) -> None:
    folder, model, config = bundle
    before = (folder / "classifier.json").read_bytes()

    with pytest.raises(UserError, match=r"b: is not empty; choose another folder"):
        save_bundle(folder, model, config, classes=("x", "y", "z"), input_shape=(3, 12, 10), mean=MEAN, std=STD)

    assert (folder / "classifier.json").read_bytes() == before
    assert os.listdir(folder.parent) == ["b"]


def test_what_is_not_a_whole_classifier_is_refused_in_one_line(bundle: Bundle) -> None:
    folder, _, _ = bundle
    weights, description = folder / "weights.safetensors", folder / "classifier.json"
    whole = weights.read_bytes(), json.loads(description.read_text())

    def refused() -> str:
        with pytest.raises(UserError) as refusal:
            load_bundle(folder)
        weights.write_bytes(whole[0])
        description.write_text(json.dumps(whole[1]))
        assert str(folder) in str(refusal.value) and "\n" not in str(refusal.value)
        return str(refusal.value)

    weights.write_bytes(whole[0][:200])
    assert "the classifier cannot be loaded" in refused()
    weights.unlink()
    assert "the classifier cannot be loaded" in refused()
    description.write_text("{")
    assert "the classifier cannot be loaded" in refused()
    description.write_text(json.dumps({**whole[1], "classes": ["ant", "bee"]}))
    assert "the classifier cannot be loaded" in refused()
    description.write_text(json.dumps({**whole[1], "format": 2}))
    assert "format 2; this version reads format 1" in refused()
    description.write_text(json.dumps({**whole[1], "config": {**whole[1]["config"], "filters": "4,6,7"}}))
    assert "filters=4,6,7: 3 values for conv_layers=2" in refused()
    assert load_bundle(folder).classes == CLASSES


def test_a_network_with_other_options_survives_the_trip(tmp_path: Path, bundle: Bundle) -> None:
    config = dataclasses.replace(bundle[2], padding=0, kernel_size=2, batch_norm=False, pooling="avg")
    model = build_model(config, (3, 12, 10), 3).eval()
    save_bundle(tmp_path / "c", model, config, classes=CLASSES, input_shape=(3, 12, 10), mean=MEAN, std=STD)

    loaded = load_bundle(tmp_path / "c").model

    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
