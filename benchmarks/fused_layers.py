"""Measure fused layers on a GPU: milliseconds, and the share of the memory's bandwidth.

    python -m benchmarks.fused_layers [--device cuda:0] [--without-compile] [--tune] [--json]

Everything is timed as a replayed CUDA graph, forward and backward, in bfloat16 and channels_last: the tail of a block,
a network of five convolutions at 224 px, and a ResNet-18 with the stem for small images at 32 px. Bytes are counted
from the tensors that each kernel has to read and write; the bandwidth is that of a copy within the card's memory.
`--tune` times each pass with other block sizes than those in `models/fused/kernel_calls.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.machine import describe_machine
from models.config import BackboneConfig, FlexCNNConfig, TrainConfig
from models.flexcnn import ACTIVATIONS, MONOTONIC
from models.fused import kernel_calls, layers_as_they_are
from models.fused.function import run_tail
from models.fused.kernel_calls import Geometry
from models.fused.tails import Tail, find_tail
from models.registry import build_model

BATCH, WIDTH, IMAGE_SIZE, RESNET_SIZE = 128, 32, 224, 32
SMALLER_SIZES = (112, 56, 32, 16, 8)
REPEATS = 20
MAPPED_BLOCKS = [(512, 4), (1024, 4), (1024, 8), (2048, 4), (2048, 8)]
REDUCED_BLOCKS = [(2048, 4), (2048, 8), (4096, 4), (4096, 8), (8192, 8)]


def measure(device: torch.device, *, with_compile: bool = True) -> dict[str, object]:
    """Return all figures but the tuning's, by name; times are in milliseconds.

    Takes about a minute, half of it for torch.compile.
    """
    bandwidth = copy_bytes_per_s(device)
    figures: dict[str, object] = {"machine": describe_machine(), "copy_gb_per_s": bandwidth / 1e9}
    for activation in ("relu", "gelu"):
        figures[f"block-{activation}"] = measure_block(device, activation, bandwidth, with_compile=with_compile)
    figures["sizes"] = {str(size): compare_block(device, "relu", size) for size in SMALLER_SIZES}
    config = FlexCNNConfig(conv_layers=5, filters=WIDTH)
    figures["network"] = measure_network(device, config, IMAGE_SIZE)
    residual = BackboneConfig(backbone="resnet18", weights="none", stem="small", freezing="unfreeze_all")
    figures["resnet18"] = measure_network(device, residual, RESNET_SIZE)
    return figures


def measure_block(device: torch.device, activation: str, bandwidth: float, *, with_compile: bool) -> dict[str, object]:
    """Time the tail of the first block at 224 px: fused, layer by layer and compiled; and each kernel alone."""
    figures: dict[str, object] = {**compare_block(device, activation, IMAGE_SIZE)}
    if with_compile:
        figures |= compiled_block(device, activation)
    passes = {name: timed_ms(run) for name, run in fused_passes(device, activation).items()}
    sizes = bytes_moved(_geometry(activation, IMAGE_SIZE))
    figures["kernels"] = {
        name: {"ms": ms, "mb": sizes[name] / 1e6, "share_of_bandwidth": sizes[name] / (ms / 1e3) / bandwidth}
        for name, ms in passes.items()
    }
    total = sum(sizes.values())
    figures["mb"] = total / 1e6
    figures["share_of_bandwidth"] = total / (float(figures["fused_ms"]) / 1e3) / bandwidth  # type: ignore[arg-type]
    return figures


def compare_block(device: torch.device, activation: str, image_size: int) -> dict[str, float]:
    """Time forward and backward of one block's tail, fused at any size and layer by layer."""
    x, layers = _block(device, activation, image_size)
    _, norm, tail = find_tail(layers, 0)
    assert tail
    return {
        "fused_ms": timed_ms(_step(lambda values: run_tail(values, norm, tail), x, layers)),
        "layers_ms": timed_ms(_step(nn.Sequential(*layers), x, layers)),
    }


def compiled_block(device: torch.device, activation: str) -> dict[str, float]:
    """Time a block's tail under `torch.compile`, and the compilation, which its cache may shorten."""
    x, layers = _block(device, activation, IMAGE_SIZE)
    step = _step(torch.compile(nn.Sequential(*layers)), x, layers)
    started_s = time.perf_counter()
    step()
    torch.cuda.synchronize(device)
    return {"compile_s": time.perf_counter() - started_s, "compiled_ms": timed_ms(step)}


