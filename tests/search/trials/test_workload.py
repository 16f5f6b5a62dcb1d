"""What trials of one worker share, and that images which are not kept decoded give the same numbers."""

from __future__ import annotations

import weakref
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from data.augment import Augmentation
from data.files import CacheLimit
from data.spec import DataSpec
from data.streamed import StreamedImages
from models.config import BackboneConfig, FlexCNNConfig
from models.preprocessing import Preprocessing
from models.training.extraction import Extraction
from models.training.feature_batches import FeatureTrainBatches
from models.training.fit import fit
from search.trials.probe_trial import sampled
from search.trials.validation_predictions import measure_predictions, predict
from search.trials.workload import WorkloadBuilder, open_workload_builder
from tests.search.conftest import CPU, settings_at

CONFIG = FlexCNNConfig(
    image_size=8, conv_layers=1, filters=4, dense_width=8, batch_size=32, dropout=0.3, crop_padding=1, epochs=2
)


@pytest.fixture
def builders(tmp_path: Path) -> tuple[WorkloadBuilder, WorkloadBuilder]:
    """One that keeps its images decoded, and one that does not."""
    spec, limit = DataSpec(source="digits", train_images=120), CacheLimit(size_bytes=0, processes=1)
    kept, streamed = settings_at(tmp_path / "kept"), settings_at(tmp_path / "streamed")
    return open_workload_builder(spec, kept, CPU), open_workload_builder(
        spec, replace(streamed, cache_limit=limit), CPU
    )


def _train(workloads: WorkloadBuilder) -> list[dict[str, Any]]:
    data = workloads.open_data(CONFIG)
    work = workloads.prepare(CONFIG, data, seed=3)
    epochs = fit(work.learning, work.train, work.val, CONFIG, classes=10, device=CPU, seed=3)
    own = {"duration_s", "images_per_s", "memory_mib"}
    return [{name: value for name, value in asdict(metrics).items() if name not in own} for metrics in epochs]


def test_images_that_are_not_kept_train_to_the_same_bits(builders: tuple[WorkloadBuilder, WorkloadBuilder]) -> None:
    kept, streamed = builders
    assert isinstance(streamed.open_data(CONFIG).train, StreamedImages)
    assert _train(streamed) == _train(kept)


def test_images_that_are_not_kept_have_the_same_features(builders: tuple[WorkloadBuilder, WorkloadBuilder]) -> None:
    seen = Preprocessing(image_size=8, mean=(0.5,), std=(0.5,), interpolation="bicubic")
    frozen = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten())
    features = []
    for workloads in builders:
        images = workloads.open_data(CONFIG).search.train
        extract = Extraction(frozen, images, BackboneConfig(), seen, Augmentation(flip=0.5), torch.device("cpu"))
        features.append(extract(5, 2 * len(images)))
    np.testing.assert_array_equal(*features)


FROZEN = BackboneConfig(
    backbone="mobilenet_v3_small", weights="none", image_size=32, freezing="freeze_all", precision="fp32", epochs=4,
    batch_size=16, learning_rate=0.01,
)  # fmt: skip


def test_a_network_of_random_frozen_weights_is_saved_with_the_head_that_was_trained_on_it(tmp_path: Path) -> None:
    workloads = open_workload_builder(DataSpec(source="digits", train_images=150), settings_at(tmp_path), CPU)
    config = replace(FROZEN, backbone="resnet18")  # Its random features tell digits apart.
    data = workloads.open_data(config)
    for seed in range(2):
        work = workloads.prepare(config, data, seed)
        recorded = list(fit(work.learning, work.train, work.val, config, classes=10, device=CPU, seed=seed))
        saved = predict(work.model, data.val_batches(work.preprocessing))
        best = max(metrics.val_accuracy for metrics in recorded)
        assert best > 0.3  # Random answers are right for a tenth.
        assert measure_predictions(saved, "val_accuracy", data.search.classes) == pytest.approx(best)


def test_a_trial_after_a_probe_is_judged_on_all_validation_images(tmp_path: Path) -> None:
    spec = DataSpec(source="digits", train_images=120, val_fraction=0.75)
    workloads = open_workload_builder(spec, settings_at(tmp_path), CPU)
    data = workloads.open_data(FROZEN)
    for images, expected in ((sampled(data, 40, seed=0), 40), (data, 90)):
        val = workloads.prepare(FROZEN, images, seed=0).val
        assert sum(len(batch.labels_N) for batch in val) == expected


def test_a_whole_network_is_trained_without_the_features_of_another_in_memory(tmp_path: Path) -> None:
    workloads = open_workload_builder(DataSpec(source="digits", train_images=60), settings_at(tmp_path), CPU)
    data = workloads.open_data(FROZEN)
    train = workloads.prepare(FROZEN, data, seed=0).train
    assert isinstance(train, FeatureTrainBatches)
    features = weakref.ref(train.images.pool_NHWC)
    del train
    assert features() is not None
    workloads.prepare(replace(FROZEN, freezing="unfreeze_all"), data, seed=0)
    assert features() is None
