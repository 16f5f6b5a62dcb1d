"""Finds the layers after a convolution that can run as one kernel, and decides whether they do."""

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
"""Tensors with fewer values run as separate layers. The smallest tensor timed on an H200 has this many values, and took
half the time fused."""

LARGEST_POOL = 4
"""Width in pixels of the largest pooling window that the kernels support: they hold a whole window in registers."""

DEVICE_TYPES = {"cuda"}

ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.GELU: "gelu",
    nn.SiLU: "silu",
    nn.Mish: "mish",
    nn.ELU: "elu",
}
"""Names in the kernels of the activations that they support."""
_DTYPES = (torch.bfloat16, torch.float32)
_may_fuse: ContextVar[bool] = ContextVar("_may_fuse", default=True)


@dataclasses.dataclass(frozen=True)
class Tail:
    """The layers between two convolutions that one kernel can replace."""

    activation: str
    pooling: str
    """Kind of the pooling: `max`, `avg` or `none`."""
    pool_size: int
    """Width of a window in pixels, which is also its stride; 1 without pooling."""
    pool_first: bool
    """Whether pooling comes before the activation."""
    residual: bool = False
    """Whether the norm's output and another tensor are added before the activation."""


@contextmanager
def layers_as_they_are() -> Iterator[None]:
    """Fuse nothing within the block: for comparisons, and for callers that need the layers themselves."""
    token = _may_fuse.set(False)
    try:
        yield
    finally:
        _may_fuse.reset(token)


def run_layers(layers: Iterable[nn.Module], values: Tensor) -> Tensor:
    """Run layers one after the other; fuse norm, activation and pooling after a convolution if that is faster.

    It is faster on a CUDA device with Triton, for large channels_last tensors in bfloat16 or float32. Nothing is fused
    for layers with hooks, or while a graph is traced, exported or compiled. Layers inside an nn.Sequential and inside
    the residual blocks of torchvision's ResNets are fused, too. Both ways give the same result except for rounding,
    update the norm's running statistics in the same way, and propagate NaN.
    """
    if values.device.type not in DEVICE_TYPES or not _may_fuse.get():
        for layer in layers:
            values = layer(values)
        return values
    return _run_fused(list(layers), values)


def _run_fused(layers: list[nn.Module], values: Tensor) -> Tensor:
    from models.fused.residual_blocks import is_residual_block, run_block

    at, behind_conv = 0, False
    while at < len(layers):
        end, norm, tail = find_tail(layers, at) if behind_conv else (at, None, None)
        if tail and can_fuse(layers[at:end], norm, tail, values):
            from models.fused.agreement import run_if_it_agrees  # Here, because it imports Triton.

            fused = run_if_it_agrees(values, norm, tail)
            if fused is not None:
                values, at, behind_conv = fused, end, False
                continue
        layer = layers[at]
        if type(layer) is nn.Sequential and _is_run_by_forward(layer, values):
            values = _run_fused(list(layer), values)
        elif is_residual_block(layer) and _is_run_by_forward(layer, values):
            values = run_block(layer, values)
        else:
            values = layer(values)
        behind_conv = type(layer) is nn.Conv2d
        at += 1
    return values


def find_tail(layers: Sequence[nn.Module], start: int) -> tuple[int, nn.BatchNorm2d | None, Tail | None]:
    """The tail that begins at `start`: the index after its last layer, its norm if it has one, and its description.

    The description is None if there is no tail, or if the kernels do not support its configuration.
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
    """An activation's name and 0, or a pooling's name and size; None for other layers."""
    if name := ACTIVATIONS.get(type(layer)):
        default = type(layer)(inplace=True) if getattr(layer, "inplace", False) else type(layer)()
        return (name, 0) if repr(layer) == repr(default) else None  # The kernels support default slopes only.
    if type(layer) not in (nn.MaxPool2d, nn.AvgPool2d):
        return None
    size = layer.kernel_size
    if not isinstance(size, int) or not 2 <= size <= LARGEST_POOL or repr(layer) != repr(type(layer)(size)):
        return None  # Windows that overlap, are padded, or are rounded up.
    return ("max" if type(layer) is nn.MaxPool2d else "avg"), size


def can_fuse(layers: Sequence[nn.Module], norm: nn.BatchNorm2d | None, tail: Tail, values: Tensor) -> bool:
    """Whether the kernels can replace these layers now, and are faster."""
    return (
        values.numel() >= MIN_VALUES
        and type(values) is Tensor  # Not a proxy that replaces a tensor while a graph is traced.
        and values.ndim == 4
        and values.dtype in _DTYPES
        and min(values.shape[2:]) >= tail.pool_size
        and values.is_contiguous(memory_format=torch.channels_last)
        and (norm is None or _can_normalise(norm, values))
        # torchvision's and timm's networks, whose activations work in place, give torch's own numbers in eval mode.
        and ((norm is not None and norm.training) or not any(getattr(layer, "inplace", False) for layer in layers))
        and not any(_has_hooks(layer) for layer in layers)
        and not _is_traced()
        and is_available(values.device)
    )


def _is_run_by_forward(layer: nn.Module, values: Tensor) -> bool:
    """Whether calling the layer does what its class's forward method does, and nothing else."""
    return (
        type(values) is Tensor
        and not _has_hooks(layer)
        and "forward" not in vars(layer)
        and layer._compiled_call_impl is None
        and not _is_traced()
    )


def _is_traced() -> bool:
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


def _can_normalise(norm: nn.BatchNorm2d, values: Tensor) -> bool:
    statistics = (norm.running_mean, norm.running_var, norm.num_batches_tracked)
    if not norm.affine or norm.momentum is None or any(tensor is None for tensor in statistics):
        return False
    if norm.weight.dtype != torch.float32 or norm.weight.device != values.device:
        return False
    if norm.training:
        return values.numel() > values.shape[1]  # torch refuses a batch of one pixel.
    learns = values.requires_grad or norm.weight.requires_grad or norm.bias.requires_grad
    return not (learns and torch.is_grad_enabled())  # The kernels do not compute gradients with fixed statistics.


def _has_hooks(layer: nn.Module) -> bool:
    """Whether a layer has hooks, by the check that torch makes before it calls the forward method directly."""
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
