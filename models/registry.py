"""The model families that can be searched, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from data.errors import UserError
from models.config import BackboneConfig, FlexCNNConfig, TrainConfig
from models.preprocessing import Preprocessing
from models.shapes import InputShape, network_shape
from models.spelling import did_you_mean

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Family:
    """A kind of network: the fields that configure it, and the function that builds it."""

    config: type[TrainConfig]
    build: Callable[[TrainConfig, InputShape, int], nn.Module]
    check: Callable[[TrainConfig, InputShape, int], None]
    """Raises InfeasibleConfig if `build` would fail, as far as the configuration alone shows it."""


def _flexcnn(config: TrainConfig, input_shape: InputShape, classes: int) -> nn.Module:
    # Imported when needed: torch takes seconds to import, and most commands only read configurations.
    from models.flexcnn import FlexCNN

    assert isinstance(config, FlexCNNConfig)
    return FlexCNN(config, input_shape, classes)


def _check_flexcnn(config: TrainConfig, input_shape: InputShape, classes: int) -> None:
    assert isinstance(config, FlexCNNConfig)
    network_shape(config, input_shape, classes)


def _backbone(config: TrainConfig, input_shape: InputShape, classes: int) -> nn.Module:
    from models.backbones import build_classifier

    assert isinstance(config, BackboneConfig)
    return build_classifier(config, input_shape, classes)


def _check_backbone(config: TrainConfig, input_shape: InputShape, classes: int) -> None:
    from models import backbones

    assert isinstance(config, BackboneConfig)
    backbones.check_image_size(config, input_shape[1])


MODELS: dict[str, Family] = {
    "flexcnn": Family(config=FlexCNNConfig, build=_flexcnn, check=_check_flexcnn),
    "backbone": Family(config=BackboneConfig, build=_backbone, check=_check_backbone),
}


def config_class(model: str) -> type[TrainConfig]:
    """The configuration class of a model family. Raises UserError for an unknown family, with the nearest spelling."""
    return _family(model).config


def build_model(config: TrainConfig, input_shape: InputShape, classes: int) -> nn.Module:
    """Build an untrained network that takes images_NCHW of `input_shape` (C, H, W) and returns logits (N, classes).

    The weights are drawn from PyTorch's global generator, so seed it first. Raises InfeasibleConfig if the network
    cannot be built.
    """
    return _family(config.model).build(config, input_shape, classes)


def check_buildable(config: TrainConfig, channels: int, classes: int) -> None:
    """Raise InfeasibleConfig for a network that cannot be built for square images of the configured size.

    Only the configuration is examined: nothing is built, downloaded or allocated. Raises UserError for an unknown
    backbone, with the nearest spelling.
    """
    config = resolved(config)
    _family(config.model).check(config, (channels, config.image_size, config.image_size), classes)


def build_skeleton(config: TrainConfig, input_shape: InputShape, classes: int) -> nn.Module:
    """`build_model` for a network whose weights will be loaded: a backbone is built without its pre-trained weights,
    and nothing is downloaded.
    """
    if isinstance(config, BackboneConfig):
        config = replace(config, weights="none")
    return build_model(config, input_shape, classes)


def resolved(config: TrainConfig) -> TrainConfig:
    """The configuration with a pre-trained backbone's own image size, if it does not set one.

    Raises UserError for an unknown backbone, with the nearest spelling.
    """
    if not isinstance(config, BackboneConfig):
        return config
    from models import backbones

    return backbones.resolved(config)


def preprocessing(config: TrainConfig) -> Preprocessing | None:
    """The preprocessing that the network's weights were trained with; None for untrained weights, in which case the
    statistics of the training images are used.
    """
    if not isinstance(config, BackboneConfig):
        return None
    from models import backbones

    return backbones.preprocessing(config)


def fetch_weights(config: TrainConfig) -> None:
    """Download and check a pre-trained backbone's weights before the search starts. Does nothing for other families.

    Raises UserError for weights that are not available or do not fit.
    """
    if isinstance(config, BackboneConfig):
        from models import backbones

        backbones.fetch_weights(config)


def libraries(config: TrainConfig) -> tuple[str, ...]:
    """The modules that building the configuration's network imports late, each of which takes a second or more."""
    if not isinstance(config, BackboneConfig):
        return ()
    return ("models.backbones", "timm") if config.backbone.startswith("timm/") else ("models.backbones",)


def _family(model: str) -> Family:
    if model not in MODELS:
        raise UserError(f"unknown model {model!r}.{did_you_mean(model, MODELS)}")
    return MODELS[model]
