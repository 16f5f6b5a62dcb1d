"""Calls the kernels of norm, residual and ReLU with tensors, in the blocks that `models/fused/kernel_calls.py` sets."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from models.fused.kernel_calls import Geometry, empty_sums, finish_reduction, on_device
from models.fused.residual_kernels import residual_backward_kernel, residual_forward_kernel, residual_reduction_kernel


def residual_forward(x_NCHW: Tensor, residual_NCHW: Tensor, norm_4C: Tensor, geometry: Geometry) -> Tensor:
    """relu(norm(x) + residual), in channels_last format, as are all tensors here."""
    y_NCHW = torch.empty_like(x_NCHW, memory_format=torch.channels_last)
    with on_device(x_NCHW):
        residual_forward_kernel[(triton.cdiv(geometry.rows, geometry.mapped_rows) * geometry.groups,)](
            x_NCHW, residual_NCHW, y_NCHW, norm_4C, geometry.rows, *geometry.channel_arguments,
            **geometry.compiled, **geometry.mapped,
        )  # fmt: skip
    return y_NCHW


def residual_gradients(
    x_NCHW: Tensor, y_NCHW: Tensor, dy_NCHW: Tensor, norm_4C: Tensor, geometry: Geometry
) -> tuple[Tensor, Tensor]:
    """The gradient of the residual, and the result of `kernel_calls.gradients_of_norm`, shape (4, C)."""
    tiles, chunks = geometry.chunks(geometry.rows, geometry.reduced["ROWS"])
    partial = empty_sums(x_NCHW, 2, geometry.channels, chunks)
    dz_NCHW = torch.empty_like(x_NCHW, memory_format=torch.channels_last)
    with on_device(x_NCHW):
        residual_reduction_kernel[(chunks * geometry.groups,)](
            x_NCHW, y_NCHW, dy_NCHW, dz_NCHW, partial, norm_4C, geometry.rows, tiles, chunks,
            *geometry.channel_arguments, **geometry.compiled, **geometry.reduced,
        )  # fmt: skip
    return dz_NCHW, finish_reduction(partial, norm_4C, geometry)


def residual_gradient_of_input(
    x_NCHW: Tensor, dz_NCHW: Tensor, norm_4C: Tensor, gradient_4C: Tensor, geometry: Geometry
) -> Tensor:
    """The gradient of x, from both results of `residual_gradients`."""
    dx_NCHW = torch.empty_like(x_NCHW, memory_format=torch.channels_last)
    with on_device(x_NCHW):
        residual_backward_kernel[(triton.cdiv(geometry.rows, geometry.mapped_rows) * geometry.groups,)](
            x_NCHW, dz_NCHW, dx_NCHW, norm_4C, gradient_4C, geometry.rows, *geometry.channel_arguments,
            **geometry.compiled, **geometry.mapped,
        )  # fmt: skip
    return dx_NCHW
