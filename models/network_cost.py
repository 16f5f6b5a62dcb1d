"""The size of a backbone: multiply-accumulates for one image, and parameters, counted without its weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from models.backbones import check_image_size, resolved, untrained_body
from models.config import BackboneConfig


@dataclass(frozen=True)
class NetworkCost:
    """The cost of a backbone without its head."""

    macs: int
    """Multiply-accumulates for one image: products of convolutions, dense layers and attention."""
    parameters: int


def network_cost(config: BackboneConfig) -> NetworkCost:
    """The cost of the configured backbone at its image size. Nothing is downloaded.

    Raises UserError for an unknown backbone, InfeasibleConfig for an image size that it cannot process.
    """
    config = resolved(config)
    check_image_size(config, config.image_size)
    return _network_cost(config.backbone, config.stem, config.image_size)


@lru_cache(maxsize=64)
def _network_cost(backbone: str, stem: str, image_size: int) -> NetworkCost:
    config = BackboneConfig(backbone=backbone, stem=stem, image_size=image_size, weights="none")  # type: ignore[arg-type]
    try:
        return _counted(config, "meta")
    except Exception:  # A network may need real numbers while it is built, and fail without them in any way.
        return _counted(config, "cpu")


def _counted(config: BackboneConfig, device: str) -> NetworkCost:
    from torch.utils.flop_counter import FlopCounterMode  # Here: its import takes each worker a quarter of a second.

    with torch.device(device), torch.random.fork_rng(devices=()):
        network = untrained_body(config, config.image_size).network.eval()
        example_1CHW = torch.zeros(1, 3, config.image_size, config.image_size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(example_1CHW)
    return NetworkCost(
        macs=counter.get_total_flops() // 2,  # It counts a product and its addition as two operations.
        parameters=sum(parameter.numel() for parameter in network.parameters()),
    )
