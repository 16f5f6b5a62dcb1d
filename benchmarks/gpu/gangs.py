"""Images per second summed over trials of one shape that train at once, each with its own learning rate and seed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from benchmarks.gpu.networks import network
from benchmarks.gpu.setting import Figures, Setting, random_data, wait_for
from benchmarks.gpu.steps import train
from models.config import TrainConfig
from search.trials.data_source import TrialData

NETWORK = "flexcnn-32"
SIZES = (1, 2, 4, 8, 16)
MEASURED_EPOCHS = 3


def measure(setting: Setting) -> Iterator[Figures]:
    """Yields the figure of each size of gang, and the best so far."""
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
        rate = size * images / best_s
        best = max(best, rate)
        yield {"gangs": {str(size): rate}, "images_per_s": {f"{NETWORK}-gang": best}}


def _together(configs: Sequence[TrainConfig], data: TrialData, setting: Setting) -> Iterator[None]:
    """Train them, an epoch of all at a time."""
    trainings = [train(config, data, setting, {}) for config in configs]
    while True:
        for epochs in trainings:
            next(epochs)
        yield


def _rates(config: TrainConfig, size: int) -> list[TrainConfig]:
    """The configuration with as many learning rates, over a factor of four."""
    return [replace(config, learning_rate=config.learning_rate * 4 ** (slot / size - 0.5)) for slot in range(size)]
