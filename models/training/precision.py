"""The number format in which a network computes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.config import Precision

# `fp32` means float32: with TF32, cuDNN's default, convolutions would keep 10 bits of each mantissa, and the answers of
# a GPU would differ from those of a CPU and of ONNX by more than rounding.
torch.backends.cudnn.allow_tf32 = False

BF16_MIN_MACS_PER_STEP = 50_000_000
"""Number of MACs of a batch's forward pass above which bfloat16 is faster on a CPU.

Measured on one core of an AMD EPYC (Zen 5, AVX512-BF16) with torch 2.15, for 23 networks of 8 to 64 pixels, 8 to 128
filters and batches of 16 to 256: below 30 M MACs float32 was 5 to 15 % faster (8x8 digits: 14 %); from 55 M MACs on,
bfloat16 was 1.0 to 2.7 times as fast (five convs of 32 filters at 32x32: 2.1 to 2.7 times).
"""


def compute_dtype(
    precision: Precision, device: torch.device, model: nn.Module, example_1CHW: Tensor, *, batch_size: int
) -> torch.dtype:
    """The dtype for autocast: as configured; with `auto`, bfloat16 if this device is faster with it, else float32.

    The example is one image as input for the network, or one vector of features for a head, which `auto` trains in
    float32: alone as in a gang, so that the values of both can be compared. Both must be on the device.
    """
    match precision:
        case "bf16":
            return torch.bfloat16
        case "fp32":
            return torch.float32
    if example_1CHW.ndim == 2:
        return torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type != "cpu" or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.float32
    macs_per_step = count_macs(model, example_1CHW) * batch_size
    return torch.bfloat16 if macs_per_step >= BF16_MIN_MACS_PER_STEP else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Compute in `dtype` where that is safe; does nothing for float32.

    On a GPU, autocast does not cache the weights that it casts: weights cached while a graph is captured would be
    reused after the capture, in memory that belongs to the graph.
    """
    cached = device.type != "cuda"
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32, cache_enabled=cached)


def count_macs(model: nn.Module, images_NCHW: Tensor) -> int:
    """The multiply-accumulates of convolutions and linear layers in a forward pass. The model is not changed.

    torch's FlopCounterMode counts attention, too, but importing it takes a quarter of a second in each worker.
    """
    macs = 0

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        macs += output.numel() * layer.get_parameter("weight")[0].numel()

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    training = model.training
    model.eval()  # One image has no batch statistics, and dropout must not draw random numbers.
    try:
        with torch.inference_mode():
            model(images_NCHW)
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
    return macs
