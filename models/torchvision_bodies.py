"""torchvision's networks without their classifiers, each as children that are run one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torchvision.models as zoo
from torch import Tensor, nn
from torchvision.models.vision_transformer import interpolate_embeddings

from data.errors import InfeasibleConfig
from models.finetuning import Auxiliary, Body, chain
from models.preprocessing import Preprocessing
from models.weights import DEFAULT, NONE, download_weights, load_fitting, read_weights

Children = Iterator[tuple[str, nn.Module]]
_PATCH_PX = 16


@dataclass(frozen=True, kw_only=True)
class Family:
    """How one of torchvision's networks is divided into children."""

    children: Callable[[Any], Children]
    taps: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Child -> the auxiliary classifier that takes its output, and the name of the classifier's last layer."""
    tap_weight: float = 0.0
    """Weight of the loss of an auxiliary classifier."""
    taps_from_px: int = 0
    """Smallest image size in pixels that the auxiliary classifiers can process."""
    statistics: tuple[float, float] | None = None
    """Mean and standard deviation of all channels; None for those of the weights' metadata."""
    patches: bool = False
    """Whether the network learns a position for each patch of the image."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options for torchvision's builder."""


def _without(*left_out: str) -> Callable[[nn.Module], Children]:
    """A function that yields a network's children except these, flattened after the pooling."""

    def children(network: nn.Module) -> Children:
        for name, child in network.named_children():
            if name not in left_out:
                yield name, nn.Sequential(child, nn.Flatten()) if name == "avgpool" else child

    return children


def _vgg(network: Any) -> Children:
    block: list[nn.Module] = []
    number = 1
    for layer in network.features:
        block.append(layer)
        if isinstance(layer, nn.MaxPool2d):
            yield f"block{number}", nn.Sequential(*block)
            block, number = [], number + 1
    yield "avgpool", nn.Sequential(network.avgpool, nn.Flatten())
    yield "fc6", network.classifier[:3]
    yield "fc7", network.classifier[3:5]


def _stages(network: Any) -> Children:
    for number, stage in network.features.named_children():
        yield f"features_{number}", stage


def _efficientnet(network: Any) -> Children:
    yield from _stages(network)
    yield "avgpool", nn.Sequential(network.avgpool, nn.Flatten())


def _mobilenet(network: Any) -> Children:
    yield from _efficientnet(network)
    yield "dense", network.classifier[:2]


def _convnext(network: Any) -> Children:
    yield from _stages(network)
    yield "avgpool", network.avgpool
    yield "norm", network.classifier[:2]


def _vit(network: Any) -> Children:
    yield "embedding", _Embedding(network)
    for number, layer in enumerate(network.encoder.layers):
        yield f"layer_{number}", layer
    yield "norm", nn.Sequential(_ClassToken(), network.encoder.ln)


FAMILIES: dict[str, Family] = {
    "resnet18": Family(children=_without("fc")),
    "resnet50": Family(children=_without("fc")),
    "vgg16": Family(children=_vgg),
    "inception_v3": Family(
        children=_without("AuxLogits", "dropout", "fc"),
        taps={"Mixed_6e": ("AuxLogits", "fc")},
        tap_weight=0.4,  # The value of torchvision's training reference.
        taps_from_px=299,
        statistics=(0.5, 0.5),  # ImageNet's after `transform_input`, which is left out here.
        options={"init_weights": True},
    ),
    "googlenet": Family(
        children=_without("aux1", "aux2", "dropout", "fc"),
        taps={"inception4a": ("aux1", "fc2"), "inception4d": ("aux2", "fc2")},
        tap_weight=0.3,  # Szegedy et al. 2014, section 5
        statistics=(0.5, 0.5),  # The same as for InceptionV3.
        options={"init_weights": True},
    ),
    "efficientnet_v2_s": Family(children=_efficientnet),
    "vit_b_16": Family(children=_vit, patches=True),
    "mobilenet_v3_small": Family(children=_mobilenet),
    "mobilenet_v3_large": Family(children=_mobilenet),
    "convnext_tiny": Family(children=_convnext),
}


