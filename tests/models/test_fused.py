from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from packaging.version import Version
from torch import nn

from models.config import FlexCNNConfig
from models.flexcnn import ACTIVATIONS, FlexCNN
from models.fused import availability, layers_as_they_are, run_layers, tails
from models.fused.tails import Tail, find_tail

KERNELS = Path(__file__).with_name("fused_kernels")


@pytest.mark.parametrize(
    "files", [["layers.py"], ["networks.py", "residuals.py", "agreements.py", "on_gpu.py"]], ids=["layers", "networks"]
)
@pytest.mark.parametrize(
    "interpreted",
    [
        pytest.param(True, id="interpreted", marks=pytest.mark.slow),
        pytest.param(
            False,
            id="gpu",
            marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")],
        ),
    ],
)
def test_the_kernels_give_what_the_layers_give(interpreted: bool, files: list[str]) -> None:
    pytest.importorskip("triton")
    if interpreted and Version(version("triton")) < Version("3.8") and Version(version("numpy")) >= Version("2.4"):
        pytest.skip("the interpreter of this Triton does not run with this NumPy")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    if interpreted:
        environment["TRITON_INTERPRET"] = "1"
    quiet = "ignore:Conversion of an array:DeprecationWarning"  # NumPy 2.3, of Triton 3.6.
    plugins = ["-p", "no:cacheprovider", "-p", "tests.models.fused_kernels.common"]
    command = [sys.executable, "-m", "pytest", "-q", *plugins, "-W", quiet, *(str(KERNELS / name) for name in files)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=290)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert " passed" in run.stdout


CASES = [
    ((2, 32, 224, 224), torch.bfloat16, Tail("relu", "max", 2, True), True),
    ((2, 20, 25, 27), torch.float32, Tail("gelu", "max", 3, False), True),
    ((2, 64, 16, 16), torch.bfloat16, Tail("mish", "avg", 4, False), True),
    ((2, 33, 9, 9), torch.bfloat16, Tail("elu", "none", 1, False), True),
    ((2, 16, 16, 16), torch.float32, Tail("silu", "max", 2, False), False),
    ((2, 5, 16, 16), torch.bfloat16, Tail("leaky_relu", "avg", 2, False), False),
]


@pytest.mark.skipif(sys.platform != "linux", reason="Triton is for Linux")
@pytest.mark.parametrize(
    ("capability", "shape", "dtype", "tail", "with_norm"),
    [*((80, *case) for case in CASES[:2]), *((90, *case) for case in CASES)],
    ids=str,
)
def test_the_kernels_compile_for_a_gpu(
    shape: tuple[int, int, int, int], dtype: torch.dtype, tail: Tail, with_norm: bool, capability: int,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    """The interpreter accepts what the compiler does not. Channels that are a multiple of 8 are loaded as vectors."""
    from models.fused import kernel_calls
    from tests.models.compiled_kernels import CompiledOnly

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    compiled: dict[str, object] = {}
    for name in [name for name in vars(kernel_calls) if name.endswith("_kernel")]:
        monkeypatch.setattr(kernel_calls, name, CompiledOnly(getattr(kernel_calls, name), capability, compiled))
    x = torch.zeros(shape, dtype=dtype).contiguous(memory_format=torch.channels_last)
    geometry, norm, norm_4C, gradient_4C = kernel_calls.Geometry.of(x, tail), nn.BatchNorm2d(shape[1]), None, None
    if with_norm:
        norm_4C = kernel_calls.batch_norm(x, norm, geometry)
        kernel_calls.running_norm(x, norm, geometry)
    y, chosen = kernel_calls.forward(x, norm_4C, geometry, keep=True)
    if norm_4C is not None:
        gradient_4C = kernel_calls.gradients_of_norm(x, chosen, y, norm_4C, geometry)
    kernel_calls.gradient_of_input(x, y, norm_4C, gradient_4C, geometry)

    expected = {"forward_kernel", "backward_kernel"}
    if with_norm:
        expected |= {"statistics_kernel", "finish_statistics_kernel", "running_statistics_kernel"}
        expected |= {"reduction_kernel", "finish_reduction_kernel"}
    assert compiled.keys() == expected
    if shape[1] % 8 == 0:
        for name in expected & {"statistics_kernel", "forward_kernel", "reduction_kernel", "backward_kernel"}:
            assert "ld.global.v" in compiled[name].asm["ptx"], name  # type: ignore[attr-defined]


@pytest.mark.skipif(sys.platform != "linux", reason="Triton is for Linux")
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((2, 64, 32, 32), torch.bfloat16), ((2, 256, 4, 4), torch.float32), ((2, 33, 9, 9), torch.bfloat16)],
    ids=str,
)
def test_the_kernels_of_a_residual_block_compile_for_a_gpu(
    shape: tuple[int, int, int, int], dtype: torch.dtype, capability: int, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    from models.fused import kernel_calls, residual_calls
    from tests.models.compiled_kernels import CompiledOnly

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    compiled: dict[str, object] = {}
    for module in (kernel_calls, residual_calls):
        for name in [name for name in vars(module) if name.endswith("_kernel")]:
            monkeypatch.setattr(module, name, CompiledOnly(getattr(module, name), capability, compiled))
    x = torch.zeros(shape, dtype=dtype).contiguous(memory_format=torch.channels_last)
    geometry = kernel_calls.Geometry.of(x, Tail("relu", "none", 1, pool_first=False, residual=True))
    norm_4C = kernel_calls.batch_norm(x, nn.BatchNorm2d(shape[1]), geometry)
    y = residual_calls.residual_forward(x, x, norm_4C, geometry)
    dz, gradient_4C = residual_calls.residual_gradients(x, y, x, norm_4C, geometry)
    residual_calls.residual_gradient_of_input(x, dz, norm_4C, gradient_4C, geometry)

    kernels = {"residual_forward_kernel", "residual_reduction_kernel", "residual_backward_kernel"}
    assert compiled.keys() == kernels | {
        "statistics_kernel",
        "finish_statistics_kernel",
        "finish_reduction_kernel",
    }
    if shape[1] % 8 == 0:
        for name in kernels:
            assert "ld.global.v" in compiled[name].asm["ptx"], name  # type: ignore[attr-defined]
            assert "st.global.v" in compiled[name].asm["ptx"], name  # type: ignore[attr-defined]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_layers_of_a_network_are_recognised(activation: str) -> None:
    for pooling, size in (("max", 2), ("avg", 3), ("none", 1)):
        for batch_norm in (True, False):
            config = FlexCNNConfig(
                conv_layers=1, activation=activation, pooling=pooling, pool_size=size, batch_norm=batch_norm,  # type: ignore[arg-type]
                dropout=0.1, dropout_where="both",
            )  # fmt: skip
            layers = list(FlexCNN(config, (3, 12, 12), 2).children())
            end, norm, tail = find_tail(layers, 1)
            pool_first = pooling == "max" and activation in ("relu", "leaky_relu", "elu")
            assert tail == Tail(activation, pooling, size, pool_first)
            assert isinstance(layers[end], nn.Dropout2d) and (norm is not None) is batch_norm


@pytest.mark.parametrize(
    "layers",
    [
        [nn.ReLU(), nn.MaxPool2d(3, stride=2)],
        [nn.ReLU(), nn.MaxPool2d(2, padding=1)],
        [nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)],
        [nn.ReLU(), nn.AvgPool2d(5)],
        [nn.ReLU(), nn.Dropout2d()],
    ],
    ids=str,
)
def test_a_pooling_that_the_kernels_do_not_know_runs_by_itself(layers: list[nn.Module]) -> None:
    end, _, tail = find_tail(layers, 0)
    assert end == 1 and tail == Tail("relu", "none", 1, False)


