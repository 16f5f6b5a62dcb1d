"""Trials on images that are kept decoded and on images that are not: the same numbers."""

from __future__ import annotations

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
from models.training.fit import fit
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
