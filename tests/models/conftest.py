"""Small image sets that a small network can learn in an epoch or two."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from data.arrays import ImageSet
from data.augment import Augmentation
from data.batches import DeviceImages, EvalBatches, TrainBatches, to_device
from models.config import FlexCNNConfig, TrainConfig

CPU = torch.device("cpu")
CLASSES = 3
STATISTICS = {"mean": (0.4,), "std": (0.3,)}
Splits = tuple[TrainBatches, EvalBatches]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def stripes(images: int, seed: int) -> ImageSet:
    """8x8 gray noise; the class decides which third of the picture is brighter. Class 0 is as common as 1 and 2."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(CLASSES, size=images, p=[0.5, 0.3, 0.2])
    pool = generator.integers(0, 140, size=(images, 8, 8, 1))
    for index, label in enumerate(labels):
        pool[index, 3 * label : 3 * label + 2] += 90
    return ImageSet(pool_NHWC=pool.astype(np.uint8), rows_M=np.arange(images), labels_M=labels)


@pytest.fixture(scope="session")
def device_images() -> tuple[DeviceImages, DeviceImages]:
    return to_device(stripes(160, seed=1), CPU), to_device(stripes(60, seed=2), CPU)  # type: ignore[return-value]


MakeSplits = Callable[[TrainConfig], Splits]


def _splits_of(train: DeviceImages, val: DeviceImages, *, val_batch: int) -> MakeSplits:
    def make(config: TrainConfig) -> Splits:
        return (
            TrainBatches(train, batch_size=config.batch_size, augmentation=Augmentation.of(config), **STATISTICS),
            EvalBatches(val, batch_size=val_batch, **STATISTICS),
        )

    return make


@pytest.fixture
def splits(device_images: tuple[DeviceImages, DeviceImages]) -> MakeSplits:
    """Training and validation batches for a configuration."""
    return _splits_of(*device_images, val_batch=32)


@pytest.fixture
def few_splits() -> MakeSplits:
    """The same of 32 and 12 images, for networks whose steps take long; the last batch of validation is not full."""
    return _splits_of(to_device(stripes(32, seed=1), CPU), to_device(stripes(12, seed=2), CPU), val_batch=8)


@pytest.fixture
def tiny() -> FlexCNNConfig:
    return FlexCNNConfig(
        image_size=8,
        conv_layers=2,
        filters=8,
        dense_width=16,
        epochs=4,
        batch_size=32,
        learning_rate=0.003,
        weight_decay=0.01,
        dropout=0.2,
        flip=0.5,
        scheduler="cosine",
    )
