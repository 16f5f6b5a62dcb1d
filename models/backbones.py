"""Networks that were trained elsewhere, by name, and a classifier made of one."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from types import ModuleType

import torch
from torch import nn

from data.errors import UserError
from models import timm_bodies, torchvision_bodies
from models.config import BackboneConfig
from models.finetuning import BackboneClassifier, Body, build_head, children_in_order
from models.preprocessing import Preprocessing
from models.shapes import InputShape
from models.spelling import did_you_mean
from models.weights import NONE

BACKBONES = tuple(torchvision_bodies.FAMILIES)
"""torchvision's; besides them any network of timm as `timm/NAME`."""
SMALL_STEMS = ("resnet18", "resnet50")
"""Those whose stem can be made for small images."""


def resolved(config: BackboneConfig) -> BackboneConfig:
    """The configuration with the backbone's own image size, where it names none.

    Raises UserError for an unknown backbone, with the nearest spelling, and for one of timm where that is missing.
    """
    own = _source(config.backbone).preprocessing(config.backbone)
    if config.stem == "small" and (config.backbone not in SMALL_STEMS or config.weights != NONE):
        raise UserError(
            f"stem=small is for {' and '.join(SMALL_STEMS)} with weights=none, not for {config.backbone} with "
            f"weights={config.weights}"
        )
    return config if config.image_size else replace(config, image_size=own.image_size)


def preprocessing(config: BackboneConfig) -> Preprocessing | None:
    """What the weights were trained on, at the configured image size; None for random ones. Raises as `resolved`."""
    config = resolved(config)
    if config.weights == NONE:
        return None
    own: Preprocessing = _source(config.backbone).preprocessing(config.backbone)
    return replace(own, image_size=config.image_size)


def check_image_size(config: BackboneConfig, image_size: int) -> None:
    """Raise InfeasibleConfig for images that the backbone cannot look at, UserError for a backbone that is unknown."""
    _source(config.backbone).check_image_size(config.backbone, image_size)


def fetch_weights(config: BackboneConfig) -> None:
    """Read the weights, downloaded first where need be, so that all that is wrong with them comes out now.

    Raises UserError for weights that cannot be had or do not fit, InfeasibleConfig for an image size that is no use.
    """
    config = resolved(config)
    check_image_size(config, config.image_size)
    if config.weights != NONE:
        _trained_body(config.backbone, config.weights, config.image_size)


def build_classifier(config: BackboneConfig, input_shape: InputShape, classes: int) -> BackboneClassifier:
    """The configured backbone with its weights under an untrained head; see `models.registry.build_model`.

    Images have one or three channels. Raises UserError for a backbone or weights that cannot be had,
    InfeasibleConfig for images of a size that the backbone cannot look at.
    """
    image_size = input_shape[1]
    check_image_size(config, image_size)
    if config.weights == NONE:
        body = _random_body(config, image_size)
    else:
        body = deepcopy(_trained_body(config.backbone, config.weights, image_size))
    for branch in body.auxiliary.values():
        last = branch.classifier.get_submodule(branch.last_layer)
        assert isinstance(last, nn.Linear)
        setattr(branch.classifier, branch.last_layer, nn.Linear(last.in_features, classes))
    head = build_head(config, body.features, classes)
    return BackboneClassifier(config, body.network, head, body.auxiliary)


def describe_children(config: BackboneConfig) -> list[str]:
    """The backbone's children in order, a line each: position, name, parameters. Nothing is downloaded."""
    body = _random_body(config, resolved(config).image_size)
    return [
        f"{position} {name} ({sum(parameter.numel() for parameter in child.parameters()):,} parameters)"
        for position, (name, child) in enumerate(children_in_order(body.network), start=1)
    ]


def _random_body(config: BackboneConfig, image_size: int) -> Body:
    body: Body = _source(config.backbone).build_body(config.backbone, NONE, image_size)
    if config.stem == "small":
        first = body.network.get_submodule("conv1")
        assert isinstance(first, nn.Conv2d) and isinstance(body.network, nn.Sequential)
        small = nn.Conv2d(first.in_channels, first.out_channels, kernel_size=3, padding=1, bias=False)
        nn.init.kaiming_normal_(small.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's
        body.network.conv1, body.network.maxpool = small, nn.Identity()
    return body


@lru_cache(maxsize=1)
def _trained_body(backbone: str, weights: str, image_size: int) -> Body:
    """Read once for all trials of a process; to be copied."""
    # The draws that the weights then overwrite must not move those of the head: it depends on the seed alone.
    with torch.random.fork_rng(devices=()):
        body: Body = _source(backbone).build_body(backbone, weights, image_size)
    return body


def _source(backbone: str) -> ModuleType:
    if backbone.startswith(timm_bodies.PREFIX):
        return timm_bodies
    if backbone not in BACKBONES:
        hint = did_you_mean(backbone, BACKBONES)
        raise UserError(f"unknown backbone {backbone!r}.{hint}; any network of timm is timm/NAME")
    return torchvision_bodies
