"""Compute the images per second that memory traffic allows: a copy's bandwidth over a training step's bytes.

The bytes follow from tensor sizes, assuming that all element-wise work of a block is fused, and that a convolution, the
statistics of a batch norm and the work that needs them are separate passes. A block's convolution takes x to y, and
its norm, activation and pooling take y to p; tensors are bfloat16.

    forward   convolution: read x, write y; statistics: read y; normalise, activate, pool: read y, write p
    backward  sums of the norm: read y and p's gradient; gradient of y: read the same, write y's gradient;
              weights: read x and y's gradient; input: read y's gradient, write x's (not for the first block)

Pictures are read as uint8 and written normalised. Parameters, gradients and AdamW's moments are float32. Hits in the
GPU's cache are not modelled, so a step of small tensors can be faster than this limit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

from benchmarks.gpu.networks import network
from benchmarks.gpu.setting import CLASSES, Figures, Setting, wait_for
from models.complexity import layers, total_parameters
from models.config import FlexCNNConfig
from models.shapes import network_shape

NETWORK = "flexcnn-224"
CHANNELS = 3
_BF16, _FP32 = 2, 4
_COPIES = 20
_PASSES_OVER_PARAMETERS = 8
"""Weight, gradient and two moments are each read once and written once per step."""


def measure(setting: Setting) -> Iterator[Figures]:
    """Yield the limit of the network at 224 px; the command computes the reached share from its images per second."""
    config = network(NETWORK, setting).config
    assert isinstance(config, FlexCNNConfig)
    bandwidth, each = copy_bandwidth(setting), bytes_per_image(config)
    limit = {"bytes_per_image": each, "bandwidth_bytes_per_s": bandwidth, "images_per_s": bandwidth / each}
    yield {"memory_limit": {NETWORK: limit}}


def bytes_per_image(config: FlexCNNConfig) -> float:
    """Return a training step's memory traffic in bytes per image.

    Raises ValueError for a network without batch norm or without pooling after each block.
    """
    if not config.batch_norm or config.pooling == "none":
        raise ValueError("memory traffic is only counted for blocks with batch norm and pooling")
    size = config.image_size
    shape = network_shape(config, (CHANNELS, size, size), CLASSES)
    x = CHANNELS * size * size * _BF16
    total = CHANNELS * size * size + x
    for number, block in enumerate(shape.blocks):
        y = block.filters * block.conv_size[0] * block.conv_size[1] * _BF16
        p = block.filters * block.size[0] * block.size[1] * _BF16
        total += (x + y) + y + (y + p)
        total += (y + p) + (y + p + y) + (x + y)
        total += (y + x) if number else 0
        x = p
    parameters = total_parameters(layers(config, (CHANNELS, size, size), CLASSES))
    return total + _PASSES_OVER_PARAMETERS * parameters * _FP32 / config.batch_size


def copy_bandwidth(setting: Setting) -> float:
    """Return the bytes per second that the fastest of several copies of a large tensor reads and writes."""
    source = torch.empty(setting.choose(2**31, 2**22), dtype=torch.uint8, device=setting.device)
    target = torch.empty_like(source)
    best_s = float("inf")
    for _ in range(setting.choose(_COPIES, 1)):
        wait_for(setting.device)
        started_s = time.perf_counter()
        target.copy_(source)
        wait_for(setting.device)
        best_s = min(best_s, time.perf_counter() - started_s)
    return 2 * source.numel() / best_s
