"""Layers to compare, and fixtures that apply to all tests of the kernels."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.flexcnn import ACTIVATIONS, MONOTONIC
from models.fused import agreement, function, kernel_calls, tails

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda:0")
on_gpu = pytest.mark.skipif(INTERPRETED, reason="needs a GPU")


@pytest.fixture(autouse=True)
def _everything_is_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny tensors too; and in small blocks, so that they are several blocks and chunks."""
    monkeypatch.setattr(tails, "DEVICE_TYPES", {DEVICE.type})
    monkeypatch.setattr(tails, "MIN_VALUES", 0)
    monkeypatch.setattr(kernel_calls, "_REDUCED_VALUES", 512 if INTERPRETED else 1024)
    monkeypatch.setattr(kernel_calls, "_MAPPED_VALUES", 512 if INTERPRETED else 1024)
    monkeypatch.setattr(kernel_calls, "MOST_CHUNKS", 4)
    # The tests compare the kernels themselves, and the interpreter takes the time of the CPU.
    monkeypatch.setattr(agreement, "_disagreement", lambda *_: None)
    monkeypatch.setattr(agreement, "_agreed", set())


@pytest.fixture(autouse=True, scope="session")
def _interpreter_rounds_as_a_gpu_does() -> Iterator[None]:
    """It cuts bfloat16 off, where a GPU rounds to the nearest and ties to even."""
    if not INTERPRETED:
        yield
        return
    import triton.language as tl
    from triton.runtime import interpreter

    cut = interpreter._convert_float

    def convert(values: Any, source: Any, target: Any, mode: Any) -> Any:
        if (source, target) != (tl.float32, tl.bfloat16):
            return cut(values, source, target, mode)
        rounded = torch.from_numpy(np.ascontiguousarray(values)).bfloat16()
        return rounded.view(torch.int16).numpy().view(np.uint16).reshape(values.shape)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter, "_convert_float", convert)
        yield


def block(activation: str, pooling: str, size: int, *, channels: int, norm: bool) -> list[nn.Module]:
    """The layers behind a convolution, in the order of FlexCNN; the norm's weights are not what they begin with."""
    tail: list[nn.Module] = [ACTIVATIONS[activation]()]  # type: ignore[index]
    if pooling == "max":
        tail.insert(0 if activation in MONOTONIC else 1, nn.MaxPool2d(size))
    elif pooling == "avg":
        tail.append(nn.AvgPool2d(size))
    if norm:
        tail.insert(0, normed(channels))
    return tail


def normed(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm.to(DEVICE)


def random_x(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, device=DEVICE).to(dtype).contiguous(memory_format=torch.channels_last)


def run_fused(layers: list[nn.Module], x: Tensor) -> Tensor:
    end, norm, tail = tails.find_tail(layers, 0)
    assert end == len(layers) and tail and tails.can_fuse(layers, norm, tail, x)
    y = function.run_tail(x, norm, tail)
    assert y is not None and y.is_contiguous(memory_format=torch.channels_last)
    return y


def both(layers: list[nn.Module], x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Output, gradients and buffers: fused, and of the layers one by one from the same state."""
    results: list[dict[str, Tensor]] = []
    for fused in (True, False):
        network = nn.Sequential(*copy.deepcopy(layers))
        own_x = x.detach().clone().requires_grad_()
        y = run_fused(list(network), own_x) if fused else network(own_x)
        dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
        gradients = torch.autograd.grad(y, [own_x, *network.parameters()], dy)
        names = ["dx", *(f"d{name}" for name, _ in network.named_parameters())]
        results.append({"y": y.detach(), **dict(zip(names, gradients, strict=True)), **dict(network.named_buffers())})
    return results[0], results[1]


def assert_same(fused: dict[str, Tensor], layers: dict[str, Tensor], dtype: torch.dtype) -> None:
    """Float32: to 1e-4. Bfloat16: to 2 %, the three roundings of the layers one by one; but for 1 value in 100.

    A pixel may be chosen in place of another one that differs in the last bit only, and then gets its gradient.
    """
    assert fused.keys() == layers.keys()
    for name, expected in layers.items():
        actual = fused[name]
        assert actual.dtype == expected.dtype and actual.shape == expected.shape, name
        if dtype == torch.float32:
            torch.testing.assert_close(
                actual,
                expected,
                rtol=1e-4,
                atol=2e-5,
                msg=lambda text, name=name: f"{name}: {text}",  # type: ignore[misc]
            )
            continue
        scale = expected.float().abs().amax().clamp(min=1)
        off = (actual.float() - expected.float()).abs() > 0.02 * expected.float().abs() + 0.015 * scale
        assert off.float().mean() <= 0.01, f"{name}: {off.sum()} of {off.numel()} values differ"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tails.Tail]:
    """The tails that were run as one, in order."""
    fused: list[tails.Tail] = []
    run_tail = function.run_tail

    def noting(
        x: Tensor, norm: nn.BatchNorm2d | None, tail: tails.Tail, residual: Tensor | None = None
    ) -> Tensor | None:
        fused.append(tail)
        return run_tail(x, norm, tail, residual)

    monkeypatch.setattr(function, "run_tail", noting)
    return fused
