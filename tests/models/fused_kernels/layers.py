"""The layers behind a convolution: outputs, gradients and statistics."""

from __future__ import annotations

import copy
from itertools import product
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from models.config import Activation
from models.fused import function, kernel_calls, tails
from tests.models.fused_kernels.common import DEVICE, INTERPRETED, assert_same, block, both, random_x, run_fused

# On a GPU compiling takes the time: there the tests of a kind of value use two activations.
SOME = get_args(Activation) if INTERPRETED else ("relu", "gelu")
POOLINGS = [("max", 2), ("max", 3), ("avg", 2), ("avg", 3), ("none", 1)]
# Interpreting takes the time of the CPU: there two activations have all combinations of a type of value and a norm.
COMBINATIONS = [
    (activation, *pooling, dtype, norm)
    for activation, pooling, dtype, norm in product(
        get_args(Activation), POOLINGS, (torch.float32, torch.bfloat16), (True, False)
    )
    if not INTERPRETED or activation in ("relu", "gelu") or norm == (dtype == torch.bfloat16)
]


@pytest.mark.parametrize(("activation", "pooling", "size", "dtype", "norm"), COMBINATIONS, ids=str)
def test_forward_backward_and_statistics(
    activation: str, pooling: str, size: int, dtype: torch.dtype, norm: bool
) -> None:
    if not INTERPRETED and ((size == 3 and activation != "gelu") or (dtype == torch.float32 and not norm)):
        pytest.skip("on a GPU compiling takes the time: the interpreter has more combinations")
    torch.manual_seed(0)
    x = random_x(2, 20, 7, 9, dtype=dtype) * 2 + 0.5
    assert_same(*both(block(activation, pooling, size, channels=20, norm=norm), x), dtype)


@pytest.mark.parametrize("shape", [(1, 1, 2, 2), (2, 3, 4, 7), (5, 17, 8, 2), (2, 48, 5, 5), (1, 34, 4, 6)], ids=str)
@pytest.mark.parametrize("size", [2, 4])
def test_any_size_and_number_of_channels(shape: tuple[int, ...], size: int) -> None:
    if min(shape[2:]) < size:
        shape = (*shape[:2], size, size + 1)
    torch.manual_seed(0)
    for pooling in ("max", "avg"):
        assert_same(*both(block("relu", pooling, size, channels=shape[1], norm=True), random_x(*shape)), torch.float32)


def test_default_blocks_and_64_bit_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(tails, "MIN_VALUES", 0)
    monkeypatch.setattr(tails, "DEVICE_TYPES", {DEVICE.type})
    torch.manual_seed(0)
    x = random_x(2, 24, 19, 23)
    assert_same(*both(block("gelu", "max", 3, channels=24, norm=True), x), torch.float32)
    monkeypatch.setattr(kernel_calls, "_WIDE_FROM", 0)
    assert_same(*both(block("gelu", "max", 3, channels=24, norm=True), x), torch.float32)


