"""torchvision's networks taken apart: each as children that are run one after the other, without its classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.vision_transformer import interpolate_embeddings

from data.errors import InfeasibleConfig, UserError
from models.finetuning import Auxiliary, Body, chain
from models.preprocessing import Preprocessing
from models.weights import DEFAULT, NONE, load_fitting, read_weights

Children = Iterator[tuple[str, nn.Module]]


@dataclass(frozen=True, kw_only=True)
class TorchvisionFamily:
    """How one of torchvision's networks is taken apart."""

    children: Callable[[Any], Children]
    smallest_px: int = 32
    """Smallest image that its strides leave something of."""
    multiple_px: int = 1
    """What the image size has to be a multiple of."""
    taps: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Child -> the auxiliary classifier on its output, and the last layer of that."""
    tap_weight: float = 0.0
    """Of the loss of an auxiliary classifier."""
    taps_from_px: int = 0
    """Smallest image that the auxiliary classifiers have room for."""
    statistics: tuple[float, float] | None = None
    """Mean and standard deviation of all channels, where the weights' metadata does not say what they were trained on."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """For torchvision's builder."""


def _resnet(network: models.ResNet) -> Children:
    for name, child in network.named_children():
        if name == "avgpool":
            yield name, _flattened(child)
        elif name != "fc":
            yield name, child


def _vgg(network: models.VGG) -> Children:
    block: list[nn.Module] = []
    number = 1
    for layer in network.features:
        block.append(layer)
        if isinstance(layer, nn.MaxPool2d):
            yield f"block{number}", nn.Sequential(*block)
            block, number = [], number + 1
    yield "avgpool", _flattened(network.avgpool)
    yield "fc6", network.classifier[:3]
    yield "fc7", network.classifier[3:6]


def _inception(network: models.Inception3) -> Children:
    for name, child in network.named_children():
        if name == "avgpool":
            yield name, _flattened(child)
        elif name not in ("AuxLogits", "dropout", "fc"):
            yield name, child


def _googlenet(network: models.GoogLeNet) -> Children:
    for name, child in network.named_children():
        if name == "avgpool":
            yield name, _flattened(child)
        elif name not in ("aux1", "aux2", "dropout", "fc"):
            yield name, child


def _features_then_pool(network: Any) -> Children:
    """EfficientNet, MobileNetV3, ConvNeXt: numbered stages, pooling, and what their classifier has before its end."""
    for name, stage in network.features.named_children():
        yield f"features_{name}", stage
    yield "avgpool", network.avgpool
    yield "neck", nn.Sequential(*network.classifier[:-1], nn.Flatten())


def _features_pool_and_dense(network: Any) -> Children:
    for name, stage in network.features.named_children():
        yield f"features_{name}", stage
    yield "avgpool", _flattened(network.avgpool)
    yield "dense", network.classifier[:-1]


def _vit(network: models.VisionTransformer) -> Children:
    yield "embedding", _Embedding(network)
    for name, layer in network.encoder.layers.named_children():
        yield name.removeprefix("encoder_"), layer
    yield "norm", nn.Sequential(_ClassToken(), network.encoder.ln)


# GoogLeNet and InceptionV3 were trained on other statistics than their metadata says; torchvision's `transform_input`
# converts from the one to the other, image by image.
_TENSORFLOW = (0.5, 0.5)

FAMILIES: dict[str, TorchvisionFamily] = {
    "resnet18": TorchvisionFamily(children=_resnet),
    "resnet50": TorchvisionFamily(children=_resnet),
    "vgg16": TorchvisionFamily(children=_vgg),
    "inception_v3": TorchvisionFamily(
        children=_inception,
        smallest_px=75,
        taps={"Mixed_6e": ("AuxLogits", "fc")},
        tap_weight=0.4,  # As in torchvision's training reference.
        taps_from_px=299,
        statistics=_TENSORFLOW,
        options={"aux_logits": True, "init_weights": False},
    ),
    "googlenet": TorchvisionFamily(
        children=_googlenet,
        taps={"inception4a": ("aux1", "fc2"), "inception4d": ("aux2", "fc2")},
        tap_weight=0.3,  # Szegedy et al. 2014, section 5.
        statistics=_TENSORFLOW,
        options={"aux_logits": True, "init_weights": False},
    ),
    "efficientnet_v2_s": TorchvisionFamily(children=_features_then_pool),
    "vit_b_16": TorchvisionFamily(children=_vit, multiple_px=16),
    "mobilenet_v3_small": TorchvisionFamily(children=_features_pool_and_dense),
    "mobilenet_v3_large": TorchvisionFamily(children=_features_pool_and_dense),
    "convnext_tiny": TorchvisionFamily(children=_features_then_pool),
}
