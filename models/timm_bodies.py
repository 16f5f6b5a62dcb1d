"""Networks of the library timm, by name, without their classifier."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from types import ModuleType
from typing import Any

import requests
import torch
from torch import nn

from data.errors import InfeasibleConfig, UserError
from models.finetuning import Body, chain, children_in_order
from models.preprocessing import Preprocessing
from models.spelling import did_you_mean
from models.weights import DEFAULT, NONE, load_fitting, read_weights

PREFIX = "timm/"
_HUB_TIMEOUT_S = 5.0


def preprocessing(backbone: str) -> Preprocessing:
    """The preprocessing that the default weights were trained with.

    Raises UserError if timm is not installed or has no such network.
    """
    metadata = _metadata(backbone)
    return Preprocessing(
        image_size=metadata.input_size[-1],
        mean=tuple(metadata.mean),
        std=tuple(metadata.std),
        interpolation=metadata.interpolation,
    )


def check_image_size(backbone: str, image_size: int) -> None:
    """Raise InfeasibleConfig for an image size that the network cannot process."""
    metadata = _metadata(backbone)
    smallest = metadata.min_input_size[-1] if metadata.min_input_size else 1
    if image_size < smallest:
        raise InfeasibleConfig(f"image_size={image_size}: {backbone} needs at least {smallest} px")


def build_body(backbone: str, weights: str, image_size: int) -> Body:
    """The network without its classifier, for square images of this size.

    Raises UserError for weights that are not available or do not fit, InfeasibleConfig for an unusable image size.
    """
    metadata = _metadata(backbone)
    network = _create(backbone, pretrained=weights == DEFAULT)
    if weights not in (DEFAULT, NONE):
        classifiers = [metadata.classifier] if isinstance(metadata.classifier, str) else metadata.classifier or []
        load_fitting(network, read_weights(weights), replaced=classifiers, source=weights, backbone=backbone)
    try:
        if metadata.fixed_input_size and image_size != metadata.input_size[-1]:
            network.set_input_size(img_size=image_size)  # It resamples the learned positions.
        return _as_chain(network, image_size)
    except (RuntimeError, AssertionError, AttributeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InfeasibleConfig(f"image_size={image_size}: {backbone} cannot process such images ({reason})") from error


def _as_chain(network: nn.Module, image_size: int) -> Body:
    """The network as a sequence of its children if that gives the same features, and otherwise unchanged."""
    example_NCHW = torch.linspace(-1, 1, 3 * image_size**2).view(1, 3, image_size, image_size)
    in_a_row = chain(children_in_order(network))
    network.eval()
    with torch.inference_mode():
        features_NF = network(example_NCHW)
        try:
            same = torch.equal(in_a_row(example_NCHW), features_NF)
        except Exception:  # A child that expects more than the output of the previous one may fail in any way.
            same = False
    network.train()
    return Body(in_a_row if same else network, features_NF.shape[1], {})


def _create(backbone: str, *, pretrained: bool) -> Any:
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.ERROR)  # It logs each of a dozen attempts; the last error is enough.
    try:
        with nullcontext() if not pretrained or _hub_answers() else _only_cached():
            return _timm().create_model(backbone.removeprefix(PREFIX), pretrained=pretrained, num_classes=0)
    except Exception as error:
        if not pretrained:
            raise
        # A hub, a proxy or a missing network can make a download fail in any way.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"weights=default: the weights of {backbone} cannot be downloaded ({reason}); "
            "give a file with weights=FILE, or start from random weights with weights=none"
        ) from error
    finally:
        hub.setLevel(level)


@lru_cache(maxsize=1)
def _hub_answers() -> bool:
    """Whether the hub can be reached. Without network, its client tries for about 50 s for each file, kept or not."""
    from huggingface_hub import constants

    try:
        requests.head(constants.ENDPOINT, timeout=_HUB_TIMEOUT_S)
    except requests.RequestException:
        return False
    return True


@contextmanager
def _only_cached() -> Iterator[None]:
    """Let the hub's client read kept files only."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _metadata(backbone: str) -> Any:
    timm, name = _timm(), backbone.removeprefix(PREFIX)
    if not timm.is_model(name):
        known = [f"{PREFIX}{model}" for model in timm.list_models()]
        raise UserError(f"unknown backbone {backbone!r}.{did_you_mean(backbone, known)}")
    return timm.get_pretrained_cfg(name)


def _timm() -> ModuleType:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise UserError(
            "backbones named timm/NAME need timm; install it with `pip install sieve-search[timm]`"
        ) from error
    return timm
