"""Pre-trained networks by name, and classifiers built on them."""

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
from models.stochastic_depth import set_stochastic_depth
from models.weights import NONE

BACKBONES = tuple(torchvision_bodies.FAMILIES)
"""Backbones from torchvision. Any network of timm is available as `timm/NAME`."""
SMALL_STEMS = ("resnet18", "resnet50")
"""Backbones that have a variant of the stem for small images."""


def resolved(config: BackboneConfig) -> BackboneConfig:
    """The configuration with the backbone's own image size, if it does not set one.

    Raises UserError for an unknown backbone, with the nearest spelling, or if timm is needed and not installed.
    """
    own = _source(config.backbone).preprocessing(config.backbone)
    if config.stem == "small" and (config.backbone not in SMALL_STEMS or config.weights != NONE):
        raise UserError(
            f"stem=small is for {' and '.join(SMALL_STEMS)} with weights=none, not for {config.backbone} with "
            f"weights={config.weights}"
        )
    return config if config.image_size else replace(config, image_size=own.image_size)


def preprocessing(config: BackboneConfig) -> Preprocessing | None:
    """The preprocessing that the weights were trained with, at the configured image size; None for random weights.

    Raises the errors of `resolved`.
    """
    config = resolved(config)
    if config.weights == NONE:
        return None
    own: Preprocessing = _source(config.backbone).preprocessing(config.backbone)
    return replace(own, image_size=config.image_size)


def check_image_size(config: BackboneConfig, image_size: int) -> None:
    """Raise InfeasibleConfig for an image size that the backbone cannot process, UserError for an unknown backbone."""
    _source(config.backbone).check_image_size(config.backbone, image_size)


def fetch_weights(config: BackboneConfig) -> None:
    """Read the weights, after downloading them if necessary, so that errors appear before the search starts.

    Raises UserError for weights that are not available or do not fit, InfeasibleConfig for an unusable image size.
    """
    config = resolved(config)
    check_image_size(config, config.image_size)
    if config.weights != NONE:
        _trained_body(config.backbone, config.weights, config.image_size)


def build_classifier(config: BackboneConfig, input_shape: InputShape, classes: int) -> BackboneClassifier:
    """The configured backbone with its weights and an untrained head; see `models.registry.build_model`.

    Images have one or three channels. Raises UserError for a backbone or weights that are not available,
    InfeasibleConfig for an image size that the backbone cannot process.
    """
    image_size = input_shape[1]
    check_image_size(config, image_size)
    if config.weights == NONE:
        body = untrained_body(config, image_size)
    else:
        body = deepcopy(_trained_body(config.backbone, config.weights, image_size))
    for branch in body.auxiliary.values():
        last = branch.classifier.get_submodule(branch.last_layer)
        assert isinstance(last, nn.Linear)
        setattr(branch.classifier, branch.last_layer, nn.Linear(last.in_features, classes))
    if config.stochastic_depth != "published":
        set_stochastic_depth(body.network, config.stochastic_depth)
    head = build_head(config, body.features, classes)
    return BackboneClassifier(config, body.network, head, body.auxiliary)


def describe_children(config: BackboneConfig) -> list[str]:
    """The backbone's children in order, one line each: position, name, parameters. Nothing is downloaded."""
    body = untrained_body(config, resolved(config).image_size)
    return [
        f"{position} {name} ({sum(parameter.numel() for parameter in child.parameters()):,} parameters)"
        for position, (name, child) in enumerate(children_in_order(body.network), start=1)
    ]


def untrained_body(config: BackboneConfig, image_size: int) -> Body:
    """The backbone with random weights. Raises InfeasibleConfig for an image size that it cannot process."""
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
    """The body with its weights, read once for all trials of a process. Callers must copy it."""
    # The draws of the initial weights, which are overwritten, must not change the draws of the head: the head depends
    # on the seed only.
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