def preprocessing(backbone: str) -> Preprocessing:
    """The preprocessing that the default weights were trained with."""
    family, transforms = FAMILIES[backbone], zoo.get_model_weights(backbone).DEFAULT.transforms()
    mean, std = family.statistics or (None, None)
    return Preprocessing(
        image_size=transforms.crop_size[0],
        mean=tuple(transforms.mean) if mean is None else (mean,) * 3,
        std=tuple(transforms.std) if std is None else (std,) * 3,
        interpolation=transforms.interpolation.value,
    )


def published_top1(backbone: str) -> float:
    """Top-1 accuracy on ImageNet-1K of the default weights, in percent, as torchvision states it."""
    return float(zoo.get_model_weights(backbone).DEFAULT.meta["_metrics"]["ImageNet-1K"]["acc@1"])


def check_image_size(backbone: str, image_size: int) -> None:
    """Raise InfeasibleConfig for an image size that the network cannot process."""
    if FAMILIES[backbone].patches:
        if image_size % _PATCH_PX:
            raise InfeasibleConfig(
                f"image_size={image_size}: {backbone} cuts images into patches of {_PATCH_PX} px; "
                f"use a multiple of {_PATCH_PX}"
            )
        return
    smallest = max(zoo.get_model_weights(backbone).DEFAULT.meta["min_size"])
    if image_size < smallest:
        raise InfeasibleConfig(f"image_size={image_size}: {backbone} needs at least {smallest} px")


def build_body(backbone: str, weights: str, image_size: int) -> Body:
    """The network without its classifier, for square images of this size.

    Raises UserError for weights that are not available or do not fit.
    """
    family = FAMILIES[backbone]
    options = {**family.options, "image_size": image_size} if family.patches else family.options
    network = zoo.get_model(backbone, weights=None, **options)
    last_name, last = _last_linear(network)
    if weights != NONE:
        state = _published(backbone) if weights == DEFAULT else read_weights(weights)
        if family.patches and "encoder.pos_embedding" in state:
            state = interpolate_embeddings(image_size, _PATCH_PX, state)
        replaced = [last_name, *(f"{name}.{layer}" for name, layer in family.taps.values())]
        load_fitting(network, state, replaced=replaced, source=weights, backbone=backbone)
    taps = family.taps if image_size >= family.taps_from_px else {}
    auxiliary = {
        child: Auxiliary(network.get_submodule(name), layer, family.tap_weight) for child, (name, layer) in taps.items()
    }
    return Body(chain(family.children(network)), last.in_features, auxiliary)


def _published(backbone: str) -> dict[str, Tensor]:
    return download_weights(
        zoo.get_model_weights(backbone).DEFAULT,
        otherwise="give a file with weights=FILE, or start from random weights with weights=none",
    )


def _last_linear(network: nn.Module) -> tuple[str, nn.Linear]:
    """The classifier's last layer, whose outputs are ImageNet's classes."""
    return [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Linear)][-1]


class _Embedding(nn.Module):
    """Turns images into tokens: a class token and the patches, each with its position added."""

    def __init__(self, vit: Any) -> None:
        super().__init__()
        self.conv_proj = vit.conv_proj
        self.class_token = vit.class_token
        self.pos_embedding = vit.encoder.pos_embedding

    def forward(self, images_NCHW: Tensor) -> Tensor:
        patches_NTD = self.conv_proj(images_NCHW).flatten(2).transpose(1, 2)
        token_N1D = self.class_token.expand(len(patches_NTD), -1, -1)
        tokens_NTD: Tensor = torch.cat((token_N1D, patches_NTD), dim=1) + self.pos_embedding
        return tokens_NTD


class _ClassToken(nn.Module):
    """(N, tokens, D) -> (N, D): the class token, from which a ViT classifies."""

    def forward(self, tokens_NTD: Tensor) -> Tensor:
        return tokens_NTD[:, 0]