@pytest.mark.parametrize(
    "layer", [nn.LeakyReLU(0.2), nn.GELU("tanh"), nn.ELU(0.5), nn.Tanh(), nn.MaxPool2d(2)], ids=str
)
def test_an_activation_that_the_kernels_do_not_know_is_no_tail(layer: nn.Module) -> None:
    assert find_tail([layer, nn.MaxPool2d(2)], 0) == (0, None, None)


def test_on_a_cpu_the_layers_run_and_triton_is_not_imported() -> None:
    script = (
        "import sys, torch; from models.flexcnn import FlexCNN; from models.config import FlexCNNConfig;"
        "FlexCNN(FlexCNNConfig(conv_layers=1), (3, 8, 8), 2)(torch.randn(2, 3, 8, 8)).sum().backward();"
        "assert 'triton' not in sys.modules and 'models.fused.kernel_calls' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_where_triton_does_not_run_the_layers_do_after_one_warning_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tails, "DEVICE_TYPES", {"cpu"})  # Triton has nothing for one, unless it interprets.
    monkeypatch.setattr(tails, "MIN_VALUES", 0)
    monkeypatch.setattr(availability, "_available", {})
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)).eval()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        for _ in range(2):
            torch.testing.assert_close(run_layers(network, x), network(x))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "not fused on cpu" in caplog.text


def test_without_triton_the_layers_run_on_a_gpu_too() -> None:
    script = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch; from torch import nn; from torchvision.models import resnet18; from models.fused import tails\n"
        "tails.DEVICE_TYPES, tails.MIN_VALUES = {'cpu'}, 0\n"
        "network = resnet18(num_classes=2).to(memory_format=torch.channels_last)\n"
        "x = torch.randn(2, 3, 32, 32).to(memory_format=torch.channels_last)\n"
        "assert torch.equal(tails.run_layers(list(network.children())[:-1], x).flatten(1),"
        " nn.Sequential(*list(network.children())[:-1])(x).flatten(1))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0 and run.stderr.count("not fused on cpu") == 1, run.stderr


def test_without_fusing_everything_is_as_it_was_within_a_context_only() -> None:
    assert tails._may_fuse.get()
    with layers_as_they_are():
        assert not tails._may_fuse.get()
    assert tails._may_fuse.get()
