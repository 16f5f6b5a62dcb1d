"""The networks whose images per second are measured, by their names in the result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from benchmarks.gpu.setting import Setting
from models.config import BackboneConfig, FlexCNNConfig, TrainConfig
from models.values import with_values
from studies.cifar10 import CIFAR10

_EPOCHS = 100
"""More epochs than are ever measured; schedules are constant, so the number does not change a step."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network's title and configuration, and the number of images in an epoch."""

    title: str
    config: TrainConfig
    train_images: int
    val_images: int


_AUGMENTED: dict[str, Any] = {"flip": 0.5, "crop_padding": 2}
_FIVE_CONVS = FlexCNNConfig(image_size=32, conv_layers=5, filters=32, filter_factor=1.0, batch_size=128, epochs=_EPOCHS)
_RESNET18 = BackboneConfig(
    backbone="resnet18",
    weights="none",
    stem="small",
    image_size=32,
    freezing="unfreeze_all",
    batch_size=128,
    epochs=_EPOCHS,
)
_CIFAR10 = with_values(CIFAR10.config, {"filters": 64, "scheduler": "constant", "epochs": _EPOCHS})

NETWORKS = {
    "flexcnn-32": Network(
        title="five convs of 32, 32 px, batch 128", config=_FIVE_CONVS, train_images=40_000, val_images=5_000
    ),
    "flexcnn-32-augmented": Network(
        title="the same with flip and crop",
        config=replace(_FIVE_CONVS, **_AUGMENTED),
        train_images=40_000,
        val_images=5_000,
    ),
    "cifar10": Network(
        title="the study cifar10's, 64 to 512 filters, batch 128, flip and crop",
        config=_CIFAR10,
        train_images=40_000,
        val_images=5_000,
    ),
    "resnet18-32": Network(
        title="ResNet-18 with a small stem, 32 px, batch 128", config=_RESNET18, train_images=40_000, val_images=5_000
    ),
    "resnet18-32-batch512": Network(
        title="the same, batch 512, flip and crop",
        config=replace(_RESNET18, batch_size=512, **_AUGMENTED),
        train_images=40_000,
        val_images=5_000,
    ),
    "flexcnn-224": Network(
        title="five convs of 32, 224 px, batch 128",
        config=replace(_FIVE_CONVS, image_size=224),
        train_images=8_000,
        val_images=2_000,
    ),
}


def network(name: str, setting: Setting) -> Network:
    """Return a network by its name; in a dry run with few images, filters and pixels."""
    whole = NETWORKS[name]
    if not setting.smoke:
        return whole
    small: dict[str, Any] = {"batch_size": 16, "image_size": min(whole.config.image_size, 64)}
    if isinstance(whole.config, FlexCNNConfig):
        small["filters"] = 4
    return replace(whole, config=with_values(whole.config, small), train_images=48, val_images=16)
