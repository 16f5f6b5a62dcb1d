"""Stochastic depth: in training, a residual block is skipped for an image with a probability that grows with depth.

Source: Huang et al. 2016, Deep networks with stochastic depth (arXiv:1603.09382).
"""

from __future__ import annotations

from torch import nn
from torchvision.ops import StochasticDepth


def set_stochastic_depth(network: nn.Module, probability: float) -> int:
    """Skip blocks with probabilities that rise linearly from 0 at the first block to `probability` at the last.

    Returns the number of blocks that can be skipped: 0 for a network whose library builds it without stochastic depth.
    """
    # timm's blocks have an nn.Identity named `drop_path` where the network was built without stochastic depth; those of
    # transformers have one each for attention and MLP.
    places = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if isinstance(child, StochasticDepth) or name.startswith("drop_path")
    ]
    for position, (parent, name, child) in enumerate(places):
        rate = probability * position / max(1, len(places) - 1)
        if isinstance(child, StochasticDepth):
            child.p = rate
        else:
            setattr(parent, name, StochasticDepth(rate, mode="row") if rate else nn.Identity())
    return len(places)