@pytest.mark.parametrize("activation", SOME)
@pytest.mark.parametrize("pooling", ["max", "avg", "none"])
@pytest.mark.parametrize("norm", [True, False], ids=["norm", "bias"])
def test_gradients_are_those_of_finite_differences(activation: str, pooling: str, norm: bool) -> None:
    torch.manual_seed(0)
    layers = block(activation, pooling, 2, channels=2, norm=False)
    _, _, tail = tails.find_tail(layers, 0)
    assert tail
    x = torch.randn(2, 2, 4, 3, dtype=torch.float64, device=DEVICE).contiguous(memory_format=torch.channels_last)
    weight_2C = torch.randn(2, 2, dtype=torch.float64, device=DEVICE)

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        statistics = {
            name: torch.zeros(2, dtype=torch.float64, device=DEVICE) for name in ("running_mean", "running_var")
        }
        seen = torch.tensor(0, device=DEVICE)
        learned = {"weight": weight, "bias": bias, "num_batches_tracked": seen, **statistics}
        own = SimpleNamespace(training=True, eps=1e-5, momentum=0.1, **learned) if norm else None
        y = function.run_tail(x, own, tail)  # type: ignore[arg-type]
        assert y is not None
        return y

    inputs = [tensor.clone(memory_format=torch.preserve_format).requires_grad_() for tensor in (x, *weight_2C)]
    if not norm:
        inputs = [inputs[0], *(tensor.detach() for tensor in inputs[1:])]
    assert torch.autograd.gradcheck(run, inputs, eps=1e-6, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("norm", [True, False], ids=["norm", "bias"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_first_of_equal_values_gets_the_gradient(activation: str, norm: bool) -> None:
    torch.manual_seed(0)
    x = torch.randint(0, 3, (2, 8, 8, 8), device=DEVICE).float().contiguous(memory_format=torch.channels_last)
    fused, layers = both(block(activation, "max", 2, channels=8, norm=norm), x)
    torch.testing.assert_close(fused["dx"], layers["dx"], rtol=1e-4, atol=1e-5)
    if not norm:
        assert torch.equal(fused["dx"] != 0, layers["dx"] != 0)


def test_values_that_rounding_makes_equal_are_ties() -> None:
    """About 100, bfloat16 has steps of 0.5: most windows have several largest values behind the norm."""
    torch.manual_seed(0)
    layers = block("relu", "max", 2, channels=8, norm=True)
    nn.init.ones_(layers[0].weight)  # type: ignore[arg-type]
    nn.init.constant_(layers[0].bias, 100)  # type: ignore[arg-type]
    assert_same(*both(layers, random_x(2, 8, 8, 8, dtype=torch.bfloat16)), torch.bfloat16)


@pytest.mark.filterwarnings("ignore:(invalid value|overflow|divide by zero):RuntimeWarning")  # NumPy's, interpreted.
@pytest.mark.parametrize("activation", SOME)
@pytest.mark.parametrize("pooling", ["max", "avg", "none"])
def test_nan_and_infinity_go_where_they_go_in_the_layers(activation: str, pooling: str) -> None:
    torch.manual_seed(0)
    x = random_x(1, 4, 8, 8)
    x[0, 0, 0, 0] = x[0, 1, 3, 3] = x[0, 1, 3, 2] = float("nan")
    x[0, 0, 4, 4] = x[0, 2, 1, 1] = float("inf")
    x[0, 3, 2:4, 2:4] = x[0, 0, 6, 7] = -float("inf")
    fused, layers = both(block(activation, pooling, 2, channels=4, norm=False), x)
    torch.testing.assert_close(fused["y"], layers["y"], equal_nan=True, rtol=1e-4, atol=1e-5)
    # Of NaN itself torch has no one gradient: ELU's is 1 or NaN, by the tensor's size.
    finite = x.isfinite()
    torch.testing.assert_close(fused["dx"][finite], layers["dx"][finite], equal_nan=True, rtol=1e-4, atol=1e-5)

    x[:, 1:] = torch.randn(1, 3, 8, 8, device=DEVICE)
    fused, layers = both(block(activation, pooling, 2, channels=4, norm=True), x)
    for result in (fused, layers):
        assert result["y"][:, 0].isnan().all() and result["dx"][:, 0].isnan().all()
        assert result["0.running_var"][0].isnan()
    for name in ("y", "dx"):
        torch.testing.assert_close(fused[name][:, 1:], layers[name][:, 1:], rtol=1e-4, atol=1e-5)


def test_running_statistics_and_eval_mode() -> None:
    torch.manual_seed(0)
    layers = block("silu", "max", 2, channels=6, norm=True)
    own, reference = nn.Sequential(*copy.deepcopy(layers)), nn.Sequential(*layers)
    for step in range(3):
        x = random_x(2, 6, 5, 7) * (step + 1) + step
        run_fused(list(own), x)
        reference(x)
    assert_same(dict(own.named_buffers()), dict(reference.named_buffers()), torch.float32)
    assert own[0].num_batches_tracked == 3

    own.eval(), reference.eval()
    for dtype in (torch.float32, torch.bfloat16):
        x = random_x(2, 6, 5, 7, dtype=dtype)
        with torch.inference_mode():
            assert_same({"y": run_fused(list(own), x)}, {"y": reference(x)}, dtype)
    before = {name: buffer.clone() for name, buffer in own.named_buffers()}
    torch.testing.assert_close(dict(own.named_buffers()), before, rtol=0, atol=0)
    _, norm, tail = tails.find_tail(list(own), 0)
    assert tail and not tails.can_fuse(list(own), norm, tail, x.float().requires_grad_())


def test_statistics_of_a_channel_far_from_zero() -> None:
    """Mean 1000, deviation 0.1: sums of squares in float32 would leave nothing of the variance."""
    torch.manual_seed(0)
    x = random_x(4, 3, 16, 16) * 0.1 + 1000
    norm = nn.BatchNorm2d(3, momentum=1.0).to(DEVICE)
    run_fused([norm, nn.ReLU()], x)
    torch.testing.assert_close(norm.running_var.double(), x.double().var(dim=(0, 2, 3)), rtol=1e-4, atol=0)
    torch.testing.assert_close(norm.running_mean.double(), x.double().mean(dim=(0, 2, 3)), rtol=1e-7, atol=0)


def test_the_same_input_gives_the_same_bits() -> None:
    torch.manual_seed(0)
    layers, x = block("gelu", "avg", 2, channels=24, norm=True), random_x(4, 24, 16, 16, dtype=torch.bfloat16)
    first, second = both(layers, x)[0], both(layers, x)[0]
    assert all(torch.equal(first[name], second[name]) for name in first)
