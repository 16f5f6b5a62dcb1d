"""Calls the kernels with tensors: the number and size of blocks, and the constants that a kernel is compiled for.

Everything is a fixed function of shape and number format. Nothing is tuned at run time, so a CUDA graph can be captured
after one ordinary step, and sums are computed in the same order on every GPU. Sizes of images and batches are ordinary
arguments, so that a kernel is compiled once for all of them.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import triton
from torch import Tensor, nn

from models.fused.backward_kernels import backward_kernel, finish_reduction_kernel, reduction_kernel
from models.fused.forward_kernels import (
    MOST_CHUNKS,
    finish_statistics_kernel,
    forward_kernel,
    running_statistics_kernel,
    statistics_kernel,
)
from models.fused.tails import Tail

_REDUCED_VALUES, _REDUCED_WARPS = 4096, 8
"""Values of a block in a reduction, and its warps: 16 values per thread."""
_MAPPED_VALUES, _MAPPED_WARPS = 1024, 4
"""Windows times channels of a block in an element-wise pass, and its warps: 8 values per thread and pixel of a
window."""
_WIDE_FROM = 2**31
"""Number of values of a tensor from which offsets need 64 bits."""
OPTIONS = {"enable_fp_fusion": True}
"""Options of every kernel: products and sums are contracted, which Triton 3.10 no longer does by default."""


@dataclass(frozen=True)
class Geometry:
    """The sizes of a tail's tensors, and their division into blocks."""

    images: int
    channels: int
    height: int
    width: int
    dtype: torch.dtype
    tail: Tail

    @classmethod
    def of(cls, x_NCHW: Tensor, tail: Tail) -> Geometry:
        """The sizes for a convolution's output."""
        images, channels, height, width = x_NCHW.shape
        return cls(images, channels, height, width, x_NCHW.dtype, tail)

    @property
    def rows(self) -> int:
        """Number of pixels in all images."""
        return self.images * self.height * self.width

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        """Shape of the pooled output, as NCHW."""
        size = self.tail.pool_size
        return self.images, self.channels, self.height // size, self.width // size

    @property
    def windows(self) -> int:
        """Number of pixels in all pooled outputs."""
        return self.images * math.prod(self.out_shape[2:])

    @cached_property
    def columns(self) -> int:
        """Channels of a block: the power of two from 16 to 64 that leaves the fewest lanes idle; of several, the
        largest.
        """
        if self.channels <= 16:
            return 1 << (self.channels - 1).bit_length()
        return min((64, 32, 16), key=lambda columns: -(-self.channels // columns) * columns)

    @property
    def groups(self) -> int:
        """Number of blocks into which the channels are divided."""
        return -(-self.channels // self.columns)

    @cached_property
    def compiled(self) -> dict[str, Any]:
        """The constants that all kernels are compiled for."""
        return {
            "MULTIPLE": math.gcd(self.channels, 16),  # So that the compiler knows how rows are aligned.
            "COLS": self.columns,
            "WIDE": self.rows * self.channels >= _WIDE_FROM,
            "ACC": triton.language.float64 if self.dtype == torch.float64 else triton.language.float32,
            **OPTIONS,
        }

    @property
    def key(self) -> tuple[Any, ...]:
        """A key that is equal for tails which use the same compiled kernels."""
        return self.tail, self.dtype, *self.compiled.values()

    @property
    def channel_arguments(self) -> tuple[int, int]:
        """The number of channels in units of MULTIPLE, and the number of groups."""
        return self.channels // math.gcd(self.channels, 16), self.groups

    @property
    def mapped_rows(self) -> int:
        """Windows of a block in a pass that keeps whole windows in registers."""
        return (_MAPPED_VALUES if self.tail.pool_size <= 2 else _MAPPED_VALUES // 2) // self.columns

    @property
    def mapped(self) -> dict[str, int]:
        """Block size and warps of an element-wise pass."""
        return {"ROWS": self.mapped_rows, "num_warps": _MAPPED_WARPS}

    @property
    def reduced(self) -> dict[str, int]:
        """Block size and warps of a reduction over all pixels."""
        return {"ROWS": _REDUCED_VALUES // self.columns, "num_warps": _REDUCED_WARPS}

    def chunks(self, rows: int, block_rows: int) -> tuple[int, int]:
        """The number of blocks in a chunk, and the number of chunks, of a reduction over this many rows."""
        blocks = -(-rows // block_rows)
        tiles = -(-blocks // max(1, MOST_CHUNKS // self.groups))
        return tiles, -(-blocks // tiles)


def batch_norm(x_NCHW: Tensor, norm: nn.BatchNorm2d, geometry: Geometry) -> Tensor:
    """The norm of a batch, shape (4, C), for the other functions; updates the norm's running statistics."""
    block_rows = geometry.reduced["ROWS"]
    tiles, chunks = geometry.chunks(geometry.rows, block_rows)
    partial = empty_sums(x_NCHW, 2, geometry.channels, chunks)
    norm_4C = empty_sums(x_NCHW, 4, geometry.channels)
    with on_device(x_NCHW):
        statistics_kernel[(chunks * geometry.groups,)](
            x_NCHW, partial, geometry.rows, tiles, chunks, *geometry.channel_arguments,
            **geometry.compiled, **geometry.reduced,
        )  # fmt: skip
        finish_statistics_kernel[(geometry.channels,)](
            partial, norm_4C, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.num_batches_tracked,
            norm.momentum, norm.eps, geometry.rows, tiles * block_rows, chunks, geometry.channels,
            CHUNKS=MOST_CHUNKS, ACC=geometry.compiled["ACC"], **OPTIONS,
        )  # fmt: skip
    # So that autograd refuses a backward pass that needs their old values.
    torch.autograd.graph.increment_version([norm.running_mean, norm.running_var, norm.num_batches_tracked])  # type: ignore[list-item]
    return norm_4C


def running_norm(x_NCHW: Tensor, norm: nn.BatchNorm2d, geometry: Geometry) -> Tensor:
    """The norm in eval mode, shape (4, C)."""
    norm_4C = empty_sums(x_NCHW, 4, geometry.channels)
    with on_device(x_NCHW):
        running_statistics_kernel[(geometry.channels,)](
            norm_4C, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.eps, geometry.channels, **OPTIONS
        )
    return norm_4C


def forward(x_NCHW: Tensor, norm_4C: Tensor | None, geometry: Geometry, *, keep: bool) -> tuple[Tensor, Tensor | None]:
    """The output; and, with `keep` and max pooling after a norm, the x that the pooling chose in each window."""
    tail = geometry.tail
    keep = keep and tail.pooling == "max" and norm_4C is not None
    y_NCHW = _empty_output(x_NCHW, geometry)
    chosen_NCHW = _empty_output(x_NCHW, geometry) if keep else None
    block_rows = geometry.mapped_rows
    _, _, down, across = geometry.out_shape
    with on_device(x_NCHW):
        forward_kernel[(triton.cdiv(geometry.windows, block_rows) * geometry.groups,)](
            x_NCHW, y_NCHW, y_NCHW if chosen_NCHW is None else chosen_NCHW, x_NCHW if norm_4C is None else norm_4C,
            geometry.windows, across, down, geometry.height, geometry.width, *geometry.channel_arguments,
            **_of_tail(tail), KEEP=keep, NORM=norm_4C is not None, **geometry.compiled, **geometry.mapped,
        )  # fmt: skip
    return y_NCHW, chosen_NCHW


def gradients_of_norm(
    x_NCHW: Tensor, chosen_NCHW: Tensor | None, dy_NCHW: Tensor, norm_4C: Tensor, geometry: Geometry
) -> Tensor:
    """Gradients of the norm's weight and bias, the first rows of (4, C); `gradient_of_input` needs the other rows."""
    values_NCHW, size = (x_NCHW, geometry.tail.pool_size) if chosen_NCHW is None else (chosen_NCHW, 1)
    blocks = geometry.reduced if size == 1 else geometry.mapped
    tiles, chunks = geometry.chunks(geometry.windows, blocks["ROWS"])
    partial = empty_sums(x_NCHW, 2, geometry.channels, chunks)
    _, _, down, across = geometry.out_shape
    with on_device(x_NCHW):
        reduction_kernel[(chunks * geometry.groups,)](
            values_NCHW, dy_NCHW, partial, norm_4C,
            geometry.windows, across, down, geometry.height, geometry.width, tiles, chunks, *geometry.channel_arguments,
            ACTIVATION=geometry.tail.activation, K=size, **geometry.compiled, **blocks,
        )  # fmt: skip
    return finish_reduction(partial, norm_4C, geometry)


def finish_reduction(partial: Tensor, norm_4C: Tensor, geometry: Geometry) -> Tensor:
    """The result of `gradients_of_norm`, from the sums over each chunk, shape (2, C, chunks)."""
    gradient_4C = torch.empty_like(norm_4C)
    with on_device(partial):
        finish_reduction_kernel[(geometry.channels,)](
            partial, norm_4C, gradient_4C, geometry.rows, partial.shape[2], geometry.channels,
            CHUNKS=MOST_CHUNKS, ACC=geometry.compiled["ACC"], **OPTIONS,
        )  # fmt: skip
    return gradient_4C


def gradient_of_input(
    x_NCHW: Tensor, dy_NCHW: Tensor, norm_4C: Tensor | None, gradient_4C: Tensor | None, geometry: Geometry
) -> Tensor:
    """The gradient of the convolution's output, in channels_last format."""
    dx_NCHW = torch.empty_like(x_NCHW, memory_format=torch.channels_last)
    block_rows = geometry.mapped_rows
    size = geometry.tail.pool_size
    down, across = triton.cdiv(geometry.height, size), triton.cdiv(geometry.width, size)
    windows = geometry.images * down * across  # Including those at the border, which pooling leaves out.
    with on_device(x_NCHW):
        backward_kernel[(triton.cdiv(windows, block_rows) * geometry.groups,)](
            x_NCHW, dy_NCHW, dx_NCHW, x_NCHW if norm_4C is None else norm_4C,
            x_NCHW if gradient_4C is None else gradient_4C,
            windows, across, down, geometry.height, geometry.width, *geometry.channel_arguments,
            **_of_tail(geometry.tail), NORM=norm_4C is not None, **geometry.compiled, **geometry.mapped,
        )  # fmt: skip
    return dx_NCHW


def run_probe(device: torch.device) -> bool:
    """Run the smallest kernel and return whether its result is right. Raises an error of any type if it cannot run."""
    x_NCHW = torch.linspace(-1, 1, 64, device=device).view(1, 16, 2, 2).contiguous(memory_format=torch.channels_last)
    y_NCHW, _ = forward(x_NCHW, None, Geometry.of(x_NCHW, Tail("relu", "none", 1, pool_first=False)), keep=False)
    return torch.equal(y_NCHW, x_NCHW.relu())


def _of_tail(tail: Tail) -> dict[str, Any]:
    return {
        "ACTIVATION": tail.activation, "MAX": tail.pooling == "max", "POOL_FIRST": tail.pool_first, "K": tail.pool_size
    }  # fmt: skip


def empty_sums(like: Tensor, *shape: int) -> Tensor:
    """A tensor for sums over pixels, at least in float32."""
    return torch.empty(shape, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)


def _empty_output(like: Tensor, geometry: Geometry) -> Tensor:
    return torch.empty(
        geometry.out_shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last
    )  # fmt: skip


def on_device(tensor: Tensor) -> AbstractContextManager[object]:
    """Make the tensor's device the current one, on which Triton launches."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
