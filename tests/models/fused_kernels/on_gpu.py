"""What only a GPU shows: captured graphs, streams, tensors of many values."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.config import FlexCNNConfig
from models.flexcnn import FlexCNN
from models.fused import function, run_layers, tails
from tests.models.fused_kernels.common import DEVICE, block, both, on_gpu, random_x, run_fused
from tests.models.fused_kernels.residuals import resnet

pytestmark = on_gpu


def flexcnn() -> FlexCNN:
    torch.manual_seed(0)
    model = FlexCNN(FlexCNNConfig(conv_layers=3, filters=16, activation="gelu"), (3, 64, 64), 4)
    return model.to(device=DEVICE, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize(
    ("build", "tails_of_a_step"), [(flexcnn, 3), (lambda: resnet("unfreeze_all"), 17)], ids=["flexcnn", "resnet"]
)
def test_a_captured_step_is_the_eager_step(
    build: Callable[[], nn.Module], tails_of_a_step: int, calls: list[tails.Tail]
) -> None:
    model = build()
    eager = copy.deepcopy(model)
    x, labels = random_x(16, 3, 64, 64), torch.arange(16, device=DEVICE) % 4

    def step(network: nn.Module) -> Tensor:
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.grad.zero_()
        with torch.autocast("cuda", torch.bfloat16):
            logits = network(x)
        loss = F.cross_entropy(logits.float(), labels)
        loss.backward()
        return loss.detach()

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            step(model)
    torch.cuda.current_stream().wait_stream(stream)
    calls.clear()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured_loss = step(model)
    assert len(calls) == tails_of_a_step
    for _ in range(2):
        graph.replay()
    for _ in range(4):
        loss = step(eager)
    torch.testing.assert_close(captured_loss, loss, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(dict(model.named_buffers()), dict(eager.named_buffers()), rtol=1e-4, atol=1e-5)


def test_nothing_is_compiled_in_a_capture() -> None:
    layers = [nn.Conv2d(3, 8, 1).to(DEVICE).to(memory_format=torch.channels_last), nn.Mish(), nn.AvgPool2d(4)]  # type: ignore[call-overload]
    x = random_x(2, 3, 8, 8)
    with torch.no_grad():
        layers[0](x)
        expected = nn.Sequential(*layers)(x)
        torch.cuda.synchronize()
        function._have_run.clear()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = run_layers(layers, x)
        graph.replay()
    torch.testing.assert_close(y, expected)
    assert not function._have_run


def test_streams_side_by_side() -> None:
    torch.manual_seed(0)
    layers = [block("relu", "max", 2, channels=32, norm=True) for _ in range(4)]
    xs = [random_x(32, 32, 64, 64, dtype=torch.bfloat16) for _ in range(4)]
    expected = [both(own, x)[0] for own, x in zip(layers, xs, strict=True)]
    torch.cuda.synchronize()
    results: list[dict[str, Tensor]] = []
    for own, x in zip(layers, xs, strict=True):
        with torch.cuda.stream(torch.cuda.Stream()):
            results.append(both(own, x)[0])
    torch.cuda.synchronize()
    for actual, wanted in zip(results, expected, strict=True):
        assert all(torch.equal(actual[name], wanted[name]) for name in wanted)


def test_a_tensor_of_more_than_two_to_the_31_values() -> None:
    if torch.cuda.mem_get_info()[0] < 30 * 2**30:
        pytest.skip("needs 30 GiB of free GPU memory")
    layers: list[nn.Module] = [nn.MaxPool2d(2), nn.ReLU()]
    x = torch.zeros(
        2,
        64,
        4200,
        4200,
        dtype=torch.bfloat16,
        device=DEVICE,
    ).contiguous(memory_format=torch.channels_last)
    x[-1].normal_()
    x.requires_grad_()
    y = run_fused(layers, x)
    last = x.detach()[-1:, :, -64:, -64:]
    torch.testing.assert_close(y[-1:, :, -32:, -32:], nn.Sequential(*layers)(last))
    (dx,) = torch.autograd.grad(y, x, torch.ones_like(y))
    own = last.clone().requires_grad_()
    (expected,) = torch.autograd.grad(nn.Sequential(*layers)(own).sum(), own)
    torch.testing.assert_close(dx[-1:, :, -64:, -64:], expected)


def test_an_export_has_the_layers(calls: list[tails.Tail]) -> None:
    model = FlexCNN(FlexCNNConfig(conv_layers=1, filters=8), (3, 16, 16), 4).eval()
    model.to(device=DEVICE, memory_format=torch.channels_last)  # type: ignore[call-overload]
    exported = torch.export.export(model, (random_x(2, 3, 16, 16),))
    assert "max_pool2d" in exported.graph_module.code and not calls