def measure_network(device: torch.device, config: TrainConfig, image_size: int) -> dict[str, float]:
    """Measure images per second of a network: forward, loss and backward under autocast."""
    torch.manual_seed(0)
    shape = (3, image_size, image_size)
    model = build_model(config, shape, 10).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(BATCH, *shape, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(BATCH, device=device) % 10

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            logits = model(x)
        torch.autograd.grad(F.cross_entropy(logits.float(), labels), list(model.parameters()))

    fused_ms = timed_ms(step)
    with layers_as_they_are():
        layers_ms = timed_ms(step)
    return {
        "fused_ms": fused_ms,
        "layers_ms": layers_ms,
        "fused_images_per_s": BATCH / fused_ms * 1e3,
        "layers_images_per_s": BATCH / layers_ms * 1e3,
    }


def bytes_moved(geometry: Geometry) -> dict[str, int]:
    """Return the bytes that each pass has to read and write for max-pooling, in the order of the passes."""
    item = geometry.dtype.itemsize
    x, y = geometry.rows * geometry.channels * item, geometry.windows * geometry.channels * item
    return {
        "statistics": x,
        "forward": x + 2 * y,  # The output, and the values that pooling chose.
        "reduction": 2 * y,  # The chosen values, and the output's gradient.
        "backward": 2 * x + y,
    }


def fused_passes(device: torch.device, activation: str) -> dict[str, Callable[[], object]]:
    """Return each pass over memory as a callable, by the names of `bytes_moved`."""
    x, layers = _block(device, activation, IMAGE_SIZE)
    x = x.detach()
    norm = layers[0]
    geometry = _geometry(activation, IMAGE_SIZE)
    norm_4C = kernel_calls.batch_norm(x, norm, geometry)
    y, chosen = kernel_calls.forward(x, norm_4C, geometry, keep=True)
    dy = torch.randn_like(y)
    gradient_4C = kernel_calls.gradients_of_norm(x, chosen, dy, norm_4C, geometry)
    return {
        "statistics": lambda: kernel_calls.batch_norm(x, norm, geometry),
        "forward": lambda: kernel_calls.forward(x, norm_4C, geometry, keep=True),
        "reduction": lambda: kernel_calls.gradients_of_norm(x, chosen, dy, norm_4C, geometry),
        "backward": lambda: kernel_calls.gradient_of_input(x, dy, norm_4C, gradient_4C, geometry),
    }


def tune(device: torch.device) -> dict[str, dict[str, float]]:
    """Time each pass at 224 px with ReLU, in milliseconds, for several numbers of values and warps per block."""
    times: dict[str, dict[str, float]] = {}
    for kind, blocks, names in (
        ("_MAPPED", MAPPED_BLOCKS, ("forward", "backward")),
        ("_REDUCED", REDUCED_BLOCKS, ("statistics", "reduction")),
    ):
        before = getattr(kernel_calls, f"{kind}_VALUES"), getattr(kernel_calls, f"{kind}_WARPS")
        for values, warps in blocks:
            setattr(kernel_calls, f"{kind}_VALUES", values)
            setattr(kernel_calls, f"{kind}_WARPS", warps)
            passes = fused_passes(device, "relu")
            for name in names:
                times.setdefault(name, {})[f"{values} values, {warps} warps"] = timed_ms(passes[name])
        setattr(kernel_calls, f"{kind}_VALUES", before[0])
        setattr(kernel_calls, f"{kind}_WARPS", before[1])
    return times


def timed_ms(step: Callable[[], object]) -> float:
    """Return the mean milliseconds of a step that is replayed as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        step()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for _ in range(3):
        graph.replay()
    begin.record()
    for _ in range(REPEATS):
        graph.replay()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / REPEATS


def copy_bytes_per_s(device: torch.device) -> float:
    """Return the bytes per second that a copy of 1 GiB reads and writes."""
    source = torch.empty(2**30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / (timed_ms(lambda: target.copy_(source)) / 1e3)


def _block(device: torch.device, activation: str, image_size: int) -> tuple[Tensor, list[nn.Module]]:
    """A convolution's output, and the layers behind it as FlexCNN orders them."""
    torch.manual_seed(0)
    x = torch.randn(BATCH, WIDTH, image_size, image_size, device=device, dtype=torch.bfloat16)
    tail: list[nn.Module] = [ACTIVATIONS[activation]()]  # type: ignore[index]
    tail.insert(0 if activation in MONOTONIC else 1, nn.MaxPool2d(2))
    layers = [nn.BatchNorm2d(WIDTH).to(device), *tail]
    return x.contiguous(memory_format=torch.channels_last).requires_grad_(), layers


def _geometry(activation: str, image_size: int) -> Geometry:
    tail = Tail(activation, "max", 2, pool_first=activation in MONOTONIC)
    return Geometry(BATCH, WIDTH, image_size, image_size, torch.bfloat16, tail)


def _step(run: Callable[[Tensor], Tensor | None], x: Tensor, layers: list[nn.Module]) -> Callable[[], object]:
    """Forward and backward for every gradient that training needs."""
    with torch.no_grad():
        dy = torch.randn_like(nn.Sequential(*layers)(x))
    wanted = [x, *(parameter for layer in layers for parameter in layer.parameters())]
    return lambda: torch.autograd.grad(run(x), wanted, dy)  # type: ignore[type-var]


def main() -> None:
    """Measure the fused layers, or the block sizes with `--tune`, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fused_layers", description="Fused layers on a GPU.")
    parser.add_argument("--device", default="cuda:0", help="cuda:N (default: cuda:0)")
    parser.add_argument(
        "--without-compile", action="store_true", help="leave torch.compile out: it takes half the time"
    )
    parser.add_argument("--tune", action="store_true", help="time each pass with other block sizes instead")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks.fused_layers: no CUDA device here; run it on a machine with an NVIDIA GPU", file=sys.stderr)
        sys.exit(2)
    device = torch.device(arguments.device)
    with torch.cuda.device(device):  # Streams and graphs belong to the current device.
        figures = tune(device) if arguments.tune else measure(device, with_compile=not arguments.without_compile)
    print(json.dumps(figures, indent=None if arguments.json else 2))


if __name__ == "__main__":
    main()
