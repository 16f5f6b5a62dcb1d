"""Compares the kernels with the layers that they replace, once in a process for each variant, before they are used."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor, nn

from models.fused import availability, function
from models.fused.function import Run
from models.fused.tails import ACTIVATIONS, Tail

TOLERANCE = {torch.bfloat16: 0.03, torch.float32: 1e-3}
"""Largest difference by number format, as a multiple of the sum of the value and the tensor's largest value."""
TOLERATED_SHARE = 0.01
"""Share of a tensor's values that may differ more: max pooling may choose another pixel of almost the same value, and
ReLU may have another sign where a rounded value is 0.
"""

_IMAGES, _WINDOWS = 2, 7
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_agreed: set[tuple[Any, ...]] = set()


def run_if_it_agrees(
    x_NCHW: Tensor, norm: nn.BatchNorm2d | None, tail: Tail, residual_NCHW: Tensor | None = None
) -> Tensor | None:
    """The result of `function.run_tail`, if the same kernels gave what the layers give for a few random images.

    Otherwise None; after a comparison that failed, no kernel runs on the device any more. While a CUDA graph is
    captured, nothing is compared, and kernels that were not compared before do not run.
    """
    key = Run.of(x_NCHW, norm, tail, residual_NCHW).key(x_NCHW.device, "forward")
    if key not in _agreed:
        if x_NCHW.is_cuda and torch.cuda.is_current_stream_capturing():
            return None
        if reason := _disagreement(x_NCHW, norm, tail, residual_NCHW):
            availability.withdraw(x_NCHW.device, reason)
            return None
        _agreed.add(key)
    return function.run_tail(x_NCHW, norm, tail, residual_NCHW)


def _disagreement(x_NCHW: Tensor, norm: nn.BatchNorm2d | None, tail: Tail, residual_NCHW: Tensor | None) -> str | None:
    """The reason why the kernels cannot replace the layers, or None."""
    keep = Run.of(x_NCHW, norm, tail, residual_NCHW).keep
    try:
        # Autocast would change the layers' number formats, and the network's own mode may not compute gradients.
        with (
            torch.inference_mode(False),
            torch.set_grad_enabled(keep),
            torch.autocast(x_NCHW.device.type, enabled=False),
        ):
            fused, layers = (_results(x_NCHW, norm, tail, keep=keep, fused=fused) for fused in (True, False))
            wrong = [name for name in layers if not _is_near(fused[name], layers[name], _format(name, x_NCHW))]
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:  # A compiler that is missing or fails can raise anything.
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return f"Triton's kernels for {tail} give other values of {', '.join(wrong)} than the layers" if wrong else None


def _results(
    like_NCHW: Tensor, like_norm: nn.BatchNorm2d | None, tail: Tail, *, keep: bool, fused: bool
) -> dict[str, Tensor]:
    """Output, gradients and buffers for random images with the channels and the number format of `like_NCHW`."""
    device, dtype, channels = like_NCHW.device, like_NCHW.dtype, like_NCHW.shape[1]
    generator = Generator(device).manual_seed(0)  # Its own, because training's draws must not depend on the check.

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device)

    side = _WINDOWS * tail.pool_size + 1  # The last row and column of pixels are in no window of 2 or more.

    def images() -> Tensor:
        drawn = draw(_IMAGES, channels, side, side).to(dtype)
        return drawn.contiguous(memory_format=torch.channels_last).requires_grad_(keep)

    x = images()
    residual = images() if tail.residual else None
    norm = None
    if like_norm is not None:
        norm = nn.BatchNorm2d(channels, like_norm.eps, like_norm.momentum, device=device, dtype=like_norm.weight.dtype)
        norm.train(like_norm.training).requires_grad_(keep)
        state = {name: draw(channels) for name in ("weight", "bias", "running_mean")}
        norm.load_state_dict({**norm.state_dict(), **state, "running_var": draw(channels).square() + 0.1})
    y = function.run_tail(x, norm, tail, residual) if fused else _layers(x, norm, tail, residual)
    assert y is not None
    results = {"output": y.detach()}
    if norm is not None:
        results |= dict(norm.named_buffers())
    if keep:
        inputs = {"x": x, "residual": residual, **(dict(norm.named_parameters()) if norm is not None else {})}
        wanted = {f"gradient of {name}": tensor for name, tensor in inputs.items() if tensor is not None}
        dy = draw(*y.shape).to(dtype)
        results |= dict(zip(wanted, torch.autograd.grad(y, list(wanted.values()), dy), strict=True))
    return results


def _layers(x: Tensor, norm: nn.BatchNorm2d | None, tail: Tail, residual: Tensor | None) -> Tensor:
    """The output of the tail's layers."""
    values = x if norm is None else norm(x)
    if residual is not None:
        values = values + residual
    layers = [next(kind() for kind, name in ACTIVATIONS.items() if name == tail.activation)]
    if tail.pooling != "none":
        pool = (nn.MaxPool2d if tail.pooling == "max" else nn.AvgPool2d)(tail.pool_size)
        layers.insert(0 if tail.pool_first else 1, pool)
    pooled: Tensor = nn.Sequential(*layers)(values)
    return pooled


def _format(name: str, x_NCHW: Tensor) -> torch.dtype:
    """The number format in which a result is rounded; a norm's own statistics are sums in float32."""
    return torch.float32 if name in _STATISTICS else x_NCHW.dtype


def _is_near(fused: Tensor, layers: Tensor, dtype: torch.dtype) -> bool:
    if fused.shape != layers.shape or fused.dtype != layers.dtype:
        return False
    expected = layers.double()
    tolerance = TOLERANCE[dtype] * (expected.abs() + expected.abs().amax())
    is_far = ~((fused.double() - expected).abs() <= tolerance)  # So that NaN is far.
    return bool(is_far.double().mean() <= TOLERATED_SHARE)
