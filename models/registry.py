"""Every model family that can be searched, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data.errors import UserError
from models.config import FlexCNNConfig, TrainConfig
from models.shapes import InputShape
from models.spelling import did_you_mean

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Family:
    """A kind of network: the fields that configure it, and the function that builds it."""

    config: type[TrainConfig]
    build: Callable[[TrainConfig, InputShape, int], nn.Module]


def _flexcnn(config: TrainConfig, input_shape: InputShape, classes: int) -> nn.Module:
    # Imported on use: torch takes seconds to import, and most commands only read configurations.
    from models.flexcnn import FlexCNN

    assert isinstance(config, FlexCNNConfig)
    return FlexCNN(config, input_shape, classes)


MODELS: dict[str, Family] = {
    "flexcnn": Family(config=FlexCNNConfig, build=_flexcnn),
}


def config_class(model: str) -> type[TrainConfig]:
    """The configuration of a family. Raises UserError for an unknown one, with the nearest spelling."""
    return _family(model).config


def build_model(config: TrainConfig, input_shape: InputShape, classes: int) -> nn.Module:
    """Build an untrained network that takes images_NCHW of `input_shape` (C, H, W) and returns logits (N, classes).

    The weights come from torch's global generator: seed it first. Raises InfeasibleConfig if it cannot be built.
    """
    return _family(config.model).build(config, input_shape, classes)


def _family(model: str) -> Family:
    if model not in MODELS:
        raise UserError(f"unknown model {model!r}.{did_you_mean(model, MODELS)}")
    return MODELS[model]
