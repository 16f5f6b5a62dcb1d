"""Norm, activation and pooling, or norm, residual and ReLU, as one function, which autograd can differentiate once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.fused import kernel_calls, residual_calls
from models.fused.kernel_calls import Geometry
from models.fused.tails import Tail

_have_run: set[tuple[Any, ...]] = set()
"""Keys of the kernels that are compiled and loaded. Only these can be used in the capture of a CUDA graph."""


def run_tail(
    x_NCHW: Tensor, norm: nn.BatchNorm2d | None, tail: Tail, residual_NCHW: Tensor | None = None
) -> Tensor | None:
    """The output of the tail's layers for x, in channels_last format and in x's number format.

    `residual_NCHW`, if the tail has one, has x's shape, number format and memory format. A norm in training mode
    updates its running statistics. Returns None, and changes nothing, if a CUDA graph is being
    captured and the kernels have not run before, because compiling them would break the capture.
    """
    weight, bias = (norm.weight, norm.bias) if norm else (None, None)
    run = Run.of(x_NCHW, norm, tail, residual_NCHW)
    if x_NCHW.is_cuda and torch.cuda.is_current_stream_capturing() and not run.has_run(x_NCHW.device):
        return None
    if residual_NCHW is None:
        y_NCHW: Tensor = _FusedTail.apply(x_NCHW, weight, bias, run)
    else:
        y_NCHW = _FusedResidual.apply(x_NCHW, weight, bias, residual_NCHW, run)
    _have_run.add(run.key(x_NCHW.device, "forward"))
    return y_NCHW


class Run:
    """The sizes and the norm of one call, and whether a backward pass may follow."""

    def __init__(self, geometry: Geometry, norm: nn.BatchNorm2d | None, *, keep: bool) -> None:
        self.geometry, self.norm, self.keep = geometry, norm, keep

    @classmethod
    def of(cls, x_NCHW: Tensor, norm: nn.BatchNorm2d | None, tail: Tail, residual_NCHW: Tensor | None = None) -> Run:
        """What `run_tail` does with these arguments."""
        weight, bias = (norm.weight, norm.bias) if norm else (None, None)
        inputs = (x_NCHW, weight, bias, residual_NCHW)
        learns = any(tensor is not None and tensor.requires_grad for tensor in inputs)
        return cls(Geometry.of(x_NCHW, tail), norm, keep=learns and torch.is_grad_enabled())

    def key(self, device: torch.device, direction: str) -> tuple[Any, ...]:
        """A key of the kernels that run in the `forward` or in the `backward` direction."""
        training = None if self.norm is None else self.norm.training
        return device, direction, self.keep, training, self.geometry.key

    def has_run(self, device: torch.device) -> bool:
        """Whether all kernels of the call have run on this device."""
        directions = ("forward", "backward") if self.keep else ("forward",)
        return all(self.key(device, direction) in _have_run for direction in directions)

    def norm_4C(self, x_NCHW: Tensor) -> Tensor | None:
        """Mean, scale, bias and 1 / deviation of each channel; None without a norm."""
        if self.norm is None:
            return None
        compute = kernel_calls.batch_norm if self.norm.training else kernel_calls.running_norm
        return compute(x_NCHW, self.norm, self.geometry)


class _FusedTail(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NCHW: Tensor, weight: Tensor | None, bias: Tensor | None, run: Run) -> Tensor:
        norm_4C = run.norm_4C(x_NCHW)  # It uses `weight` and `bias`, which are arguments so that they get gradients.
        y_NCHW, chosen_NCHW = kernel_calls.forward(x_NCHW, norm_4C, run.geometry, keep=run.keep)
        if run.keep:
            ctx.run = run
            ctx.save_for_backward(x_NCHW, chosen_NCHW, norm_4C)
        return y_NCHW

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy_NCHW: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x_NCHW, chosen_NCHW, norm_4C = ctx.saved_tensors
        run: Run = ctx.run
        dy_NCHW = dy_NCHW.contiguous(memory_format=torch.channels_last)
        gradient_4C = dx_NCHW = dweight = dbias = None
        if norm_4C is not None:
            gradient_4C = kernel_calls.gradients_of_norm(x_NCHW, chosen_NCHW, dy_NCHW, norm_4C, run.geometry)
            dweight, dbias = gradient_4C[0], gradient_4C[1]
        if ctx.needs_input_grad[0]:
            dx_NCHW = kernel_calls.gradient_of_input(x_NCHW, dy_NCHW, norm_4C, gradient_4C, run.geometry)
        _have_run.add(run.key(x_NCHW.device, "backward"))
        return dx_NCHW, dweight, dbias, None


class _FusedResidual(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NCHW: Tensor, weight: Tensor, bias: Tensor, residual_NCHW: Tensor, run: Run) -> Tensor:
        norm_4C = run.norm_4C(x_NCHW)
        assert norm_4C is not None
        y_NCHW = residual_calls.residual_forward(x_NCHW, residual_NCHW, norm_4C, run.geometry)
        if run.keep:
            ctx.run = run
            # The next convolution keeps y as well, so it takes no memory to know by it where ReLU passes gradients.
            ctx.save_for_backward(x_NCHW, y_NCHW, norm_4C)
        return y_NCHW

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy_NCHW: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor, None]:
        x_NCHW, y_NCHW, norm_4C = ctx.saved_tensors
        run: Run = ctx.run
        dy_NCHW = dy_NCHW.contiguous(memory_format=torch.channels_last)
        dz_NCHW, gradient_4C = residual_calls.residual_gradients(x_NCHW, y_NCHW, dy_NCHW, norm_4C, run.geometry)
        dx_NCHW = None
        if ctx.needs_input_grad[0]:
            dx_NCHW = residual_calls.residual_gradient_of_input(x_NCHW, dz_NCHW, norm_4C, gradient_4C, run.geometry)
        _have_run.add(run.key(x_NCHW.device, "backward"))
        return dx_NCHW, gradient_4C[0], gradient_4C[1], dz_NCHW, None
