"""Runs the residual blocks of torchvision's ResNet, ResNeXt and Wide ResNet with fused layers.

The blocks themselves are not changed: a copy, a checkpoint and an export of the network contain torchvision's classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.fused.tails import Tail, can_fuse

_CONVOLUTIONS = {"BasicBlock": 2, "Bottleneck": 3}
"""Number of convolutions of each class of `torchvision.models.resnet`."""
_MODULE = "torchvision.models.resnet"


def is_residual_block(layer: nn.Module) -> bool:
    """Whether the layer is of one of torchvision's classes, which are known by name so that nothing imports them."""
    return type(layer).__module__ == _MODULE and type(layer).__name__ in _CONVOLUTIONS


def run_block(block: Any, x_NCHW: Tensor) -> Tensor:
    """The output of a block's forward method, with fused layers where they are in training mode and can be fused."""
    last = _CONVOLUTIONS[type(block).__name__]
    values = x_NCHW
    for number in range(1, last):
        values = getattr(block, f"conv{number}")(values)
        values = _run_norm(getattr(block, f"bn{number}"), block.relu, values)
    values = getattr(block, f"conv{last}")(values)
    residual = x_NCHW if block.downsample is None else block.downsample(x_NCHW)
    return _run_norm(getattr(block, f"bn{last}"), block.relu, values, residual)


def _run_norm(norm: nn.Module, relu: nn.Module, values: Tensor, residual: Tensor | None = None) -> Tensor:
    """relu(norm(values) + residual)."""
    tail = Tail("relu", "none", 1, pool_first=False, residual=residual is not None)
    if (
        type(norm) is nn.BatchNorm2d
        and norm.training
        and type(relu) is nn.ReLU
        and can_fuse((norm, relu), norm, tail, values)
        and (residual is None or _can_be_added(residual, values))
    ):
        from models.fused.agreement import run_if_it_agrees  # Here, because it imports Triton.

        fused = run_if_it_agrees(values, norm, tail, residual)
        if fused is not None:
            return fused
    values = norm(values)
    if residual is not None:
        values += residual
    activated: Tensor = relu(values)
    return activated


def _can_be_added(residual: Tensor, values: Tensor) -> bool:
    """Whether the kernels can read the residual by the addresses of the values."""
    return (
        type(residual) is Tensor
        and residual.shape == values.shape
        and residual.dtype == values.dtype
        and residual.device == values.device
        and residual.is_contiguous(memory_format=torch.channels_last)
    )
