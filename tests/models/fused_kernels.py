"""The fused kernels against the layers that they stand for; `test_fused.py` runs this file in a process of its own.

With TRITON_INTERPRET=1 Triton's interpreter runs the kernels on a CPU; it has to be set before anything imports Triton.
Without it they run on a GPU.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from itertools import product
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.config import Activation, FlexCNNConfig
from models.flexcnn import ACTIVATIONS, MONOTONIC, FlexCNN
from models.fused import function, kernel_calls, layers_as_they_are, run_layers, tails
from models.inspect import feature_maps, grad_cam, guided_backprop, strongest_neurons

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda:0")
# On a GPU compiling takes the time: there the tests of a kind of value do with two activations.
SOME = get_args(Activation) if INTERPRETED else ("relu", "gelu")
on_gpu = pytest.mark.skipif(INTERPRETED, reason="needs a GPU")


@pytest.fixture(autouse=True)
def _everything_is_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny tensors too; and in small blocks, so that they are several blocks and chunks."""
    monkeypatch.setattr(tails, "DEVICE_TYPES", {DEVICE.type})
    monkeypatch.setattr(tails, "MIN_VALUES", 0)
    monkeypatch.setattr(kernel_calls, "_REDUCED_VALUES", 512 if INTERPRETED else 1024)
    monkeypatch.setattr(kernel_calls, "_MAPPED_VALUES", 512 if INTERPRETED else 1024)
    monkeypatch.setattr(kernel_calls, "MOST_CHUNKS", 4)


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


NETWORKS: list[dict[str, Any]] = [
    {},
    {"activation": "gelu", "dropout": 0.3, "dropout_where": "both"},
    {"activation": "mish", "pooling": "avg", "pool_size": 3, "conv_layers": 1},
    {"activation": "elu", "pooling": "none", "stride": 2, "kernel_size": 4},
    {"activation": "silu", "batch_norm": False},
    {"pool_size": 1},
]


@pytest.mark.parametrize("options", NETWORKS, ids=str)
def test_a_network_trains_as_its_layers_do(options: dict[str, Any], calls: list[tails.Tail]) -> None:
    config = FlexCNNConfig(**{"conv_layers": 2, "filters": 6, "dense_width": 5, **options})
    torch.manual_seed(0)
    own = FlexCNN(config, (3, 14, 13), 4).to(device=DEVICE, memory_format=torch.channels_last)  # type: ignore[call-overload]
    reference = copy.deepcopy(own)
    x, labels = random_x(8, 3, 14, 13), torch.arange(8, device=DEVICE) % 4
    for step in range(2):
        torch.manual_seed(step)
        F.cross_entropy(own(x), labels).backward()
        assert len(calls) == config.conv_layers * (step + 1)
        torch.manual_seed(step)
        with layers_as_they_are():
            F.cross_entropy(reference(x), labels).backward()
    gradients, expected = ({name: p.grad for name, p in model.named_parameters()} for model in (own, reference))
    assert_same(gradients, expected, torch.float32)  # type: ignore[arg-type]
    assert_same(own.state_dict(), reference.state_dict(), torch.float32)
    own.eval(), reference.eval()
    with torch.inference_mode(), layers_as_they_are():
        expected_logits = reference(x)
    with torch.inference_mode():
        torch.testing.assert_close(own(x), expected_logits, rtol=1e-4, atol=1e-5)


def test_inspection_sees_a_networks_layers(calls: list[tails.Tail]) -> None:
    torch.manual_seed(0)
    model = FlexCNN(FlexCNNConfig(conv_layers=2, filters=6), (3, 12, 12), 4)
    model.to(device=DEVICE, memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = random_x(1, 3, 12, 12)
    maps = feature_maps(model, image)
    guided_backprop(model, image, "conv2", strongest_neurons(maps["conv2"][0], 2))
    grad_cam(model, image, torch.tensor([1]))
    assert list(maps) == ["conv1", "conv2"] and not calls
    with torch.no_grad():
        model(image)
    assert len(calls) == 2


def test_a_layer_with_a_hook_runs_by_itself(calls: list[tails.Tail]) -> None:
    layers = [nn.Conv2d(3, 4, 1).to(DEVICE).to(memory_format=torch.channels_last), nn.ReLU(), nn.MaxPool2d(2)]  # type: ignore[call-overload]
    seen: list[torch.Size] = []
    hook = layers[1].register_forward_hook(lambda _layer, _inputs, output: seen.append(output.shape))
    run_layers(layers, random_x(1, 3, 4, 4))
    assert seen == [(1, 4, 4, 4)] and not calls
    hook.remove()
    run_layers(layers, random_x(1, 3, 4, 4))
    assert len(calls) == 1


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tails.Tail]:
    """The tails that were run as one, in order."""
    fused: list[tails.Tail] = []
    run_tail = function.run_tail

    def noting(x: Tensor, norm: nn.BatchNorm2d | None, tail: tails.Tail) -> Tensor | None:
        fused.append(tail)
        return run_tail(x, norm, tail)

    monkeypatch.setattr(function, "run_tail", noting)
    return fused


@on_gpu
def test_a_captured_step_is_the_eager_step(calls: list[tails.Tail]) -> None:
    config = FlexCNNConfig(conv_layers=3, filters=16, activation="gelu")
    torch.manual_seed(0)
    model = FlexCNN(config, (3, 64, 64), 4).to(device=DEVICE, memory_format=torch.channels_last)  # type: ignore[call-overload]
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
    assert len(calls) == 3
    for _ in range(2):
        graph.replay()
    for _ in range(4):
        loss = step(eager)
    torch.testing.assert_close(captured_loss, loss, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(dict(model.named_buffers()), dict(eager.named_buffers()), rtol=1e-4, atol=1e-5)


@on_gpu
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


@on_gpu
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


@on_gpu
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


@on_gpu
def test_an_export_has_the_layers(calls: list[tails.Tail]) -> None:
    model = FlexCNN(FlexCNNConfig(conv_layers=1, filters=8), (3, 16, 16), 4).eval()
    model.to(device=DEVICE, memory_format=torch.channels_last)  # type: ignore[call-overload]
    exported = torch.export.export(model, (random_x(2, 3, 16, 16),))
    assert "max_pool2d" in exported.graph_module.code and not calls
