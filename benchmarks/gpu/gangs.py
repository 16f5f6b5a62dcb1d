"""Images per second summed over a gang: networks of one shape as branches of one recorded step."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace

import torch

from benchmarks.gpu.networks import network
from benchmarks.gpu.setting import CLASSES, SEEN, Figures, Setting, random_data, wait_for
from benchmarks.gpu.steps import train
from models.config import TrainConfig
from models.registry import build_model
from models.training.branches import BranchGang
from models.training.capture import chosen_capture
from models.training.metrics import EpochMetrics
from models.training.precision import compute_dtype
from search.trials.data_source import TrialData

NETWORK = "flexcnn-32"
SIZES = (1, 2, 4, 8, 16)
MEASURED_EPOCHS = 3


def measure(setting: Setting) -> Iterator[Figures]:
    """Yields the figure of each size of gang, and the best so far; on a CPU they train one after another."""
    net = network(NETWORK, setting)
    data = random_data(setting.device, train=net.train_images, val=1, image_size=net.config.image_size)
    images = net.train_images // net.config.batch_size * net.config.batch_size
    best = 0.0
    for size in SIZES[: setting.choose(len(SIZES), 2)]:
        epochs = _together(_rates(net.config, size), data, setting)
        next(epochs)  # Warms up.
        best_s = float("inf")
        for _ in range(setting.choose(MEASURED_EPOCHS, 1)):
            wait_for(setting.device)
            started_s = time.perf_counter()
            next(epochs)
            wait_for(setting.device)
            best_s = min(best_s, time.perf_counter() - started_s)
        epochs.close()
        rate = size * images / best_s
        best = max(best, rate)
        yield {"gangs": {str(size): rate}, "images_per_s": {f"{NETWORK}-gang": best}}


def _together(configs: Sequence[TrainConfig], data: TrialData, setting: Setting) -> Generator[object, None, None]:
    """Train them, an epoch of all at a time."""
    if chosen_capture("auto", setting.device) is not None:
        yield from _gang(configs, data, setting.device)
    trainings = [train(config, data, setting, {}) for config in configs]
    while True:
        yield [next(epochs) for epochs in trainings]


def _gang(
    configs: Sequence[TrainConfig], data: TrialData, device: torch.device
) -> Iterator[Mapping[int, EpochMetrics]]:
    batches, val = data.train_batches(configs[0], SEEN), data.val_batches(SEEN)
    models = []
    for seed, config in enumerate(configs):
        torch.manual_seed(seed)
        models.append(build_model(config, data.input_shape, CLASSES))
    example_1CHW = next(iter(val)).images_NCHW[:1]
    on_device = models[0].to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    dtype = compute_dtype(configs[0].precision, device, on_device, example_1CHW, batch_size=batches.batch_size)
    capture = chosen_capture("auto", device)
    assert capture is not None
    gang = BranchGang(batches, val, classes=CLASSES, device=device, dtype=dtype, capture=capture)
    for seed, (model, config) in enumerate(zip(models, configs, strict=True)):
        gang.admit(model, config, seed)
    yield from gang


def _rates(config: TrainConfig, size: int) -> list[TrainConfig]:
    """The configuration with as many learning rates, over a factor of four."""
    return [replace(config, learning_rate=config.learning_rate * 4 ** (slot / size - 0.5)) for slot in range(size)]
