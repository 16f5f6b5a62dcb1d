"""The comparison of the kernels with the layers before they are used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.fused import agreement, availability, kernel_calls, residual_calls, tails
from tests.models.fused_kernels import residuals
from tests.models.fused_kernels.common import DEVICE, assert_same, block, random_x

compare = agreement._disagreement


@pytest.fixture(autouse=True)
def _compared(_everything_is_fused: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "_disagreement", compare)
    monkeypatch.setattr(availability, "_available", dict(availability._available))


def run(layers: list[nn.Module], x: Tensor) -> Tensor | None:
    _, norm, tail = tails.find_tail(layers, 0)
    assert tail and tails.can_fuse(layers, norm, tail, x)
    return agreement.run_if_it_agrees(x, norm, tail)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("activation", "pooling", "norm"),
    [("relu", "max", True), ("gelu", "avg", True), ("mish", "max", False), ("relu", "none", True)],
)
def test_right_kernels_agree_and_are_compared_once(
    activation: str, pooling: str, norm: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[Any] = []

    def noting(*given: Any) -> str | None:
        compared.append(given)
        return compare(*given)

    monkeypatch.setattr(agreement, "_disagreement", noting)
    torch.manual_seed(0)
    layers = block(activation, pooling, 2, channels=20, norm=norm)
    before = torch.get_rng_state()
    for images in (2, 3):
        x = torch.ones(images, 20, 8, 8, dtype=dtype, device=DEVICE).to(memory_format=torch.channels_last)
        assert run(layers, x.requires_grad_()) is not None
    assert len(compared) == 1 and torch.equal(torch.get_rng_state(), before)
    if norm:
        assert layers[0].num_batches_tracked == 2
    with torch.inference_mode():
        nn.Sequential(*layers).eval()
        assert run(layers, random_x(2, 20, 8, 8, dtype=dtype)) is not None
    assert len(compared) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_kernels_of_a_residual_block_agree(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = random_x(2, 33, 5, 5, dtype=dtype).requires_grad_()
    norm = nn.BatchNorm2d(33).to(DEVICE)
    assert agreement.run_if_it_agrees(x, norm, residuals.END, x) is not None
    with torch.no_grad():
        assert agreement.run_if_it_agrees(x, norm, residuals.END, x) is not None
    assert len(agreement._agreed) == 2


def doubled(function_: Callable[..., Any], part: int | None = None) -> Callable[..., Any]:
    def wrong(*given: Any, **named: Any) -> Any:
        result = function_(*given, **named)
        if part is None:
            return result * 2
        return tuple(value * 2 if place == part else value for place, value in enumerate(result))

    return wrong


def failing(*_: Any, **__: Any) -> Any:
    raise RuntimeError("no compiler\nhere")


WRONG = [
    (residual_calls, "residual_forward", doubled(residual_calls.residual_forward), "output"),
    (residual_calls, "residual_gradients", doubled(residual_calls.residual_gradients, 0), "gradient of residual"),
    (residual_calls, "residual_gradients", doubled(residual_calls.residual_gradients, 1), "gradient of weight"),
    (residual_calls, "residual_gradient_of_input", doubled(residual_calls.residual_gradient_of_input), "gradient of x"),
    (residual_calls, "residual_gradients", failing, "RuntimeError: no compiler here"),
    (kernel_calls, "batch_norm", lambda x, norm, geometry: kernel_calls.running_norm(x, norm, geometry), "running_var"),
]


@pytest.mark.parametrize(("module", "name", "wrong", "reason"), WRONG, ids=[case[3] for case in WRONG])
def test_wrong_kernels_are_replaced_by_the_layers_after_one_warning(
    module: Any, name: str, wrong: Any, reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, name, wrong)
    torch.manual_seed(0)
    own = residuals.basic(8, 8, 1).to(device=DEVICE, memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = random_x(2, 8, 4, 4)
    expected = residuals.trained(own, x, torch.float32, fused=False)
    assert_same(residuals.trained(own, x, torch.float32, fused=True), expected, torch.float32)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"Layers are not fused on {DEVICE}" in caplog.text and reason in caplog.text
    assert not availability.is_available(DEVICE)
