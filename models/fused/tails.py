"""Which layers behind a convolution belong together, and whether they are run as one or one by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_globals

from models.fused.availability import is_available

MIN_VALUES = 2**18
"""Smaller tensors run as separate layers. The smallest one timed, on an H200, has as many values: half the time."""

LARGEST_POOL = 4
"""Pixels across the largest pooling window that the kernels take: they hold a whole window in registers."""

DEVICE_TYPES = {"cuda"}

_ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.GELU: "gelu",
    nn.SiLU: "silu",
    nn.Mish: "mish",
    nn.ELU: "elu",
}
_DTYPES = (torch.bfloat16, torch.float32)
_may_fuse: ContextVar[bool] = ContextVar("_may_fuse", default=True)


@dataclasses.dataclass(frozen=True)
class Tail:
    """The layers between two convolutions that one kernel can stand for."""

    activation: str
    pooling: str
    """`max`, `avg` or `none`."""
    pool_size: int
    """Pixels across a window, which is also its stride; 1 without pooling."""
    pool_first: bool
    """Pooling comes before the activation."""


@contextmanager
def layers_as_they_are() -> Iterator[None]:
    """Within it nothing is fused: to compare, and where a caller needs the layers themselves."""
    token = _may_fuse.set(False)
    try:
        yield
    finally:
        _may_fuse.reset(token)


def run_layers(layers: Iterable[nn.Module], values: Tensor) -> Tensor:
    """Run layers one after the other; norm, activation and pooling behind a convolution as one where that is faster.

    That is on a CUDA device with Triton, for large channels_last values in bfloat16 or float32. Layers with hooks are
    run as they are, and so is everything while a graph is traced, exported or compiled. Either way gives the same
    numbers to rounding, updates the norm's running statistics alike and propagates NaN.
    """
    if values.device.type not in DEVICE_TYPES or not _may_fuse.get():
        for layer in layers:
            values = layer(values)
        return values
    return _run_fused(list(layers), values)


def _run_fused(layers: list[nn.Module], values: Tensor) -> Tensor:
    from models.fused.function import run_tail

    at, behind_conv = 0, False
    while at < len(layers):
        end, norm, tail = find_tail(layers, at) if behind_conv else (at, None, None)
        if tail and can_fuse(layers[at:end], norm, tail, values):
            fused = run_tail(values, norm, tail)
            if fused is not None:
                values, at, behind_conv = fused, end, False
                continue
        values = layers[at](values)
        behind_conv = type(layers[at]) is nn.Conv2d
        at += 1
    return values


def find_tail(layers: Sequence[nn.Module], start: int) -> tuple[int, nn.BatchNorm2d | None, Tail | None]:
    """The tail that begins at `start`: the index behind its last layer, its norm if it has one, and what it computes.

    None for layers that are none, or are configured in a way that the kernels do not know.
    """
    at = start
    norm = layers[at] if at < len(layers) and type(layers[at]) is nn.BatchNorm2d else None
    at += norm is not None
    kinds = [_kind(layer) for layer in layers[at : at + 2]]
    match kinds:
        case [("max", size), (activation, 0), *_]:
            tail, length = Tail(activation, "max", size, pool_first=True), 2
        case [(activation, 0), ("max" | "avg" as pooling, size), *_]:
            tail, length = Tail(activation, pooling, size, pool_first=False), 2
        case [(activation, 0), *_]:
            tail, length = Tail(activation, "none", 1, pool_first=False), 1
        case _:
            return start, None, None
    return at + length, norm, tail  # type: ignore[return-value]


def _kind(layer: nn.Module) -> tuple[str, int] | None:
    """An activation's name and 0, or a pooling's name and size; None for everything else."""
    if name := _ACTIVATIONS.get(type(layer)):
        return (name, 0) if repr(layer) == repr(type(layer)()) else None  # The kernels know the default slopes only.
    if type(layer) not in (nn.MaxPool2d, nn.AvgPool2d):
        return None
    size = layer.kernel_size
    if not isinstance(size, int) or not 2 <= size <= LARGEST_POOL or repr(layer) != repr(type(layer)(size)):
        return None  # Overlapping or padded windows, or rounded up.
    return ("max" if type(layer) is nn.MaxPool2d else "avg"), size


def can_fuse(layers: Sequence[nn.Module], norm: nn.BatchNorm2d | None, tail: Tail, values: Tensor) -> bool:
    """Whether the kernels can stand for these layers now, and pay."""
    return (
        values.numel() >= MIN_VALUES
        and type(values) is Tensor  # Not what stands for a tensor while a graph is traced.
        and values.ndim == 4
        and values.dtype in _DTYPES
        and min(values.shape[2:]) >= tail.pool_size
        and values.is_contiguous(memory_format=torch.channels_last)
        and (norm is None or _can_normalise(norm, values))
        and not any(_has_hooks(layer) for layer in layers)
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and is_available(values.device)
    )


def _can_normalise(norm: nn.BatchNorm2d, values: Tensor) -> bool:
    statistics = (norm.running_mean, norm.running_var, norm.num_batches_tracked)
    if not norm.affine or norm.momentum is None or any(tensor is None for tensor in statistics):
        return False
    if norm.weight.dtype != torch.float32 or norm.weight.device != values.device:
        return False
    if norm.training:
        return values.numel() > values.shape[1]  # Torch refuses a batch of one pixel.
    learns = values.requires_grad or norm.weight.requires_grad or norm.bias.requires_grad
    return not (learns and torch.is_grad_enabled())  # Gradients with fixed statistics are not what the kernels compute.


def _has_hooks(layer: nn.Module) -> bool:
    """As torch itself asks before it calls a layer's forward method directly."""
    return bool(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
        or module_globals._global_forward_hooks
        or module_globals._global_forward_pre_hooks
        or module_globals._global_backward_hooks
        or module_globals._global_backward_pre_hooks
    )
