"""Norm, residual and ReLU: outputs, gradients and statistics; and whole blocks of torchvision's ResNets."""

from __future__ import annotations

import copy
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, conv1x1

from models.config import BackboneConfig
from models.fused import availability, function, kernel_calls, layers_as_they_are, run_layers, tails
from models.fused.tails import Tail
from models.registry import build_model
from tests.models.fused_kernels.common import DEVICE, INTERPRETED, assert_same, normed, random_x

NORM, END = Tail("relu", "none", 1, pool_first=False), Tail("relu", "none", 1, pool_first=False, residual=True)


def both(norm: nn.BatchNorm2d, x: Tensor, residual: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Output, gradients and buffers: fused, and of the layers as torchvision runs them."""
    results = []
    for fused in (True, False):
        own, x_, residual_ = copy.deepcopy(norm), x.clone().requires_grad_(), residual.clone().requires_grad_()
        if fused:
            y = function.run_tail(x_, own, END, residual_)
            assert y is not None and y.is_contiguous(memory_format=torch.channels_last)
        else:
            y = own(x_)
            y += residual_
            y = torch.relu_(y)
        dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
        wanted = {"dx": x_, "dresidual": residual_, "dweight": own.weight, "dbias": own.bias}
        gradients = torch.autograd.grad(y, list(wanted.values()), dy)
        results.append({"y": y.detach(), **dict(zip(wanted, gradients, strict=True)), **dict(own.named_buffers())})
    return results[0], results[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "shape", [(2, 20, 7, 9), (1, 1, 2, 2), (2, 3, 4, 7), (5, 17, 8, 2), (3, 48, 5, 5), (1, 34, 4, 6), (2, 64, 4, 4)],
    ids=str,
)  # fmt: skip
def test_the_end_of_a_block(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, residual = random_x(*shape, dtype=dtype) * 2 + 0.5, random_x(*shape, dtype=dtype)
    assert_same(*both(normed(shape[1]), x, residual), dtype)


def test_default_blocks_and_64_bit_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    torch.manual_seed(0)
    x, residual, norm = random_x(2, 24, 19, 23), random_x(2, 24, 19, 23), normed(24)
    assert_same(*both(norm, x, residual), torch.float32)
    monkeypatch.setattr(kernel_calls, "_WIDE_FROM", 0)
    assert_same(*both(norm, x, residual), torch.float32)


@pytest.mark.filterwarnings("ignore:(invalid value|overflow):RuntimeWarning")  # NumPy's, interpreted.
def test_nan_and_infinity_go_where_they_go_in_the_layers() -> None:
    torch.manual_seed(0)
    x, residual = random_x(1, 4, 8, 8), random_x(1, 4, 8, 8)
    x[0, 0, 1, 1] = residual[0, 1, 2, 2] = float("nan")
    residual[0, 2, 3, 3], residual[0, 3, 4, 4] = float("inf"), -float("inf")
    fused, layers = both(normed(4), x, residual)
    for name in layers:
        torch.testing.assert_close(fused[name], layers[name], equal_nan=True, rtol=1e-4, atol=2e-5)


def test_gradients_of_some_inputs_only() -> None:
    torch.manual_seed(0)
    x, residual, norm = random_x(2, 8, 5, 5), random_x(2, 8, 5, 5), normed(8)
    fused, _ = both(norm, x, residual)
    dy = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(x)
    for name in ("dx", "dresidual", "dweight", "dbias"):
        inputs = {"dx": x.clone(), "dresidual": residual.clone(), "dweight": None, "dbias": None}
        own = copy.deepcopy(norm).requires_grad_(False)
        inputs["dweight"], inputs["dbias"] = own.weight, own.bias
        wanted = inputs[name].requires_grad_()  # type: ignore[union-attr]
        y = function.run_tail(inputs["dx"], own, END, inputs["dresidual"])  # type: ignore[arg-type]
        assert y is not None
        torch.testing.assert_close(torch.autograd.grad(y, wanted, dy)[0], fused[name], rtol=0, atol=0)


def basic(inputs: int, width: int, stride: int) -> nn.Module:
    halved = nn.Sequential(conv1x1(inputs, width, stride), nn.BatchNorm2d(width))
    return BasicBlock(inputs, width, stride, halved if stride > 1 or inputs != width else None)


def bottleneck(inputs: int, width: int, stride: int) -> nn.Module:
    """A block of ResNeXt: two groups."""
    halved = nn.Sequential(conv1x1(inputs, 4 * width, stride), nn.BatchNorm2d(4 * width))
    downsample = halved if stride > 1 or inputs != 4 * width else None
    return Bottleneck(inputs, width, stride, downsample, groups=2, base_width=48)


def trained(network: nn.Module, x: Tensor, dtype: torch.dtype, *, fused: bool) -> dict[str, Tensor]:
    """Output, gradients and state after two steps under autocast."""
    own = copy.deepcopy(network).train()
    results: dict[str, Tensor] = {}
    for step in range(2):
        x_ = (x + step).contiguous(memory_format=torch.channels_last).requires_grad_()
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            y = run_layers([own], x_) if fused else own(x_)
        weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(step)).to(y)
        (y.float() * weights.float()).sum().backward()
        results |= {f"y{step}": y.detach(), f"dx{step}": x_.grad}  # type: ignore[dict-item]
    gradients = {f"d{name}": parameter.grad for name, parameter in own.named_parameters()}
    return {**results, **gradients, **own.state_dict()}  # type: ignore[dict-item]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("make", "inputs", "width"), [(basic, 12, 12), (bottleneck, 24, 6)], ids=["basic", "bottle"])
def test_a_block_trains_as_torchvisions(
    make: Any, inputs: int, width: int, stride: int, calls: list[tails.Tail]
) -> None:
    torch.manual_seed(0)
    block = make(inputs, width, stride).to(device=DEVICE, memory_format=torch.channels_last)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight), nn.init.normal_(module.bias)
    x = random_x(3, inputs, 6, 7)
    fused = trained(block, x, torch.float32, fused=True)
    assert calls == 2 * [NORM, *([NORM] if make is bottleneck else []), END]
    layers = trained(block, x, torch.float32, fused=False)
    assert fused.keys() == layers.keys()
    for name, expected in layers.items():
        assert (fused[name] - expected).abs().max() <= 2e-5 * expected.abs().max(), name
    assert len(calls) == 2 * (3 if make is bottleneck else 2)


def test_a_block_under_autocast(calls: list[tails.Tail]) -> None:
    torch.manual_seed(0)
    block = basic(16, 16, 1).to(device=DEVICE, memory_format=torch.channels_last)  # type: ignore[call-overload]
    # The values of a block before it are in bfloat16, too; those of a float32 tensor are added by torch.
    network = nn.Sequential(nn.Conv2d(16, 16, 1).to(DEVICE), block)
    x = random_x(2, 16, 6, 6)
    fused, layers = (trained(network, x, torch.bfloat16, fused=fused) for fused in (True, False))
    assert calls == [NORM, END] * 2
    for name in ("y0", "1.bn2.running_mean", "1.bn2.running_var", "1.bn2.num_batches_tracked"):
        torch.testing.assert_close(fused[name].float(), layers[name].float(), rtol=0.05, atol=0.05)
    calls.clear()
    trained(block, x, torch.bfloat16, fused=True)
    assert calls == [NORM] * 2


def resnet(freezing: Literal["unfreeze_all", "freeze_all"]) -> Any:
    config = BackboneConfig(backbone="resnet18", weights="none", image_size=16, stem="small", freezing=freezing)
    torch.manual_seed(0)
    model = build_model(config, (3, 16, 16), 4)
    return model.to(device=DEVICE, memory_format=torch.channels_last).train()  # type: ignore[call-overload]


def test_a_whole_network_has_the_state_and_the_gradients_of_its_layers(
    calls: list[tails.Tail], monkeypatch: pytest.MonkeyPatch
) -> None:
    if INTERPRETED:  # Which takes its time for each block.
        monkeypatch.setattr(kernel_calls, "_REDUCED_VALUES", 2**14)
        monkeypatch.setattr(kernel_calls, "_MAPPED_VALUES", 2**14)
    own = resnet("unfreeze_all")
    reference = copy.deepcopy(own)
    x = random_x(2, 3, 16, 16)
    own(x).square().sum().backward()
    assert calls == [NORM, *[NORM, END] * 8]
    with layers_as_they_are():
        reference(x).square().sum().backward()
    assert len(calls) == 17
    assert list(own.state_dict()) == list(reference.state_dict())
    assert [type(module) for module in own.modules()] == [type(module) for module in reference.modules()]
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(own.state_dict()[name], value, rtol=1e-3, atol=1e-4)
    for (name, parameter), expected in zip(own.named_parameters(), reference.parameters(), strict=True):
        # A value next to 0 that ReLU cuts in one network only changes all gradients before it.
        assert (parameter.grad - expected.grad).norm() <= 0.03 * expected.grad.norm(), name


def test_frozen_and_hooked_blocks_and_blocks_in_eval_mode_run_by_themselves(calls: list[tails.Tail]) -> None:
    block = basic(8, 8, 1).to(device=DEVICE, memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = random_x(2, 8, 4, 4)

    def fused() -> list[tails.Tail]:
        calls.clear()
        run_layers([nn.Sequential(block)], x)
        return list(calls)

    assert fused() == [NORM, END]
    for module, left in ((block, []), (block.relu, []), (block.bn1, [END]), (block.bn2, [NORM])):
        hook = module.register_forward_hook(lambda *_: None)  # type: ignore[operator]
        assert fused() == left
        hook.remove()
    block.bn1.eval()  # type: ignore[operator]
    assert fused() == [END]
    block.eval()
    with torch.inference_mode():
        assert not fused()
    block.train()
    block.forward = lambda values: values  # type: ignore[method-assign, assignment]
    assert not fused()


def test_the_stem_in_eval_mode_gives_torchs_numbers(calls: list[tails.Tail]) -> None:
    own = resnet("freeze_all").eval()
    x = random_x(1, 3, 16, 16)
    with torch.inference_mode():
        logits = own(x)
        with layers_as_they_are():
            assert torch.equal(logits, own(x))
    assert not calls and availability.is_available(DEVICE)
